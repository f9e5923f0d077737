/**
 * OpenAI's request for embeddings and vLLM's for labels, and what is answered to them.
 *
 * A vector is given as numbers or, as the official client asks by default, as the base64 of its float32 values. It is
 * cut only for models that say that the beginning of their vectors is a vector.
 */
import { IdlewildError, LIMITS, type Manifest, type ModelKind } from '@idlewild/protocol';
import { z } from 'zod';
import type { EmbedOutcome } from '../../embeddings/port.ts';
import { HUB_LIMITS } from '../../limits.ts';
import { given, ignored } from './fields.ts';
import { refuse } from './work.ts';

const text = z.string().min(1, 'must not be empty');
const tokens = z.array(z.int().min(0)).min(1, 'must not be empty').max(LIMITS.tokensMax);
const commonFields = {
  model: z.string().min(1).max(LIMITS.nameCharactersMax).describe('A name from /v1/models.'),
  input: z
    .union([
      text,
      z.array(text).min(1, 'must not be empty').max(HUB_LIMITS.embedInputsMax),
      tokens,
      z.array(tokens).min(1, 'must not be empty').max(HUB_LIMITS.embedInputsMax),
    ])
    .describe('A text, or several. Arrays of tokens are refused.'),
  user: ignored(z.string().max(HUB_LIMITS.labelCharactersMax), 'callers are told apart by their keys'),
};

export const embeddingsRequestSchema = z.strictObject({
  ...commonFields,
  encoding_format: given(z.enum(['float', 'base64'])),
  dimensions: given(z.int().min(1)),
});
export type EmbeddingsRequest = z.infer<typeof embeddingsRequestSchema>;

export const classifyRequestSchema = z.strictObject(commonFields);

/** Throws `unsupported_field` for tokens, `body_too_large` for a text that no device would take. */
export function inputsOf(input: EmbeddingsRequest['input']): string[] {
  const inputs = typeof input === 'string' ? [input] : input;
  for (const [index, each] of inputs.entries()) {
    if (typeof each !== 'string') {
      const message = '"input": arrays of tokens are not supported, for only devices tokenise; give texts';
      throw new IdlewildError('unsupported_field', message, { details: { param: 'input' } });
    }
    const bytes = Buffer.byteLength(each);
    if (bytes <= LIMITS.promptBytesMax) continue;
    const message = `input ${index} of ${bytes} bytes is over the limit of ${LIMITS.promptBytesMax}`;
    throw new IdlewildError('body_too_large', message, { details: { param: 'input' } });
  }
  return inputs as string[];
}

const MAKES: Readonly<Record<ModelKind, string>> = { decoder: 'text', encoder: 'vectors', classifier: 'labels' };

/** Throws `invalid_request`, naming the model and what it is. */
export function expectKind(kind: 'encoder' | 'classifier', model: string, manifest: Manifest, route: string): void {
  if (manifest.kind === kind) return;
  const article = kind === 'encoder' ? 'an' : 'a';
  const message = `"${model}" makes ${MAKES[manifest.kind]}; ${route} needs ${article} ${kind}`;
  throw new IdlewildError('invalid_request', message, { details: { param: 'model' } });
}

/** Numbers to which vectors are cut, or `undefined`. Throws `invalid_request`. */
export function cutOf(
  { model, dimensions: asked }: EmbeddingsRequest,
  { dimensions = 0, matryoshka }: Manifest,
): number | undefined {
  if (asked === null || asked === undefined || asked === dimensions) return undefined;
  const why = `is ${asked}; "${model}" gives vectors of ${dimensions} numbers`;
  if (matryoshka === undefined) throw refuse('dimensions', `${why}, which cannot be cut`);
  const isFit = matryoshka.length === 0 ? asked < dimensions : matryoshka.includes(asked);
  if (isFit && asked < dimensions) return asked;
  const lengths = matryoshka.length === 0 ? 'any smaller number' : matryoshka.join(', ');
  throw refuse('dimensions', `${why}, which can be cut to ${lengths}`);
}

export function embeddingsAnswer(
  request: EmbeddingsRequest,
  outcome: EmbedOutcome,
  cut: number | undefined,
  hub: string,
): object {
  const isBase64 = request.encoding_format === 'base64';
  return {
    object: 'list',
    data: outcome.vectors.map((bytes, index) => {
      const vector = cut === undefined ? floatsOf(bytes) : cutVector(floatsOf(bytes), cut);
      return { object: 'embedding', index, embedding: isBase64 ? base64Of(vector) : [...vector] };
    }),
    model: request.model,
    usage: usageOf(outcome),
    idlewild: noteOf(outcome, hub),
  };
}

/** As vLLM answers. */
export function classifyAnswer(
  { id, model, labels, nowMs }: { id: string; model: string; labels: readonly string[]; nowMs: number },
  outcome: EmbedOutcome,
  hub: string,
): object {
  return {
    id,
    object: 'list',
    created: Math.floor(nowMs / 1_000),
    model,
    data: outcome.vectors.map((bytes, index) => {
      const probs = [...floatsOf(bytes)];
      const label = labels[probs.indexOf(Math.max(...probs))] ?? null;
      return { index, label, probs, num_classes: probs.length };
    }),
    usage: { ...usageOf(outcome), completion_tokens: 0 },
    idlewild: noteOf(outcome, hub),
  };
}

const usageOf = ({ promptTokens }: EmbedOutcome): object => ({
  prompt_tokens: promptTokens,
  total_tokens: promptTokens,
});
const noteOf = ({ devices, failovers }: EmbedOutcome, hub: string): object => ({ devices, failovers, hub });

/** Copied: the bytes lie in a frame at any offset. */
const floatsOf = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.slice().buffer);

const base64Of = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString('base64');

/** The beginning of a vector, of length 1 again. */
function cutVector(vector: Float32Array, dimensions: number): Float32Array {
  const head = vector.slice(0, dimensions);
  const norm = Math.sqrt(head.reduce((sum, value) => sum + value * value, 0));
  return norm === 0 ? head : head.map((value) => value / norm);
}
