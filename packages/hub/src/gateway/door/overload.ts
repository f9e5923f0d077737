/**
 * Whether this replica takes one more request just now. Once it is behind with its work, every request that it takes
 * makes all of them later; so new ones are told to come back, a part of them that grows with how far behind it is.
 *
 * It is behind when its event loop is late, when its database takes long to keep what it is given, or when memory
 * runs out. Looked at a few times a second, by averages: one long task sheds nobody. Asking costs a comparison.
 *
 * Communities of one process share what it can take evenly: of those that ask for more than their share so much is
 * refused that the others' requests are taken. One that was flooded makes the rest neither wait nor come back.
 */
import { IdlewildError, type Clock, type Random, type Timer } from '@idlewild/protocol';
import { HUB_LIMITS } from '../../limits.ts';
import type { Log } from '../../log.ts';

/** How the process is at this moment. */
export interface LoadProbe {
  /** How late the event loop was since this was asked last: the mean, in milliseconds. */
  loopLateMs(): number;
  /** How long the database takes to keep what it is given. */
  databaseMs(): number;
  /** Part of the memory that is there: 1 is all of it. */
  memory(): number;
}

export interface Overload {
  /** `too_busy` with a time to come back, for one more request of a community; undefined where it may come. */
  refusal(community: string): IdlewildError | undefined;
  stop(): void;
}

export interface OverloadDeps {
  readonly clock: Clock;
  readonly random: Pick<Random, 'unit'>;
  readonly log: Log;
  readonly probe: LoadProbe;
}

const {
  loadLookMs: LOOK_MS,
  loopLateMsMax: LATE_MS,
  databaseSlowMsMax: SLOW_MS,
  memoryPartMax: MEMORY_PART,
  shedRetryMs: RETRY_MS,
} = HUB_LIMITS;
/** One look says little: a moment of two seconds counts like many small ones, and no longer one counts more. */
const LOOK_MS_MAX = 2_000;
/** However far behind it is, whoever asks for less than her share of so much is let in. */
const LIGHT_PART = 0.05;

export function createOverload({ clock, random, log, probe }: OverloadDeps): Overload {
  let lateMs = 0;
  let databaseMs = 0;
  /** Of new requests, what part is refused, and why. */
  let part = 0;
  let why = '';
  let timer: Timer;
  /** Requests of each community since the last look, and between the two before. */
  let coming = new Map<string, number>();
  let came = new Map<string, number>();
  /** Of what comes between two looks, what each community may send. */
  let share = 0;

  const averaged = (before: number, now: number): number => (before + Math.min(now, LOOK_MS_MAX)) / 2;
  /** 0 up to the bound, 1 at twice the bound. */
  const beyond = (value: number, bound: number): number => Math.min(1, Math.max(0, value / bound - 1));

  function look(): void {
    lateMs = averaged(lateMs, probe.loopLateMs());
    databaseMs = averaged(databaseMs, probe.databaseMs());
    const memory = probe.memory();
    [came, coming] = [coming, new Map()];
    const reasons = [
      { part: beyond(lateMs, LATE_MS), why: `it is ${Math.round(lateMs)} ms behind with its work` },
      { part: beyond(databaseMs, SLOW_MS), why: `its database takes ${Math.round(databaseMs)} ms to keep a request` },
      { part: memory > MEMORY_PART ? 1 : 0, why: `its memory is ${Math.round(memory * 100)} % full` },
    ];
    const worst = reasons.toSorted((a, b) => b.part - a.part)[0] as (typeof reasons)[number];
    if (worst.part > 0 !== part > 0) {
      const facts = { lateMs: Math.round(lateMs), databaseMs: Math.round(databaseMs), memory };
      if (worst.part > 0) log.warn(facts, `new requests are refused for a while: ${worst.why}`);
      else log.info(facts, 'new requests are taken again');
    }
    ({ part, why } = worst);
    share = memory > MEMORY_PART ? 0 : evenShare([...came.values()], Math.max(LIGHT_PART, 1 - part));
    timer = clock.after(LOOK_MS, look);
  }
  timer = clock.after(LOOK_MS, look);

  /** Of what this community asks, how much is refused. */
  function partOf(community: string, count: number): number {
    const before = came.get(community) ?? 0;
    if (Math.max(before, count) <= share) return 0;
    return part === 1 || before <= share ? part : 1 - share / before;
  }

  return {
    refusal(community) {
      const count = (coming.get(community) ?? 0) + 1;
      coming.set(community, count);
      if (part === 0 || random.unit() >= partOf(community, count)) return undefined;
      const retryAfterMs = Math.ceil(RETRY_MS * (0.5 + random.unit()));
      const retryAfterSeconds = Math.ceil(retryAfterMs / 1_000);
      return new IdlewildError('too_busy', `this hub is overloaded: ${why}; try again in ${retryAfterSeconds} s`, {
        details: { retryAfterMs, retryAfterSeconds },
      });
    },
    stop: () => timer.cancel(),
  };
}

/** The most that each may send, if `part` of all is taken and who sends less leaves hers to the others. */
function evenShare(counts: readonly number[], part: number): number {
  let left = counts.reduce((sum, count) => sum + count, 0) * part;
  const ascending = counts.toSorted((a, b) => a - b);
  for (const [index, count] of ascending.entries()) {
    const each = left / (ascending.length - index);
    if (count > each) return each;
    left -= count;
  }
  return ascending.at(-1) ?? 0;
}
