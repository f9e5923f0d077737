/**
 * A probe reads one thing of a machine. Here: what all probes are, how dear ones are paced, and how what several of
 * them say becomes one reading. Any one that says "somebody is there" is believed.
 */
import type { Clock, MaybePromise } from '@idlewild/protocol';
import type { SignalName, Signals } from '../../core/lending/idleness/port.ts';
import { SIGNAL_LIMITS } from './limits.ts';

export const SIGNAL_NAMES = [
  'inputIdleMs',
  'locked',
  'fullScreen',
  'audio',
  'camera',
  'otherCpu',
  'otherGpu',
  'onBattery',
  'charge',
  'celsius',
  'memoryPressure',
  'memoryFree',
  'meteredNetwork',
  'programs',
] as const satisfies readonly SignalName[];

export type Sources = Partial<Record<SignalName, string>>;

export interface Probe {
  /** What it can tell now and how it reads it, for people; it changes as screens and cards come and go. */
  sources(): Sources;
  read(): MaybePromise<Signals>;
  /** Called at once when somebody touches the machine, where that can be told. */
  onInput?(listen: () => void): void;
  close?(): void;
}

/**
 * A probe whose looks cost something: at most one in `everyMs`, never two at a time. `'wait'` is for what answers
 * within a millisecond or so. Otherwise reading gives what the look before saw, and waits only for the very first. What
 * is too old is not told any more.
 */
export function paced(clock: Clock, everyMs: number, probe: Probe, how: 'wait' | 'go on' = 'go on'): Probe {
  let looking: Promise<void> | undefined;
  let last: { readonly signals: Signals; readonly atMs: number } | undefined;
  let startedMs = -Infinity;
  let readMs = clock.monotonic();
  const look = async (): Promise<void> => {
    try {
      last = { signals: await probe.read(), atMs: clock.monotonic() };
    } catch {
      // A probe that fails tells nothing this time, like one that cannot read.
    } finally {
      looking = undefined;
    }
  };
  const told = (now: number): Signals => {
    // Whoever reads seldom is told what the last look saw, however long ago.
    const keptMs = Math.max(everyMs, now - readMs) * SIGNAL_LIMITS.roundsKept;
    readMs = now;
    return last !== undefined && clock.monotonic() - last.atMs <= keptMs ? last.signals : {};
  };
  return {
    ...probe,
    read() {
      const now = clock.monotonic();
      if (looking === undefined && now - startedMs >= everyMs) {
        startedMs = now;
        looking = look();
      }
      const isToBeAwaited = last === undefined || how === 'wait';
      return looking !== undefined && isToBeAwaited ? looking.then(() => told(now)) : told(now);
    },
  };
}

/** One reading of all. Never throws: a probe that fails tells nothing. */
export async function readAll(probes: readonly Probe[]): Promise<Signals> {
  const none: Signals = {};
  const readings: MaybePromise<Signals>[] = probes.map((probe) => {
    try {
      const reading = probe.read();
      return reading instanceof Promise ? reading.catch(() => none) : reading;
    } catch {
      return none;
    }
  });
  // Most have something to tell at once, and twenty readings a second are asked for while we work.
  let all = none;
  for (const reading of readings) all = together(all, reading instanceof Promise ? await reading : reading);
  return all;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** What both say: the least idle time, the highest load, the lowest charge; and whatever only one of them says. */
export function together(one: Signals, other: Signals): Signals {
  const both: Mutable<Signals> = {};
  for (const name of ['locked', 'fullScreen', 'audio', 'camera', 'onBattery', 'meteredNetwork'] as const) {
    const seen = one[name] === true || other[name] === true ? true : (one[name] ?? other[name]);
    if (seen !== undefined) both[name] = seen;
  }
  for (const name of ['otherCpu', 'otherGpu', 'celsius', 'memoryPressure'] as const) {
    keep(both, name, Math.max, one[name], other[name]);
  }
  for (const name of ['inputIdleMs', 'charge', 'memoryFree'] as const) {
    keep(both, name, Math.min, one[name], other[name]);
  }
  const programs = [...new Set([...(one.programs ?? []), ...(other.programs ?? [])])];
  if (one.programs !== undefined || other.programs !== undefined) both.programs = programs;
  return both;
}

type Measured = 'inputIdleMs' | 'otherCpu' | 'otherGpu' | 'charge' | 'celsius' | 'memoryPressure' | 'memoryFree';

function keep(
  both: Mutable<Signals>,
  name: Measured,
  choose: (a: number, b: number) => number,
  one: number | undefined,
  other: number | undefined,
): void {
  // Whatever is no number says nothing: a line of a file may have been cut short.
  const known = [one, other].filter((value): value is number => value !== undefined && Number.isFinite(value));
  const [first, second = first] = known;
  if (first !== undefined && second !== undefined) both[name] = choose(first, second);
}

/** A number from text, or nothing: never NaN. */
export function numberOf(text: string | undefined): number | undefined {
  if (text === undefined || text.trim() === '') return undefined;
  const value = Number(text.trim());
  return Number.isFinite(value) ? value : undefined;
}

export const within = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));
