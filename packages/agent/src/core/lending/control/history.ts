/**
 * What a device did, as sums: of each day, for each community and cause how much was answered and how long it was lent,
 * of each reason to pause how often and how long it held, and what the machine drew for all of it.
 *
 *   events, states ──tally──► lines of what is new since the last ones ──written, read back──► sums of days
 *
 * A line is a difference, so that lines may be lost, repeated files aside, in any order, and summed up into fewer. It
 * holds no prompt, no answer and no caller. Time is counted while the machine is awake.
 */
import type { Clock } from '@idlewild/protocol';
import { z } from 'zod';
import { HISTORY_LIMITS } from './limits.ts';
import type { Energy } from '../energy/energy.ts';
import type { PauseReason } from '../idleness/port.ts';
import type { WorkDone } from './work.ts';

const count = z.int().min(0);
const name = z.string().min(1).max(HISTORY_LIMITS.textCharactersMax);
const workFields = {
  /** Finished here. */
  answers: count,
  embeddings: count,
  tokens: count,
  /** While something was computed. */
  workedMs: z.number().min(0),
  /** While it was ready or busy. */
  lentMs: z.number().min(0),
  /** Absent: nothing told. */
  wattHours: z.number().min(0).optional(),
};
const day = z.string().regex(/^\d{4}-\d\d-\d\d$/);
const workLineSchema = z.object({ day, territory: name, cause: name.optional(), ...workFields });
const pauseLineSchema = z.object({
  day,
  pause: name,
  text: z.string().max(HISTORY_LIMITS.textCharactersMax),
  times: count,
  ms: z.number().min(0),
});
const energyLineSchema = z.object({
  day,
  /** Of the whole device: loading and housekeeping are nobody's work. */
  drawnWattHours: z.number().min(0),
  /** Of these, what was measured. */
  measuredWattHours: z.number().min(0),
});
export const historyLineSchema = z.union([workLineSchema, pauseLineSchema, energyLineSchema]);
export type HistoryLine = z.infer<typeof historyLineSchema>;

export type WorkSum = Omit<z.infer<typeof workLineSchema>, 'day'>;
export type PauseSum = Omit<z.infer<typeof pauseLineSchema>, 'day'>;
export type EnergySum = Omit<z.infer<typeof energyLineSchema>, 'day'>;

export interface DayHistory {
  /** Of the lender's calendar: `2026-11-23`. */
  readonly day: string;
  /** By community and cause; what nobody said the cause of has none. */
  readonly work: readonly WorkSum[];
  readonly pauses: readonly PauseSum[];
  /** Absent: nothing counted it. */
  readonly energy?: EnergySum;
}

/** What a tally goes by: the part of an agent's state that it counts. */
export interface TallyState {
  readonly state: string;
  readonly pauses: readonly PauseReason[];
  readonly answering: number;
}

export interface Tally {
  /** The device changed; what was before held until now. */
  state(state: TallyState): void;
  done(work: WorkDone): void;
  drawn(energy: Energy): void;
  /** What is new since the last call. */
  take(): HistoryLine[];
}

export interface TallyDeps {
  readonly clock: Clock;
  /** Id of the community; nothing is counted before it is known. */
  territory(): string;
  /** The lender's day at a moment of the wall clock. */
  dayOf(nowMs: number): string;
}

const NOTHING: TallyState = { state: 'offline', pauses: [], answering: 0 };
const LENT: ReadonlySet<string> = new Set(['ready', 'busy']);

export function createTally({ clock, territory, dayOf }: TallyDeps): Tally {
  let sums = createSums();
  let last = NOTHING;
  let sinceMs = clock.monotonic();
  let today = dayOf(clock.now());

  const work = (cause?: string): WorkEntry => sums.work({ day: today, territory: territory(), cause });
  /** Up to now it was as the last state says. */
  function advance(): void {
    const nowMs = clock.monotonic();
    const ms = nowMs - sinceMs;
    sinceMs = nowMs;
    if (ms > 0) {
      if (LENT.has(last.state)) work().lentMs += ms;
      if (last.answering > 0) work().workedMs += ms;
      for (const { name: pause, text } of last.pauses) sums.pause({ day: today, pause, text }).ms += ms;
    }
    today = dayOf(clock.now());
  }
  return {
    state(state) {
      advance();
      for (const { name: pause, text } of state.pauses) {
        if (!last.pauses.some((before) => before.name === pause)) sums.pause({ day: today, pause, text }).times += 1;
      }
      last = { state: state.state, pauses: [...state.pauses], answering: state.answering };
    },
    done({ kind, cause, whole, tokens, wattHours }) {
      advance();
      const sum = work(cause);
      sum.tokens += tokens;
      if (whole && kind === 'answer') sum.answers += 1;
      if (whole && kind === 'embed') sum.embeddings += 1;
      if (wattHours !== undefined) sum.wattHours = (sum.wattHours ?? 0) + wattHours;
    },
    drawn({ wattHours, how }) {
      advance();
      const sum = sums.energy({ day: today });
      sum.drawnWattHours += wattHours;
      if (how === 'measured') sum.measuredWattHours += wattHours;
    },
    take() {
      advance();
      const lines = sums.lines();
      sums = createSums();
      return lines;
    },
  };
}

