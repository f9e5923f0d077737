/** A device's energy from recorded machines, over days and restarts. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openEnergy, type DeviceEnergy, type EnergyDeps } from './open-energy.ts';
import {
  SERVER,
  SERVER_OF_A_USER,
  recordedPower,
  type RecordedPower,
  type Recording,
} from './testing/recorded-power.ts';

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'idlewild-energy-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const dayOf = (nowMs: number): string => new Date(nowMs).toISOString().slice(0, 10);

function openOn(machine: RecordedPower, change: Partial<EnergyDeps> = {}): Promise<DeviceEnergy> {
  return openEnergy({
    folder,
    clock: machine.clock,
    ports: machine,
    cores: 8,
    dayOf,
    ownTicks: machine.ownTicks,
    ownCpuMs: () => 0,
    warn(message) {
      throw new Error(message);
    },
    ...change,
  });
}
const TOWER: Recording = { files: { '/sys/class/dmi/id/chassis_type': '7\n' } };

test('a machine that tells nothing is modelled by its kind, or by what its lender says of it', async () => {
  const machine = recordedPower(TOWER);
  const tower = await openOn(machine, { place: 'FR' });
  tower.meter.used(HOUR_MS);
  expect(tower.today()).toEqual({
    todayWattHours: 5,
    how: 'modelled',
    grams: 0.22,
    grid: '44 g/kWh, the mean of FR in 2024 (Ember)',
    source: 'modelled: 30 W idle, 70 W with all processors busy; its processors tell Linux no energy',
  });
  await tower.close();
  rmSync(join(folder, 'energy.json'));
  const said = await openOn(machine, { place: 'FR', settings: { machine: 'laptop', fullWatts: 86, gramsPerKwh: 100 } });
  said.meter.used(HOUR_MS);
  expect(said.today()).toMatchObject({ todayWattHours: 10, grams: 1 });
});

test('a server that tells its energy is measured once it has rested, and knows its rest after a restart', async () => {
  const machine = recordedPower(SERVER);
  const energy = await openOn(machine);
  expect(energy.today().source).toMatch(/^measured: counters of the processors .*; else modelled: /);
  await machine.pass(1, { watts: 60, busyMs: 0, ownMs: 0 });
  await machine.pass(31_000, { watts: 60, busyMs: 0, ownMs: 0 });
  await machine.clock.advance(1);
  const work = energy.meter.begin();
  for (let second = 0; second < 10; second++) {
    await machine.pass(1_000, { watts: 132, busyMs: 4_000, ownMs: 3_000 });
  }
  const { wattHours, how } = await work.end(30_000);
  // 72 W beyond the rest for 10 s, three quarters of them ours.
  expect([Math.round(wattHours * 3_600), how]).toEqual([540, 'measured']);
  expect(Math.round(energy.wattHoursToday() * 3_600)).toBe(540);
  expect(energy.today().how).toBe('measured');
  await energy.close();

  const again = await openOn(machine);
  expect(Math.round(again.wattHoursToday() * 3_600)).toBe(540);
  await machine.pass(1_000, { watts: 60, busyMs: 0, ownMs: 0 });
  const next = again.meter.begin();
  await machine.pass(10_000, { watts: 160, busyMs: 20_000, ownMs: 20_000 });
  const measured = await next.end(20_000);
  expect([Math.round(measured.wattHours * 360), measured.how]).toEqual([100, 'measured']);
  await again.close();
});

test('where the counters are for root alone all is modelled', async () => {
  const machine = recordedPower(SERVER_OF_A_USER);
  const energy = await openOn(machine);
  expect(energy.today().source).toMatch(/^modelled/);
  const work = energy.meter.begin();
  await machine.pass(10_000, { watts: 160, busyMs: 20_000, ownMs: 20_000 });
  expect((await work.end(20_000)).how).toBe('modelled');
  await energy.close();
});

test('the day begins anew at midnight, also over a restart', async () => {
  const machine = recordedPower(TOWER);
  const energy = await openOn(machine);
  energy.meter.used(HOUR_MS);
  expect(energy.wattHoursToday()).toBe(5);
  await machine.clock.advance(24 * HOUR_MS);
  expect(energy.wattHoursToday()).toBe(0);
  energy.meter.used(2 * HOUR_MS);
  await energy.close();
  expect((await openOn(machine)).wattHoursToday()).toBe(10);
});

test('an engine that computes unasked and says nothing is seen by the system within a minute or two', async () => {
  const machine = recordedPower(TOWER);
  let systemMs = 500;
  const drawn: number[] = [];
  const energy = await openOn(machine, {
    systemCpuMs: () => systemMs,
    onDrawn: ({ wattHours }) => drawn.push(wattHours),
  });
  for (let minute = 0; minute < 60; minute++) {
    systemMs += 100;
    await machine.clock.advance(MINUTE_MS);
  }
  // Staying connected is no work, and nothing looks for it.
  expect(drawn).toEqual([]);
  systemMs += HOUR_MS;
  await machine.clock.advance(2 * MINUTE_MS);
  expect(energy.wattHoursToday()).toBeGreaterThanOrEqual(5);
  await energy.close();
  expect(machine.clock.nextInMs()).toBeUndefined();
});
