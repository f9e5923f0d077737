/**
 * What a graph computed of a text, made into what a caller gets: pooled and normalised as its makers say, or the
 * probabilities of labels. Sums are taken in double precision and in one order, so the same values give the same bits.
 */
import type { EncoderRecipe, Pooling } from '@idlewild/graph';
import { exp } from '@idlewild/protocol';

/** As sentence-transformers has it: a vector of zeros stays one. */
const NORM_MIN = 1e-12;

/** `values`: a row for each token where the recipe pools, else the one row. */
export function vectorOf(values: Float32Array, tokens: number, recipe: EncoderRecipe): Float32Array {
  if (recipe.labels !== undefined) return probabilities(values, recipe.activation);
  const vector = recipe.pooling.length === 0 ? values.slice() : pooled(values, tokens, recipe.pooling);
  return recipe.normalize ? normalised(vector) : vector;
}

function pooled(values: Float32Array, tokens: number, modes: readonly Pooling[]): Float32Array {
  const width = values.length / tokens;
  const vector = new Float32Array(width * modes.length);
  for (const [at, mode] of modes.entries()) vector.set(pool(values, tokens, width, mode), at * width);
  return vector;
}

function pool(values: Float32Array, tokens: number, width: number, mode: Pooling): Float32Array {
  const row = (token: number): Float32Array => values.subarray(token * width, (token + 1) * width);
  if (mode === 'cls') return row(0);
  if (mode === 'last') return row(tokens - 1);
  const vector = new Float64Array(row(0));
  for (let token = 1; token < tokens; token++) {
    for (const [i, value] of row(token).entries()) {
      const before = vector[i] as number;
      vector[i] = mode === 'max' ? Math.max(before, value) : before + value;
    }
  }
  return Float32Array.from(vector, (value) => (mode === 'mean' ? value / tokens : value));
}

function normalised(vector: Float32Array): Float32Array {
  const norm = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return vector.map((value) => value / Math.max(norm, NORM_MIN));
}

function probabilities(logits: Float32Array, activation: EncoderRecipe['activation']): Float32Array {
  if (activation === 'none') return logits;
  if (activation === 'sigmoid') return logits.map((logit) => 1 / (1 + exp(-logit)));
  const largest = logits.reduce((most, logit) => Math.max(most, logit), Number.NEGATIVE_INFINITY);
  const weights = Float64Array.from(logits, (logit) => exp(logit - largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return Float32Array.from(weights, (weight) => weight / sum);
}
