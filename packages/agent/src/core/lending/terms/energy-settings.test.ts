/** What a lender may write of energy in `lending.json`, and which hours come of it. */
import { expect, test } from 'vitest';
import { energySettingsSchema, lowCarbonHours } from './energy-settings.ts';
import { isWithin, parseHours } from './hours.ts';

test('without a word no hour is preferred', () => {
  expect(lowCarbonHours()).toBeUndefined();
  expect(lowCarbonHours(energySettingsSchema.parse({}))).toBeUndefined();
});

test('hours are those that the lender names, or those of the lender’s own table', () => {
  const named = energySettingsSchema.parse({ lowCarbon: 'daily 10:00-16:00' });
  expect(lowCarbonHours(named)).toEqual(parseHours('daily 10:00-16:00'));
  const gramsPerKwh = Array.from({ length: 24 }, (_, hour) => (hour >= 10 && hour < 16 ? 120 : 380));
  const hours = lowCarbonHours(energySettingsSchema.parse({ lowCarbon: { gramsPerKwh, gramsPerKwhMax: 200 } }));
  const at = (hour: number): boolean => hours !== undefined && isWithin(hours, { weekday: 6, minute: hour * 60 + 59 });
  expect([9, 10, 15, 16].map(at)).toEqual([false, true, true, false]);
});

test.each([
  ['a field that nobody knows', { watts: 5 }],
  ['no hours', { lowCarbon: 'noon' }],
  ['a table of 23 hours', { lowCarbon: { gramsPerKwh: Array.from({ length: 23 }, () => 1), gramsPerKwhMax: 1 } }],
  ['a machine that draws more when idle', { idleWatts: 50, fullWatts: 20 }],
  ['less than nothing', { gramsPerKwh: -1 }],
  ['a kind of machine that nobody knows', { machine: 'toaster' }],
])('%s is refused', (_, settings) => {
  expect(energySettingsSchema.safeParse(settings).success).toBe(false);
});
