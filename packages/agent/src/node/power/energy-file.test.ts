/** What is kept of a day's energy: seldom written, whole after a stop, and begun anew where it is damaged. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFakeClock } from '@idlewild/protocol/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ENERGY_FILE, keepEnergy, readEnergy, type KeptEnergy } from './energy-file.ts';

let folder: string;
const warned: string[] = [];
const warn = (message: string): void => void warned.push(message);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'idlewild-energy-'));
  warned.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const kept = (wattHours: number): KeptEnergy => ({
  day: { day: '2026-11-23', wattHours, measuredWattHours: 1 },
  rests: { reader: 'rapl', watts: [4.5, 5] },
});
const onDisk = (): unknown => {
  try {
    return JSON.parse(readFileSync(join(folder, ENERGY_FILE), 'utf8'));
  } catch {
    return undefined;
  }
};

test('many changes of a minute are one writing, and a stop writes the rest', async () => {
  const clock = createFakeClock(() => nextTurn());
  let wattHours = 0;
  let writings = 0;
  const now = (): KeptEnergy => {
    writings++;
    return kept(wattHours);
  };
  const file = keepEnergy(folder, clock, now, warn);
  for (let second = 0; second < 59; second++) {
    wattHours++;
    file.changed();
    await clock.advance(1_000);
  }
  expect([writings, onDisk()]).toEqual([0, undefined]);
  await clock.advance(1_000);
  expect(writings).toBe(1);
  wattHours = 100;
  file.changed();
  await file.close();
  expect(writings).toBe(2);
  expect(await readEnergy(folder, warn)).toEqual(kept(100));
  await clock.advance(600_000);
  expect(writings).toBe(2);
  expect(warned).toEqual([]);
});

test('without a file there is nothing, and a damaged one is told and begun anew', async () => {
  expect(await readEnergy(folder, warn)).toBeUndefined();
  expect(warned).toEqual([]);
  for (const text of ['', '{"v":1', '{"v":1,"day":"2026-11-23","wattHours":-5,"measuredWattHours":0}', '{"v":2}']) {
    writeFileSync(join(folder, ENERGY_FILE), text);
    expect(await readEnergy(folder, warn)).toBeUndefined();
  }
  expect(warned).toHaveLength(4);
  expect(warned[0]).toContain(ENERGY_FILE);
});

test('a disk that takes nothing is told, and what is counted goes on', async () => {
  const clock = createFakeClock(() => nextTurn());
  const file = keepEnergy(join(folder, 'absent'), clock, () => kept(1), warn);
  file.changed();
  await file.close();
  expect(warned).toHaveLength(1);
});
