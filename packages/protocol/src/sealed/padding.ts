/**
 * Padding, so that who carries something sealed learns which bucket its length is in and no more. Four bytes of length,
 * the content, zeros. The buckets are the wire's: both ends and the hub know them.
 */
import { concat } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';

const LENGTH_BYTES = 4;

export interface Buckets {
  readonly min: number;
  readonly max: number;
  /** Each is so many times as long as the one before; the last is `max`. */
  readonly factor: number;
}

export const PROMPT_BUCKETS: Buckets = {
  min: LIMITS.sealedPromptBytesMin,
  max: LIMITS.sealedPromptBytesMax,
  factor: 2,
};
export const EVENT_BUCKETS: Buckets = { min: LIMITS.sealedEventBytesMin, max: LIMITS.sealedEventBytesMax, factor: 4 };

/** The smallest bucket that holds `bytes`; `undefined` where none does. */
export function bucketFor(bytes: number, { min, max, factor }: Buckets): number | undefined {
  let bucket = min;
  while (bucket < bytes && bucket < max) bucket = Math.min(max, bucket * factor);
  return bytes <= bucket ? bucket : undefined;
}

/** Throws `body_too_large` for what fits no bucket. */
export function pad(content: Uint8Array, buckets: Buckets): Uint8Array {
  const bucket = bucketFor(content.length + LENGTH_BYTES, buckets);
  if (bucket === undefined) {
    const most = buckets.max - LENGTH_BYTES;
    const message = `${content.length} bytes are more than can be sealed at once, which is ${most}`;
    throw new IdlewildError('body_too_large', message);
  }
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setUint32(0, content.length);
  return concat([length, content, new Uint8Array(bucket - LENGTH_BYTES - content.length)]);
}

/** Throws `frame_invalid` for what `pad` does not make: another length, or anything in the padding. */
export function unpad(padded: Uint8Array, buckets: Buckets): Uint8Array {
  const view = new DataView(padded.buffer, padded.byteOffset, padded.byteLength);
  const length = padded.length < LENGTH_BYTES ? Number.POSITIVE_INFINITY : view.getUint32(0);
  const end = LENGTH_BYTES + length;
  if (bucketFor(end, buckets) !== padded.length || padded.subarray(end).some((byte) => byte !== 0))
    throw new IdlewildError('frame_invalid', 'what was sealed is not padded as it has to be');
  return padded.subarray(LENGTH_BYTES, end);
}
