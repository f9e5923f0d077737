import { expect, test } from 'vitest';
import { hoursText } from './hours.ts';
import { PRESETS, PRESET_NAMES, consentOfPreset } from './presets.ts';
import { pauseRulesSchema } from './rules.ts';
import { lendingSettingsSchema, rulesOf } from './settings.ts';

test.each(PRESET_NAMES)('%s has lines that a file could hold, and lends half of the memory at most', (name) => {
  expect(pauseRulesSchema.parse(PRESETS[name].rules)).toEqual(PRESETS[name].rules);
  expect(consentOfPreset(name, { memoryBytes: 1_000 }).memoryBytesMax).toBeLessThanOrEqual(500);
});

test('what the sentences say is what the figures are', () => {
  const { gentle, balanced, 'all-night': night, dedicated } = PRESETS;
  expect(gentle).toMatchObject({ consent: { cpuShareMax: 0.3 }, rules: { inputIdleMs: 600_000 } });
  expect(gentle.sentence).toMatch(/30 %.*ten minutes/);
  expect(balanced).toMatchObject({ consent: { cpuShareMax: 0.6 }, rules: { inputIdleMs: 180_000 } });
  expect(balanced.sentence).toMatch(/60 %.*three minutes/);
  expect(night.consent.hours && hoursText(night.consent.hours)).toBe('mon-sun 22:00-07:00');
  expect(night).toMatchObject({ rules: balanced.rules, consent: { ...balanced.consent } });
  expect(night.sentence).toMatch(/22:00 to 07:00/);
  expect(dedicated).toMatchObject({ consent: { cpuShareMax: 1, presence: 'ignore' }, rules: { inputIdleMs: null } });
});

test('no preset works on a battery, on a metered line or without a ceiling of temperature', () => {
  for (const { rules } of Object.values(PRESETS)) {
    expect(rules).toMatchObject({ onBattery: true, meteredNetwork: true });
    expect(rules.celsiusMax).toBeLessThanOrEqual(90);
    expect(rules.celsiusWarm).toBeLessThan(rules.celsiusMax ?? 0);
  }
});

test('each preset asks for less of the machine than the next', () => {
  const shares = PRESET_NAMES.map((name) => PRESETS[name].consent.cpuShareMax ?? 1);
  expect(shares).toEqual(shares.toSorted((left, right) => left - right));
});

test('lines that the lender moved hold, and the others are those of the preset', () => {
  const settings = lendingSettingsSchema.parse({
    v: 1,
    preset: 'gentle',
    rules: { inputIdleMs: null, programs: ['quake'] },
    place: 'DE',
  });
  expect(rulesOf(settings)).toEqual({ ...PRESETS.gentle.rules, inputIdleMs: null, programs: ['quake'] });
  expect(rulesOf({ ...settings, rules: { otherCpuMax: undefined } })).toEqual(PRESETS.gentle.rules);
});
