/**
 * The envelope: one frame is one CBOR map (RFC 8949, deterministic encoding) with its kind under `t`.
 *
 * Growth without flag days, the same on both sides:
 *  - a field that the receiver does not know is ignored;
 *  - a kind that the receiver does not know is answered with `unsupported` and changes nothing;
 *  - a field whose name begins with `!`, at any depth, is critical: who does not know it must refuse the whole frame.
 * Signed things are carried as bytes inside a frame and verified as carried, never re-encoded.
 */
import { decode, encode } from 'cborg';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';

export type Fields = Record<string, unknown>;

/** The protocol versions that this code speaks, best first. */
export const VERSIONS: readonly number[] = [1];

const DECODE = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  rejectDuplicateMapKeys: true,
} as const;

/** A property that is `undefined` is left out, as in JSON: CBOR's undefined is refused by every reader. */
const ENCODE = { ignoreUndefinedProperties: true } as const;

/** Deterministic CBOR of any plain value; the same value gives the same bytes in every language. */
export const encodeCbor = (value: unknown): Uint8Array => encode(value, ENCODE);

/** Throws `frame_invalid` for anything but one well-formed CBOR item that fills `bytes`. */
export function decodeCbor(bytes: Uint8Array, what: string): unknown {
  try {
    return decode(bytes, DECODE);
  } catch (cause) {
    throw new IdlewildError('frame_invalid', `${what} is not valid CBOR: ${(cause as Error).message}`, { cause });
  }
}

export const encodeFrame = <Message extends { readonly t: string }>(message: Message): Uint8Array =>
  encode(message, ENCODE);

/**
 * One frame as a map with a string kind; its other fields are still untrusted.
 * Throws `frame_too_large` or `frame_invalid`.
 */
export function decodeFrame(bytes: Uint8Array, bytesMax: number = LIMITS.frameBytesMax): Fields & { t: string } {
  if (bytes.length > bytesMax) {
    throw new IdlewildError('frame_too_large', `a frame of ${bytes.length} bytes is over the limit of ${bytesMax}`);
  }
  const value = decodeCbor(bytes, 'a frame');
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw new IdlewildError('frame_invalid', 'a frame must be a CBOR map');
  }
  const fields = value as Fields;
  if (typeof fields.t !== 'string') throw new IdlewildError('frame_invalid', 'a frame must name its kind under "t"');
  return fields as Fields & { t: string };
}

/** Throws `frame_invalid` when `fields`, or a map inside, holds a critical field that is not in `known`. */
export function refuseUnknownCritical(fields: Fields, known: readonly string[], what: string): void {
  const open: unknown[] = [fields];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array) continue;
    if (Array.isArray(value)) {
      for (const item of value) if (typeof item === 'object') open.push(item);
      continue;
    }
    for (const [name, inner] of Object.entries(value)) {
      if (name.startsWith('!') && !known.includes(name)) {
        const message = `${what} carries the critical field "${name.slice(0, 64)}", which this side does not know`;
        throw new IdlewildError('frame_invalid', message);
      }
      open.push(inner);
    }
  }
}

/** The best version both sides speak. Throws `version_unsupported`. */
export function negotiateVersion(theirs: readonly number[], ours: readonly number[] = VERSIONS): number {
  const shared = ours.find((version) => theirs.includes(version));
  if (shared !== undefined) return shared;
  throw new IdlewildError(
    'version_unsupported',
    `no protocol version in common: ours ${ours.join(', ')}; theirs ${theirs.join(', ')}`,
  );
}
