/**
 * Whether this replica takes one more request just now. Once it is behind with its work, every request that it takes
 * makes all of them later; so new ones are told to come back, a part of them that grows with how far behind it is.
 *
 * It is behind when its event loop is late, when its database takes long to keep what it is given, or when memory
 * runs out. Looked at a few times a second, by averages: one long task sheds nobody. Asking costs a comparison.
 */
import { IdlewildError, type Clock, type Random, type Timer } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';

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
  /** `too_busy` with a time to come back, for one more request; undefined where it may come. */
  refusal(): IdlewildError | undefined;
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

export function createOverload({ clock, random, log, probe }: OverloadDeps): Overload {
  let lateMs = 0;
  let databaseMs = 0;
  /** Of new requests, what part is refused, and why. */
  let part = 0;
  let why = '';
  let timer: Timer;

  const averaged = (before: number, now: number): number => (before + Math.min(now, LOOK_MS_MAX)) / 2;
  /** 0 up to the bound, 1 at twice the bound. */
  const beyond = (value: number, bound: number): number => Math.min(1, Math.max(0, value / bound - 1));

  function look(): void {
    lateMs = averaged(lateMs, probe.loopLateMs());
    databaseMs = averaged(databaseMs, probe.databaseMs());
    const memory = probe.memory();
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
    timer = clock.after(LOOK_MS, look);
  }
  timer = clock.after(LOOK_MS, look);

  return {
    refusal() {
      if (part === 0 || random.unit() >= part) return undefined;
      const retryAfterMs = Math.ceil(RETRY_MS * (0.5 + random.unit()));
      const retryAfterSeconds = Math.ceil(retryAfterMs / 1_000);
      return new IdlewildError('too_busy', `this hub is overloaded: ${why}; try again in ${retryAfterSeconds} s`, {
        details: { retryAfterMs, retryAfterSeconds },
      });
    },
    stop: () => timer.cancel(),
  };
}
