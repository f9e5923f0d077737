/**
 * Models whose engines end by themselves: how often in a row without having finished anything, and until when each is
 * left alone.
 *
 * One end may be anybody's fault, so the model is loaded again at once. After several in a row it costs its lender more
 * than it gives, and each further one is answered by twice the wait of the one before. Only work that came to its end
 * clears a model: how long an engine lived says nothing, since a run without end lives until it is ended. What is
 * known outlasts the hub's wish for a model, and not this process.
 */
import type { Clock } from '@idlewild/protocol';
import { AGENT_LIMITS } from '../limits.ts';

export interface Troubles {
  /** An engine of the model ended by itself. Until when the model is left alone, monotonic, and what to say of it. */
  ended(cid: string, how: string): Trouble;
  /** Work of the model came to its end. */
  finished(cid: string): void;
  /** What the last end of its engine was, while the model is to be left alone for it. */
  of(cid: string): Trouble | undefined;
}

interface Trouble {
  /** In a row. */
  readonly times: number;
  readonly untilMs: number;
  /** For the lender and the hub. */
  readonly why: string;
}

const { endsBeforeRest, restMsMin, restMsMax, reloadMsMin, troublesRememberedMax } = AGENT_LIMITS;
const MINUTE_MS = 60_000;

export function createTroubles(clock: Clock): Troubles {
  /** By CID, the one that ended longest ago first. */
  const known = new Map<string, Trouble>();
  return {
    ended(cid, how) {
      const times = (known.get(cid)?.times ?? 0) + 1;
      const waitMs = waitOf(times);
      const rests = times < endsBeforeRest ? '' : `; it is left alone for ${Math.round(waitMs / MINUTE_MS)} minutes`;
      const why = `its engine ended ${times} times in a row, and nothing was finished in between${rests} (${how})`;
      const trouble: Trouble = { times, untilMs: clock.monotonic() + waitMs, why };
      known.delete(cid);
      known.set(cid, trouble);
      if (known.size > troublesRememberedMax) known.delete(known.keys().next().value as string);
      return trouble;
    },
    finished: (cid) => void known.delete(cid),
    of(cid) {
      const trouble = known.get(cid);
      return trouble !== undefined && trouble.untilMs > clock.monotonic() ? trouble : undefined;
    },
  };
}

const waitOf = (times: number): number =>
  times < endsBeforeRest
    ? reloadMsMin * 2 ** (times - 1)
    : Math.min(restMsMax, restMsMin * 2 ** Math.min(times - endsBeforeRest, 16));
