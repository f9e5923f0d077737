/**
 * From logits to the next token: a pure function, the same bits in every language. docs/protocol-sampler.md says it in
 * prose.
 *
 * All arithmetic is float64 on the float32 logits, in this order: bias, mask, repetition penalty (prompt and answer),
 * frequency and presence penalty (answer), [temperature 0: the highest, ties to the lowest id], division by
 * temperature, top-k, top-p, and the highest of logit + noise over what is left, ties to the lowest id (Gumbel-max:
 * Maddison, Tarlow, Minka 2014). The mask is −∞, which no later step lifts. What is skipped here for speed provably
 * cannot change the result; the tests compare with the plain definition.
 */
import { IdlewildError } from '../errors.ts';
import type { Sampling } from '../wire/answer.ts';
import { exp } from './ln.ts';
import { gumbel, keyOf, philox } from './philox.ts';
import { createTruncation, type Kept } from './truncate.ts';

export interface SamplerContext {
  readonly prompt: ArrayLike<number>;
  /** Tokens of the answer so far; their number is the position of the token to be chosen. */
  readonly answer: ArrayLike<number>;
  readonly choice: number;
  /**
   * One bit for each token, the lowest first: only tokens whose bit is set can be chosen, and none beyond the last
   * word. Absent: all can.
   */
  readonly allowed?: Int32Array | undefined;
}

/**
 * One row of logits, one for each id of the vocabulary. Throws `engine_failed` when no token can be chosen from them.
 */
export type Sampler = (logits: Float32Array, sampling: Sampling, context: SamplerContext) => number;

/** Below this a temperature is 0: dividing by it only makes the likeliest token certain, or overflows. */
export const TEMPERATURE_MIN = 1e-6;

/** Above the noise of any word (22.872…). */
const NOISE_MAX = 23;
/** Steps per unit in the table of `createNoiseBound`. */
const STEPS = 16;

/**
 * The words of the first `blocks` blocks at (block, position, choice, 0) under the key of a seed, as `philox` gives
 * them, four each; valid until the next call.
 */
export type NoiseWords = (blocks: number, position: number, choice: number, low: number, high: number) => Uint32Array;

/**
 * Keeps its buffers between calls: one per stream of calls, not shared between threads. `noiseWords` is a faster way to
 * the same words, for a platform that has one.
 */
export function createSampler(noiseWords?: NoiseWords): Sampler {
  let values = new Float64Array(0);
  let counts = new Uint32Array(0);
  const words = new Uint32Array(4);
  const wordMin = createNoiseBound();
  const truncation = createTruncation();

  return (logits, sampling, context) => {
    if (values.length !== logits.length) {
      values = new Float64Array(logits.length);
      counts = new Uint32Array(logits.length);
    }
    for (let id = 0; id < values.length; id++) values[id] = logits[id] as number;
    if (sampling.logitBias !== undefined) addBias(values, sampling.logitBias);
    if (context.allowed !== undefined) mask(values, context.allowed);
    penalise(values, counts, sampling, context);
    const likeliest = highest(values);
    if (sampling.temperature < TEMPERATURE_MIN) return likeliest;
    if (sampling.temperature !== 1)
      for (let id = 0; id < values.length; id++) values[id] = (values[id] as number) / sampling.temperature;
    const max = values[likeliest] as number;
    let kept: Kept | undefined;
    if (sampling.topK > 0 && sampling.topK < values.length) kept = truncation.topK(values, sampling.topK);
    if (sampling.topP < 1) kept = truncation.topP(values, kept, max, sampling.topP);
    return noisiest(values, kept, likeliest, sampling.seed, context, { words, wordMin, noiseWords });
  };
}

/** One token with buffers of its own; a loop takes `createSampler`. */
export const sampleToken: Sampler = (logits, sampling, context) => createSampler()(logits, sampling, context);

/** Ids outside the vocabulary are passed over: who knows its size has refused them. */
function addBias(values: Float64Array, bias: NonNullable<Sampling['logitBias']>): void {
  for (const [id, added] of bias) if (id < values.length) values[id] = (values[id] as number) + added;
}

function mask(values: Float64Array, allowed: Int32Array): void {
  const covered = Math.min(values.length, allowed.length * 32);
  for (let id = 0; id < covered; id += 32) {
    const word = allowed[id >>> 5] as number;
    if (word === -1) continue;
    const end = Math.min(id + 32, covered);
    for (let token = id; token < end; token++) if (((word >>> (token & 31)) & 1) === 0) values[token] = -Infinity;
  }
  values.fill(-Infinity, covered);
}