type WorkEntry = { -readonly [Field in keyof z.infer<typeof workLineSchema>]: z.infer<typeof workLineSchema>[Field] };
type PauseEntry = z.infer<typeof pauseLineSchema>;
type EnergyEntry = z.infer<typeof energyLineSchema>;

interface Sums {
  work(of: { day: string; territory: string; cause?: string | undefined }): WorkEntry;
  pause(of: { day: string; pause: string; text: string }): PauseEntry;
  energy(of: { day: string }): EnergyEntry;
  lines(): HistoryLine[];
}

/** Entries by what they are of, as many as there may be. */
function createSums(): Sums {
  const works = new Map<string, WorkEntry>();
  const pauses = new Map<string, PauseEntry>();
  const energies = new Map<string, EnergyEntry>();
  return {
    work({ day: on, territory, cause }) {
      // Causes come from callers: past the bound they count as none said.
      const isNew = cause !== undefined && !works.has(`${on} ${territory} ${cause}`);
      const said = isNew && works.size >= HISTORY_LIMITS.keysMax ? undefined : cause;
      const key = `${on} ${territory} ${said ?? ''}`;
      const found = works.get(key);
      if (found !== undefined) return found;
      const zero = { answers: 0, embeddings: 0, tokens: 0, workedMs: 0, lentMs: 0 };
      const entry: WorkEntry = { day: on, territory, ...(said === undefined ? {} : { cause: said }), ...zero };
      works.set(key, entry);
      return entry;
    },
    pause({ day: on, pause, text }) {
      const key = `${on} ${pause}`;
      const entry = pauses.get(key) ?? { day: on, pause, text: '', times: 0, ms: 0 };
      entry.text = text.slice(0, HISTORY_LIMITS.textCharactersMax);
      pauses.set(key, entry);
      return entry;
    },
    energy({ day: on }) {
      const entry = energies.get(on) ?? { day: on, drawnWattHours: 0, measuredWattHours: 0 };
      energies.set(on, entry);
      return entry;
    },
    lines: () =>
      [...works.values(), ...pauses.values(), ...energies.values()].map((entry) => {
        const rounded: Record<string, unknown> = { ...entry };
        for (const field of ['ms', 'workedMs', 'lentMs']) {
          if (typeof rounded[field] === 'number') rounded[field] = Math.round(rounded[field]);
        }
        return rounded as unknown as HistoryLine;
      }),
  };
}

/** Many lines as the fewest that say the same. */
export function sumLines(lines: Iterable<HistoryLine>): HistoryLine[] {
  const sums = createSums();
  for (const line of lines) {
    if ('pause' in line) {
      const sum = sums.pause(line);
      sum.times += line.times;
      sum.ms += line.ms;
      continue;
    }
    if ('drawnWattHours' in line) {
      const sum = sums.energy(line);
      sum.drawnWattHours += line.drawnWattHours;
      sum.measuredWattHours += line.measuredWattHours;
      continue;
    }
    const sum = sums.work(line);
    for (const field of ['answers', 'embeddings', 'tokens', 'workedMs', 'lentMs'] as const) sum[field] += line[field];
    if (line.wattHours !== undefined) sum.wattHours = (sum.wattHours ?? 0) + line.wattHours;
  }
  return sums.lines();
}

/** Newest day first; the most work first, and the longest pause. */
export function daysOf(lines: Iterable<HistoryLine>): DayHistory[] {
  const byDay = Map.groupBy(sumLines(lines), (line) => line.day);
  return [...byDay]
    .toSorted(([a], [b]) => (a < b ? 1 : -1))
    .map(([on, all]) => {
      const [energy] = all.flatMap((line) => ('drawnWattHours' in line ? [withoutDay(line)] : []));
      return {
        day: on,
        work: all
          .flatMap((line) => ('answers' in line ? [withoutDay(line)] : []))
          .toSorted((a, b) => b.tokens - a.tokens || b.lentMs - a.lentMs),
        pauses: all.flatMap((line) => ('pause' in line ? [withoutDay(line)] : [])).toSorted((a, b) => b.ms - a.ms),
        ...(energy === undefined ? {} : { energy }),
      };
    });
}

function withoutDay<Line extends { day: string }>(line: Line): Omit<Line, 'day'> {
  const rest: Partial<Line> = { ...line };
  delete rest.day;
  return rest as Omit<Line, 'day'>;
}
