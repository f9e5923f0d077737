/** Claims about what a lender reads of past days: work, pauses, and what it drew, in watt-hours and grams. */
import { gridOf, type DayHistory } from '@idlewild/agent';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { historyLines, showHistory, withCarbon } from './show-history.ts';

const work = { territory: 'ter_a', answers: 2, embeddings: 0, tokens: 90, workedMs: 3_000, lentMs: 60_000 };
const DAY: DayHistory = {
  day: '2026-11-23',
  work: [{ ...work, wattHours: 1.5 }],
  pauses: [{ pause: 'input', text: 'somebody used this machine', times: 2, ms: 60_000 }],
  energy: { drawnWattHours: 10, measuredWattHours: 9.9 },
};
const GERMANY = gridOf({ place: 'DE' });
const lines = (day: DayHistory, grid = GERMANY): string => historyLines([withCarbon(day, grid)]).join('\n');

test('a day says what the whole device drew, whether measured, and the grams with their source and year', () => {
  expect(lines(DAY)).toMatch(/^2026-11-23 +10 +measured +3$/m);
  expect(lines(DAY)).toMatch(/^CO₂ by 344 g\/kWh, the mean of DE in 2024 \(Ember\);/m);
  expect(lines({ ...DAY, energy: { drawnWattHours: 10, measuredWattHours: 5 } })).toMatch(/10 +modelled +3$/m);
  expect(lines(DAY, gridOf())).toMatch(/10 +measured +5\nCO₂ by 473 g\/kWh, the mean of the world in 2024 \(Ember\);/m);
  expect(lines(DAY, gridOf({ gramsPerKwh: 20 }))).toMatch(/measured +<1\nCO₂ by 20 g\/kWh, as its lender says;/m);
});

test('where only the work is known a day has what that drew, and where nothing is known it says nothing', () => {
  const { energy: _, ...older } = DAY;
  expect(withCarbon(older, GERMANY).energy).toMatchObject({ wattHours: 1.5, how: 'modelled', grams: 1.5 * 0.344 });
  expect(lines({ ...older, work: [work] })).not.toMatch(/CO₂/);
  expect(lines({ ...older, work: [], pauses: [] })).toBe('');
});

test('the tables stand one below the other: what was done, what it drew, what kept it', () => {
  expect(
    lines(DAY)
      .split('\n')
      .map((line) => line.split(/ {2,}/)[1]),
  ).toEqual([
    ...['COMMUNITY', 'ter_a', undefined],
    ...['WH IN ALL', '10', undefined, undefined],
    ...['PAUSED BY', 'input'],
  ]);
});

test('the grid is the one that the lender names now, and a script reads the same', async () => {
  const data = mkdtempSync(join(tmpdir(), 'idlewild-lender-'));
  onTestFinished(() => rmSync(data, { recursive: true }));
  const { day } = DAY;
  mkdirSync(join(data, 'history'));
  writeFileSync(join(data, 'device.json'), '{}');
  writeFileSync(
    join(data, 'history', `${day}.jsonl`),
    `${JSON.stringify({ day, drawnWattHours: 1_000, measuredWattHours: 0 })}\n`,
  );
  const shown = async (settings: object): Promise<unknown> => {
    writeFileSync(join(data, 'lending.json'), JSON.stringify({ v: 1, preset: 'balanced', rules: {}, ...settings }));
    let value: unknown;
    await showHistory({ show: (json) => void (value = json) }, { data, days: 400 });
    return value;
  };
  const energy = { wattHours: 1_000, how: 'modelled' };
  expect(await shown({ place: 'FR' })).toMatchObject([{ day, energy: { ...energy, grams: 44 } }]);
  expect(await shown({ energy: { gramsPerKwh: 7 } })).toMatchObject([
    { day, energy: { ...energy, grams: 7, grid: '7 g/kWh, as its lender says' } },
  ]);
});
