/** What was agreed, as pairs for people, from what `consent.json` has for them. */
import { AGENT_LIMITS, type LendingSettings } from '@idlewild/agent';
import { bytesText, momentText } from '../text/units.ts';
import { unaskedText } from './unasked.ts';

type Readable = Readonly<Record<string, unknown>>;
type Fact = readonly [name: string, value: string];

const PRESENCE = {
  ignore: 'works also while somebody uses the machine',
  respect: 'works only while nobody uses the machine',
} as const;

const GRAPHICS = {
  idle: 'while nobody uses the machine; no model of this version can use one',
  always: 'at any time; no model of this version can use one',
} as const;

/** Every figure that was agreed, and for those that were not named what holds. */
export function consentFacts(consent: Readable): Fact[] {
  const words = (field: string, none: string): string => {
    const value = consent[field];
    return Array.isArray(value) && value.length > 0 ? value.join(', ') : none;
  };
  const figure = (field: string, text: (value: number) => string, unnamed: string): string => {
    const value = consent[field];
    return typeof value === 'number' ? text(value) : unnamed;
  };
  const rate = (value: number): string => (value === 0 ? 'none' : `${bytesText(value)}/s`);
  const plain = (field: string, unnamed: string): string => {
    const value = consent[field];
    return typeof value === 'string' ? value : unnamed;
  };
  const inVain = unaskedText(consent);
  return [
    ['work', words('kinds', 'none')],
    ['texts', words('classes', 'public, internal')],
    ['causes', words('causes', 'any that is not refused')],
    ['refused', words('refused', 'none')],
    ...(inVain === undefined ? [] : [['but', inVain] as const]),
    ['hours', plain('hours', 'always')],
    ['presence', PRESENCE[consent.presence === 'ignore' ? 'ignore' : 'respect']],
    ['processors', figure('cpuShareMax', (share) => `${Math.round(share * 100)} %`, '60 %')],
    ['memory', figure('memoryBytesMax', bytesText, "half of the machine's")],
    ['disk', figure('diskBytesMax', bytesText, bytesText(AGENT_LIMITS.diskBytes))],
    ['download', figure('downloadBytesPerSecondMax', rate, 'no limit')],
    ['upload', figure('uploadBytesPerSecondMax', rate, rate(AGENT_LIMITS.uploadBytesPerSecond))],
    ['graphics', consent.gpu === 'idle' || consent.gpu === 'always' ? GRAPHICS[consent.gpu] : 'never'],
    ['speed', figure('tokensPerSecondMax', (count) => `at most ${count} tokens/s`, 'no limit')],
    ['temperature', figure('celsiusMax', (degrees) => `at most ${degrees} °C`, 'as the preset has it')],
    ['energy', figure('wattHoursPerDayMax', (amount) => `at most ${amount} Wh a day`, 'no limit')],
    ['agreed', typeof consent.issuedAt === 'string' ? momentText(Date.parse(consent.issuedAt)) : 'never'],
  ];
}

/** What is the lender's own business and is never sent, as far as it differs from the preset. */
export function settingsFacts(settings: LendingSettings | undefined): Fact[] {
  const { rules, place, energy: { gramsPerKwh, lowCarbon } = {} } = settings ?? { rules: {} };
  const { programs = [], ...moved } = rules;
  const grid = gramsPerKwh === undefined ? place : `${gramsPerKwh} g/kWh`;
  const clean = typeof lowCarbon === 'object' ? `at ${lowCarbon.gramsPerKwhMax} g/kWh or less` : lowCarbon;
  return [
    ...(programs.length === 0 ? [] : [['programs', `pauses while one of these runs: ${programs.join(', ')}`] as const]),
    ...(grid === undefined ? [] : [['grid', grid] as const]),
    ...(clean === undefined ? [] : [['clean', clean] as const]),
    ...Object.entries(moved).map(([line, value]): Fact => ['line', `${line}: ${value === null ? 'off' : value}`]),
  ];
}
