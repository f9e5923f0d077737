/**
 * What each signal says at this moment, and where it would pause: for the lender, who may want to know why nothing is
 * paused, or how far a line is away, before moving it. Figures alone; how they are read is said by the source.
 *
 * A noisy reading is held by its mean, so a single figure beyond its line is not yet a pause.
 */
import { IDLENESS_LIMITS as HOLD } from '../limits.ts';
import { inputLines, type Seen } from './lines.ts';
import type { SignalName, Signals } from './port.ts';
import { durationText, percent } from './words.ts';

/** Of every signal that was read; one line each. Absent where nothing was. */
export function readingsOf(seen: Pick<Seen, 'signals' | 'rules'>): Partial<Record<SignalName, string>> {
  const texts = (Object.keys(READINGS) as SignalName[]).map((name) => [name, textOf(name, seen)] as const);
  return Object.fromEntries(texts.filter(([, text]) => text !== undefined));
}

type Told<Value> = (value: Value, seen: Pick<Seen, 'signals' | 'rules'>) => readonly [now: string, line: string];

const OFF = 'pauses nothing';

/** One reading, as its own kind has it. */
const READINGS: { readonly [Name in SignalName]: Told<NonNullable<Signals[Name]>> } = {
  inputIdleMs: (ms, { signals, rules }) => {
    const [leave, enter] = inputLines(signals, rules);
    return [
      `not touched for ${durationText(ms)}`,
      rules.inputIdleMs === null ? OFF : `pauses within ${durationText(enter)}, works from ${durationText(leave)} on`,
    ];
  },
  locked: (is, { rules }) => [is ? 'yes' : 'no', rules.whenLocked ? 'pauses' : OFF],
  fullScreen: (is, { rules }) => [is ? 'yes' : 'no', rules.fullScreen ? 'pauses' : OFF],
  audio: (is, { rules }) => [is ? 'yes' : 'no', rules.audio ? 'pauses' : OFF],
  camera: (is, { rules }) => [is ? 'yes' : 'no', rules.camera ? 'pauses' : OFF],
  otherCpu: (share, { rules }) => [percent(share), loadLine(rules.otherCpuMax, HOLD.cpuLeaveShare)],
  otherGpu: (share, { rules }) => [percent(share), loadLine(rules.otherGpuMax, HOLD.gpuLeaveShare)],
  onBattery: (is, { rules }) => [is ? 'yes' : 'no', rules.onBattery ? 'pauses' : OFF],
  charge: (share, { rules: { chargeMin: line } }) => [percent(share), leastLine(line, HOLD.chargeLeaveBy)],
  celsius: (celsius, { rules: { celsiusMax: line } }) => [
    `${Math.round(celsius)} °C`,
    line === null ? OFF : `pauses from ${line} °C on, works below ${line - HOLD.celsiusBetweenLines} °C`,
  ],
  memoryPressure: (share, { rules }) => [percent(share), loadLine(rules.memoryPressureMax, HOLD.pressureLeaveShare)],
  memoryFree: (share, { rules: { memoryFreeMin: line } }) => [percent(share), leastLine(line, HOLD.memoryLeaveBy)],
  meteredNetwork: (is, { rules }) => [is ? 'yes' : 'no', rules.meteredNetwork ? 'pauses' : OFF],
  programs: (running, { rules }) => [
    running.length === 0 ? 'none runs' : `${running.slice(0, 3).join(', ').slice(0, 60)} runs`,
    rules.programs.length === 0 ? 'none is listed' : `one of ${rules.programs.length} pauses`,
  ],
};

function textOf<Name extends SignalName>(name: Name, seen: Pick<Seen, 'signals' | 'rules'>): string | undefined {
  const value = seen.signals[name];
  if (value === undefined) return undefined;
  const [now, line] = READINGS[name](value, seen);
  return `${now} (${line})`;
}

const loadLine = (line: number | null, leaveShare: number): string =>
  line === null ? OFF : `pauses from ${percent(line)} on, works below ${percent(line * leaveShare)}`;
const leastLine = (line: number | null, leaveBy: number): string =>
  line === null ? OFF : `pauses at ${percent(line)}, works above ${percent(line + leaveBy)}`;
