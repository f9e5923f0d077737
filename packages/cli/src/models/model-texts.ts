/** What the text files of a model folder say that its manifest repeats. Each refusal names the file and the field. */
import { IdlewildError } from '@idlewild/protocol';

type Json = Readonly<Record<string, unknown>>;

/** Throws `model_invalid` for what is no JSON object. */
export function readJson(file: string, text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new IdlewildError('model_invalid', `${file} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw new IdlewildError('model_invalid', `${file} does not hold a JSON object`);
}

/** Fields under which architectures say how long a text may be. */
const CONTEXT_FIELDS = ['max_position_embeddings', 'n_positions', 'n_ctx', 'max_seq_len'];

export const readContext = (config: Json): number => positive(config, CONTEXT_FIELDS, 'the length of its context');
export const readVocabulary = (config: Json): number => positive(config, ['vocab_size'], 'the size of its vocabulary');

function positive(config: Json, fields: readonly string[], what: string): number {
  for (const field of fields) {
    const value = config[field];
    if (typeof value === 'number' && Number.isInteger(value) && value > 0) return value;
  }
  throw new IdlewildError(
    'model_invalid',
    `config.json does not say ${what}: it has no positive number "${fields[0] ?? ''}"`,
  );
}
