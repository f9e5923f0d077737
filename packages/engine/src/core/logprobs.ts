/**
 * Log probabilities as an answer tells them: of the token that came and of the likeliest ones, each with the bytes that
 * it writes. They are the model's own, whatever bias, form or temperature chose the token.
 */
import { logSoftmax, type Logprobs } from '@idlewild/protocol';
import type { TokenBytes } from './token-bytes.ts';

/** `id` came of `logits`; `count` alternatives are told. Throws `engine_failed` for damaged logits. */
export function tellLogprobs(logits: Float32Array, id: number, count: number, bytesOf: TokenBytes): Logprobs {
  const { of, top } = logSoftmax(logits);
  const tell = (token: number): Omit<Logprobs, 'top'> => ({ p: of(token), b: bytesOf(token) ?? new Uint8Array() });
  return { ...tell(id), top: top(count).map((token) => ({ id: token, ...tell(token) })) };
}