function penalise(values: Float64Array, counts: Uint32Array, sampling: Sampling, context: SamplerContext): void {
  const { repetitionPenalty, frequencyPenalty, presencePenalty } = sampling;
  if (repetitionPenalty !== 1) {
    counts.fill(0);
    for (const tokens of [context.prompt, context.answer]) {
      for (let i = 0; i < tokens.length; i++) {
        const id = tokens[i] as number;
        if (id >= values.length || (counts[id] as number) > 0) continue;
        counts[id] = 1;
        const value = values[id] as number;
        values[id] = value > 0 ? value / repetitionPenalty : value * repetitionPenalty;
      }
    }
  }
  if (frequencyPenalty === 0 && presencePenalty === 0) return;
  counts.fill(0);
  const { answer } = context;
  for (let i = 0; i < answer.length; i++) {
    const id = answer[i] as number;
    if (id < counts.length) counts[id] = (counts[id] as number) + 1;
  }
  for (let id = 0; id < values.length; id++) {
    const count = counts[id] as number;
    if (count > 0) values[id] = (values[id] as number) - count * frequencyPenalty - presencePenalty;
  }
}

/** The id of the highest value, the lowest of several. Throws `engine_failed` for NaN, +∞, or nothing above −∞. */
function highest(values: Float64Array): number {
  let best = -1;
  let bestValue = -Infinity;
  for (let id = 0; id < values.length; id++) {
    const value = values[id] as number;
    // True for NaN and +∞ too, which must be refused and not passed over.
    if (value <= bestValue) continue;
    if (!(value < Infinity))
      throw new IdlewildError(
        'engine_failed',
        `the model gave ${value} for token ${id}: its graph or weights are damaged`,
      );
    best = id;
    bestValue = value;
  }
  if (best < 0)
    throw new IdlewildError('engine_failed', 'the model gave −∞ for every token: its graph or weights are damaged');
  return best;
}

/**
 * `wordMin[i]`: below this a word's noise does not reach i / STEPS. Since e^(−e^(−d)) ≥ 1 − e^(−d), noise d needs u ≥ 1
 * − e^(−d); two words of slack cover every rounding on the way.
 */
function createNoiseBound(): Float64Array {
  const wordMin = new Float64Array(NOISE_MAX * STEPS);
  for (let i = 0; i < wordMin.length; i++) wordMin[i] = (1 - exp(-i / STEPS)) * 4_294_967_296 - 2;
  return wordMin;
}

interface NoiseSource {
  /** Room for one block. */
  readonly words: Uint32Array;
  readonly wordMin: Float64Array;
  readonly noiseWords: NoiseWords | undefined;
}

/**
 * The id with the highest value + noise. A token is passed over without computing logarithms when the noise that it
 * would need to reach the best so far is above any noise, or above what its word can give.
 */
function noisiest(
  values: Float64Array,
  kept: Kept | undefined,
  likeliest: number,
  seed: number,
  { answer, choice }: SamplerContext,
  { words, wordMin, noiseWords }: NoiseSource,
): number {
  const position = answer.length;
  const max = values[likeliest] as number;
  const floor = kept?.floor ?? -Infinity;
  const [low, high] = keyOf(seed);
  philox(words, likeliest >>> 2, position, choice, 0, low, high);
  let best = max + gumbel(words[likeliest & 3] as number);
  let bestId = likeliest;
  // What rounding of value + noise and of the difference below can amount to.
  const slack = (Math.abs(max) + 64) * 2 ** -48;
  let tiesLeft = kept?.ties ?? Infinity;
  let block = -1;
  // Where few are left after a truncation, their own blocks are fewer than all.
  const all = kept === undefined ? noiseWords?.(Math.ceil(values.length / 4), position, choice, low, high) : undefined;
  for (let id = 0; id < values.length; id++) {
    const value = values[id] as number;
    if (value <= floor && (value < floor || tiesLeft-- <= 0)) continue;
    const needed = best - value - slack;
    if (!(needed < NOISE_MAX) || id === likeliest) continue;
    if (all === undefined && block !== id >>> 2) {
      block = id >>> 2;
      philox(words, block, position, choice, 0, low, high);
    }
    const word = (all === undefined ? words[id & 3] : all[id]) as number;
    if (needed > 0 && word < (wordMin[Math.floor(needed * STEPS)] as number)) continue;
    const noisy = value + gumbel(word);
    if (noisy > best || (noisy === best && id < bestId)) {
      best = noisy;
      bestId = id;
    }
  }
  return bestId;
}
