/**
 * What people read of a pause: the lender what was seen and where the line is, the hub and whoever looks at it only of
 * what kind it is. Which program runs here, or that somebody is in a call, is nobody's business but the lender's.
 */
import { hoursText } from '../terms/hours.ts';
import { IDLENESS_LIMITS as HOLD } from '../limits.ts';
import type { ReasonName, Seen } from './lines.ts';

const IN_USE = 'a person is using this machine';
const BUSY = 'other programs need this machine';
const STRAINED = 'this machine is under strain';
const POWER = 'this machine saves its battery';

/** For the hub: stable, whatever the figures are. */
export const TOLD: Readonly<Record<ReasonName, string>> = {
  hours: 'outside the hours that its lender lends',
  energy: 'the energy that its lender lends for today is used up',
  carbon: 'it waits for cleaner electricity',
  programs: IN_USE,
  input: IN_USE,
  locked: IN_USE,
  'full-screen': IN_USE,
  audio: IN_USE,
  camera: IN_USE,
  load: BUSY,
  gpu: BUSY,
  battery: POWER,
  charge: POWER,
  temperature: STRAINED,
  memory: STRAINED,
  metered: 'its network is paid by volume',
};

type Words = (seen: Seen) => string;

const WORDS: Readonly<Record<ReasonName, Words>> = {
  hours: () => 'it is outside the hours that are lent',
  energy: ({ outside: { energy } }) =>
    energy === undefined
      ? TOLD.energy
      : `${wattHours(energy.wattHoursToday)} Wh of ${wattHours(energy.wattHoursPerDayMax)} Wh for today are used up`,
  carbon: ({ outside: { lowCarbon } }) =>
    lowCarbon === undefined
      ? TOLD.carbon
      : `it waits for the hours of cleaner electricity: ${hoursText(lowCarbon).slice(0, 40)}`,
  programs: ({ signals: { programs = [] } }) => {
    const [first, ...more] = programs;
    if (first === undefined) return 'a program of the list ran here';
    return `${first.slice(0, 60)}${more.length === 0 ? '' : ` and ${more.length} more of the list`} runs here`;
  },
  input: ({ signals: { inputIdleMs } }) =>
    inputIdleMs === undefined
      ? 'somebody used this machine'
      : `somebody used this machine ${durationText(inputIdleMs)} ago`,
  locked: () => 'the screen is locked',
  'full-screen': () => 'a program fills the screen',
  audio: () => 'sound is played or recorded',
  camera: () => 'a camera is in use',
  load: ({ signals, rules }) =>
    `other programs use ${percent(signals.otherCpu)} of the processors; ` +
    linesText(rules.otherCpuMax, HOLD.cpuLeaveShare),
  gpu: ({ signals, rules }) =>
    `other programs use ${percent(signals.otherGpu)} of the graphics card; ` +
    linesText(rules.otherGpuMax, HOLD.gpuLeaveShare),
  battery: () => 'it runs on its battery',
  charge: ({ signals, rules }) =>
    `its battery is at ${percent(signals.charge)}; ` +
    `it works above ${percent((rules.chargeMin ?? 0) + HOLD.chargeLeaveBy)}`,
  temperature: ({ signals: { celsius }, rules: { celsiusMax } }) =>
    `it is ${celsius === undefined ? 'hot' : `${Math.round(celsius)} °C hot`}; the ceiling is ${celsiusMax} °C, ` +
    `and it works below ${(celsiusMax ?? 0) - HOLD.celsiusBetweenLines} °C`,
  memory: ({ signals: { memoryFree, memoryPressure }, rules }) =>
    rules.memoryFreeMin !== null && memoryFree !== undefined && memoryFree < rules.memoryFreeMin + HOLD.memoryLeaveBy
      ? `${percent(memoryFree)} of its memory is free; ` +
        `it works above ${percent(rules.memoryFreeMin + HOLD.memoryLeaveBy)}`
      : `programs wait for memory ${percent(memoryPressure)} of the time`,
  metered: () => 'its network is paid by volume',
};

/** What is over and is held for a while still. */
const WAS: Readonly<Partial<Record<ReasonName, string>>> = {
  programs: 'a program of the list ran here',
  locked: 'the screen was locked',
  'full-screen': 'a program filled the screen',
  audio: 'sound was played or recorded',
  camera: 'a camera was in use',
  load: 'other programs used the processors',
  gpu: 'other programs used the graphics card',
  battery: 'it ran on its battery',
  charge: 'its battery was low',
  temperature: 'it was hot',
  memory: 'it was short of memory',
  metered: 'its network was paid by volume',
};

/** At most 128 characters: what a pause's text may have. It is kept for the reasons in `waitsFor`, near their lines. */
export function textOf(
  name: ReasonName,
  seen: Seen,
  endsInMs: number | undefined,
  waitsFor: readonly ReasonName[],
): string {
  const what = (endsInMs === undefined ? undefined : WAS[name]) ?? WORDS[name](seen);
  if (waitsFor.length > 0) return `${what}; it still waits for ${waitsFor.slice(0, 3).join(', ')} to fall`;
  return endsInMs === undefined ? what : `${what}; it works again in ${durationText(endsInMs)}`;
}

/** While work gets less than all that is lent. */
export function cooledText({ signals: { celsius }, rules: { celsiusWarm, celsiusMax } }: Seen, share: number): string {
  const warmth = celsius === undefined ? 'it was warm' : `it is ${Math.round(celsius)} °C warm`;
  const ceiling = celsiusMax === null ? '' : `, and nothing above ${celsiusMax} °C`;
  return `lowered to ${percent(share)} of what is lent: ${warmth}, and gets less from ${celsiusWarm} °C on${ceiling}`;
}

/** `40 s`, `3 min`, `1 h 20 min`, `2 days`. */
export function durationText(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.round(hours / 24)} days`;
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
}

export const percent = (share: number | undefined): string =>
  share === undefined ? 'some' : `${Math.round(share * 100)} %`;
const linesText = (line: number | null, leaveShare: number): string =>
  `the line is ${percent(line ?? 1)}, and it works below ${percent((line ?? 1) * leaveShare)}`;
const wattHours = (amount: number): string => (amount < 10 ? amount.toFixed(1) : Math.round(amount).toString());
