/**
 * Ranges of code points as sequences of ranges of bytes, after Russ Cox's and Andrew Gallant's `utf8-ranges`: what an
 * automaton over bytes needs to accept exactly the well-formed UTF-8 of a set of characters.
 */
import type { Range } from './rules.ts';

/** Last code point of each length of encoding, in bytes from one. */
const LAST_OF_LENGTH = [0x7f, 0x7ff, 0xffff, 0x10ffff] as const;

/** Each sequence is one to four ranges of bytes. Surrogates must not be in the range. */
export function byteRanges([first, last]: Range): Range[][] {
  for (const limit of LAST_OF_LENGTH) {
    if (first <= limit && limit < last) return [...byteRanges([first, limit]), ...byteRanges([limit + 1, last])];
  }
  if (last <= 0x7f) return [[[first, last]]];
  for (let shift = 6; shift <= 18; shift += 6) {
    const low = 2 ** shift - 1;
    if ((first & ~low) === (last & ~low)) continue;
    if ((first & low) !== 0) return [...byteRanges([first, first | low]), ...byteRanges([(first | low) + 1, last])];
    if ((last & low) !== low) return [...byteRanges([first, (last & ~low) - 1]), ...byteRanges([last & ~low, last])];
  }
  const from = encode(first);
  const to = encode(last);
  return [from.map((byte, i) => [byte, to[i] as number] as const)];
}

function encode(code: number): number[] {
  if (code <= 0x7ff) return [0xc0 | (code >> 6), 0x80 | (code & 0x3f)];
  if (code <= 0xffff) return [0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)];
  return [0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)];
}
