/**
 * Probabilities under the model's own distribution, the same bits on every machine: docs/protocol-sampler.md defines
 * them.
 *
 * They are of the logits as the graph gave them, before bias, mask, penalties and temperature.
 */
import { IdlewildError } from '../errors.ts';
import { exp, ln } from './ln.ts';

export interface LogSoftmax {
  /** Natural logarithm of a token's probability, at most 0; `LOGPROB_MIN` stands for all that is smaller. */
  of(id: number): number;
  /** The likeliest `count` tokens (fewer where there are fewer), likeliest first, ties by ascending id. */
  top(count: number): number[];
}

/** −∞ has no place in JSON. */
export const LOGPROB_MIN = -9_999;
/** e^−40 of the largest term: 150,000 of them do not reach the sum's last bit but one. */
const DEPTH = 40;

/** One row of logits, which must not change while this is used. Throws `engine_failed` for NaN, +∞, or only −∞. */
export function logSoftmax(logits: Float32Array): LogSoftmax {
  let max = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] as number;
    // True for NaN too.
    if (!(logit <= max)) max = logit;
    if (Number.isNaN(max)) break;
  }
  if (!Number.isFinite(max))
    throw new IdlewildError('engine_failed', `the model's highest logit is ${max}: its graph or weights are damaged`);
  let sum = 0;
  for (let id = 0; id < logits.length; id++) {
    const depth = (logits[id] as number) - max;
    if (depth >= -DEPTH) sum += exp(depth);
  }
  const total = ln(sum);
  return {
    of: (id) => Math.max(LOGPROB_MIN, (logits[id] ?? -Infinity) - max - total),
    top: (count) => likeliest(logits, count),
  };
}

function likeliest(logits: Float32Array, count: number): number[] {
  const best: number[] = [];
  let least = -Infinity;
  for (let id = 0; id < logits.length && count > 0; id++) {
    const logit = logits[id] as number;
    if (best.length === count && logit <= least) continue;
    let at = best.length;
    while (at > 0 && (logits[best[at - 1] as number] as number) < logit) at--;
    best.splice(at, 0, id);
    if (best.length > count) best.pop();
    least = logits[best.at(-1) as number] as number;
  }
  return best;
}
