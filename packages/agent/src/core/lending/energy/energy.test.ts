/** What work costs: the formulas, the curves, the grid and the day, each by figures that can be checked by hand. */
import { describe, expect, test } from 'vitest';
import { MACHINE_KINDS, isRest, measuredWattHours, modelledWattHours, powerCurveOf } from './energy.ts';
import { createEnergyBudget } from './budget.ts';
import { gramsOf, gridOf, parseGrid } from './grid.ts';

const HOUR_MS = 3_600_000;

describe('modelled', () => {
  test('one of eight processors busy for an hour is an eighth of what lies between idle and full', () => {
    const curve = { idleWatts: 10, fullWatts: 50 };
    expect(modelledWattHours(HOUR_MS, curve, 8)).toBeCloseTo(5);
    expect(modelledWattHours(8 * HOUR_MS, curve, 8)).toBeCloseTo(40);
  });

  test('every kind of machine draws more when it is busy, and more with more processors up to what it can cool', () => {
    for (const kind of MACHINE_KINDS) {
      const curves = [2, 8, 32, 128].map((threads) => powerCurveOf(kind, threads));
      for (const { idleWatts, fullWatts } of curves) expect(fullWatts).toBeGreaterThan(idleWatts);
      for (const [at, { fullWatts }] of curves.entries()) {
        expect(fullWatts).toBeGreaterThanOrEqual(curves[at - 1]?.fullWatts ?? 0);
      }
    }
    expect(powerCurveOf('laptop', 8)).toEqual({ idleWatts: 6, fullWatts: 26 });
    expect(powerCurveOf('laptop', 128)).toEqual({ idleWatts: 6, fullWatts: 51 });
    expect(powerCurveOf('server', 100)).toEqual({ idleWatts: 74, fullWatts: 350 });
  });

  test('what the lender says of the machine counts, and a slip makes no work that gives energy back', () => {
    expect(powerCurveOf('desktop', 8, { idleWatts: 40, fullWatts: 90 })).toEqual({ idleWatts: 40, fullWatts: 90 });
    expect(powerCurveOf('desktop', 8, { fullWatts: 20 })).toEqual({ idleWatts: 20, fullWatts: 20 });
    expect(powerCurveOf('desktop', 8, { idleWatts: 60, fullWatts: 20 })).toEqual({ idleWatts: 60, fullWatts: 60 });
  });
});

describe('measured', () => {
  const drawn = { ms: 10_000, joules: 300, busyMs: 20_000, ownMs: 15_000 };
  test('of what is beyond a rest, ours is our part of the busy time', () => {
    expect(measuredWattHours(drawn, 10) * 3_600).toBeCloseTo(200 * 0.75);
  });

  test('it is never below nothing, never over what was drawn, and nothing where nobody was busy', () => {
    expect(measuredWattHours(drawn, 31)).toBe(0);
    expect(measuredWattHours({ ...drawn, busyMs: 100 }, 0) * 3_600).toBeCloseTo(300);
    expect(measuredWattHours({ ...drawn, busyMs: 0, ownMs: 0 }, 0)).toBe(0);
  });

  test('a rest is long, and nearly without us', () => {
    expect(isRest({ ...drawn, ownMs: 200 })).toBe(true);
    expect(isRest({ ...drawn, ownMs: 201 })).toBe(false);
    expect(isRest({ ...drawn, ms: 9_999, ownMs: 0 })).toBe(false);
  });
});

describe('the grid', () => {
  test("a country by its mean, the lender's own number before it, the world where nobody knows", () => {
    expect(gridOf({ place: 'FR' })).toEqual({ gramsPerKwh: 44, text: '44 g/kWh, the mean of FR in 2024 (Ember)' });
    expect(gridOf({ place: 'IN' }).gramsPerKwh).toBe(708);
    expect(gridOf({ place: 'IS' }).text).toContain('in 2023');
    expect(gridOf({ place: 'FR', gramsPerKwh: 12 })).toMatchObject({ gramsPerKwh: 12 });
    expect(gridOf()).toMatchObject({ gramsPerKwh: 473 });
    expect(gridOf({ place: 'AQ' })).toMatchObject({
      gramsPerKwh: 473,
      text: expect.stringContaining('AQ is not in the table') as string,
    });
    expect(gramsOf(250, gridOf({ gramsPerKwh: 400 }))).toBe(100);
  });

  test('it is said in one word', () => {
    expect(parseGrid('de')).toEqual({ place: 'DE' });
    expect(parseGrid(' 350 ')).toEqual({ gramsPerKwh: 350 });
    expect(parseGrid('0')).toEqual({ gramsPerKwh: 0 });
    for (const word of ['', '  ', 'DEU', 'Germany', '-1', '3000', '0x10g', 'NaN', 'Infinity']) {
      expect(() => parseGrid(word)).toThrow(expect.objectContaining({ code: 'usage' }) as Error);
    }
  });
});

describe('the day', () => {
  const grid = gridOf({ gramsPerKwh: 500 });
  test('it sums what is used, says how it is known, and begins anew at midnight', () => {
    let day = '2026-11-23';
    const budget = createEnergyBudget({ today: () => day });
    expect(budget.today(grid)).toMatchObject({ todayWattHours: 0, how: 'modelled', grams: 0 });
    budget.add({ wattHours: 19, how: 'measured' });
    expect(budget.today(grid)).toMatchObject({ how: 'measured' });
    budget.add({ wattHours: 1, how: 'modelled' });
    expect(budget.today(grid)).toMatchObject({ todayWattHours: 20, how: 'measured', grams: 10 });
    budget.add({ wattHours: 0.1, how: 'modelled' });
    expect(budget.today(grid)).toMatchObject({ how: 'modelled' });
    day = '2026-11-24';
    expect(budget.today(grid)).toMatchObject({ todayWattHours: 0 });
    budget.add({ wattHours: 2, how: 'modelled' });
    expect(budget.day()).toEqual({ day, wattHours: 2, measuredWattHours: 0 });
  });

  test("what an earlier start used of today counts, and yesterday's does not", () => {
    const kept = { day: '2026-11-23', wattHours: 40, measuredWattHours: 0 };
    const on = (day: string): number => createEnergyBudget({ today: () => day, kept }).today(grid).todayWattHours;
    expect(on('2026-11-23')).toBe(40);
    expect(on('2026-11-24')).toBe(0);
  });
});
