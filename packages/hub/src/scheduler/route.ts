/**
 * Which device an answer goes to: the one where it is expected to be complete first.
 *
 * Pure: candidates in, choice out. Expected completion = round trip + prefill + decoding at the device's measured
 * speed, shared with the answers that it already interleaves, + loading when the model is held but not warm.
 * Interrupted answers stay within their numeric class while any device of it can take them, so that the rest is
 * bit-identical. A device that let an answer stall comes last: standing still, it would look the least busy of all.
 *
 * Who may not see the text is no candidate for it, whatever else would follow: `trust/barred.ts`. Nothing here depends
 * on who asks, but for the devices that are the asker's own.
 */
import { needsOf, type DeviceFeature, type DeviceState } from '@idlewild/protocol';
import { barOf, type Seer, type TextDemand } from '../trust/barred.ts';

export interface Candidate extends Seer {
  readonly device: string;
  readonly state: DeviceState;
  readonly pauseReasons: readonly string[];
  /** What the device has of the model; `none` when it is not even fetching it. */
  readonly model: 'none' | 'fetching' | 'held' | 'loading' | 'warm' | 'failed';
  readonly numericClass: string | undefined;
  /** What it says that it can do beyond plain answers. */
  readonly features: readonly string[];
  readonly slots: number;
  /** Leases that the hub has given it. */
  readonly active: number;
  readonly tokensPerSecond: number | undefined;
  readonly prefillTokensPerSecond: number | undefined;
  /** What each answer beside one's own adds to a step of decoding, as a share of it: 1 where they take turns. */
  readonly sharedCost: number;
  /** Roughly how much of the prompt it has read before and may still know. */
  readonly knownTokens: number;
  readonly roundTripMs: number;
  /** Another replica of the hub has its channel. */
  readonly isElsewhere: boolean;
  /** It let an answer stall lately. */
  readonly mistrusted: boolean;
}

export interface Demand {
  /** Rough counts: the hub cannot tokenise. */
  readonly promptTokens: number;
  readonly answerTokens: number;
  readonly numericClass: string | undefined;
  readonly excluded: ReadonlySet<string>;
  /** What a device must be able to do beyond plain answers. */
  readonly features: readonly DeviceFeature[];
  /** Whose eyes it is for. */
  readonly text: TextDemand;
  /** No other class will do: its caller has tokens that only this one makes again. */
  readonly isBound?: boolean;
}

export type Route =
  | { readonly t: 'device'; readonly device: string; readonly expectedMs: number }
  /** Devices could take it once they have a free slot. */
  | { readonly t: 'wait'; readonly expectedMs: number }
  | { readonly t: 'none' };

/** Taken for speeds that nobody measured yet. */
const UNKNOWN_TOKENS_PER_SECOND = 5;
const UNKNOWN_PREFILL_TOKENS_PER_SECOND = 50;

/**
 * A device that another replica has is chosen when its answer would be there in so much less of the time. What it is
 * given meanwhile is known late, and each token that crosses costs two replicas work instead of one.
 */
const ELSEWHERE_FACTOR = 1.5;

/** Milliseconds until `demand` would be complete on `candidate`. */
export function expectedMs(candidate: Candidate, demand: Demand): number {
  const decode = candidate.tokensPerSecond ?? UNKNOWN_TOKENS_PER_SECOND;
  const prefill = candidate.prefillTokensPerSecond ?? UNKNOWN_PREFILL_TOKENS_PER_SECOND;
  const sharing = 1 + candidate.active * candidate.sharedCost;
  const promptTokens = Math.max(0, demand.promptTokens - candidate.knownTokens);
  return candidate.roundTripMs + (promptTokens / prefill + (demand.answerTokens * sharing) / decode) * 1000;
}

export const servesModel = (candidate: Candidate): boolean => candidate.model === 'warm';
export const takesWork = (candidate: Candidate): boolean => candidate.state === 'ready' || candidate.state === 'busy';

export const canDo = (candidate: Candidate, features: readonly DeviceFeature[]): boolean =>
  features.every((feature) => candidate.features.includes(feature));

/** What `work` needs of a device beyond plain answers. */
export const featuresOf: (work: Parameters<typeof needsOf>[0]) => readonly DeviceFeature[] = needsOf;

/** Those among whom the answer would be given out now; empty when nobody can take it at all. */
function poolFor(candidates: readonly Candidate[], demand: Demand): readonly Candidate[] {
  const { numericClass, excluded, features, text } = demand;
  const able = candidates.filter(
    (c) =>
      takesWork(c) && servesModel(c) && !excluded.has(c.device) && canDo(c, features) && barOf(c, text) === undefined,
  );
  const steady = able.filter((c) => !c.mistrusted);
  const trusted = steady.length > 0 ? steady : able;
  const sameClass = numericClass === undefined ? trusted : trusted.filter((c) => c.numericClass === numericClass);
  return sameClass.length > 0 || demand.isBound === true ? sameClass : trusted;
}

/** Answers that could begin at once. */
export const freeSlots = (candidates: readonly Candidate[], demand: Demand): number =>
  poolFor(candidates, demand).reduce((sum, { slots, active }) => sum + Math.max(0, slots - active), 0);

export function route(candidates: readonly Candidate[], demand: Demand): Route {
  const pool = poolFor(candidates, demand);
  if (pool.length === 0) return { t: 'none' };
  let best: Candidate | undefined;
  let bestMs = Number.POSITIVE_INFINITY;
  let leastMs = Number.POSITIVE_INFINITY;
  let soonestMs = Number.POSITIVE_INFINITY;
  for (const candidate of pool) {
    const ms = expectedMs(candidate, demand);
    const weighedMs = candidate.isElsewhere ? ms * ELSEWHERE_FACTOR : ms;
    if (candidate.active >= candidate.slots) soonestMs = Math.min(soonestMs, ms / (candidate.active + 1));
    else if (weighedMs < leastMs || (weighedMs === leastMs && best !== undefined && candidate.device < best.device)) {
      best = candidate;
      bestMs = ms;
      leastMs = weighedMs;
    }
  }
  if (best !== undefined) return { t: 'device', device: best.device, expectedMs: bestMs };
  return { t: 'wait', expectedMs: soonestMs };
}
