/**
 * The noise of sampling: a pure function of (seed, choice, position, token), so that any device gives any token the
 * same noise without the tokens before it.
 *
 * Philox4x32 with 10 rounds: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. One
 * block of four 32-bit words serves four neighbouring tokens.
 */
import { ln } from './ln.ts';

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;
const TWO_32 = 4_294_967_296;

/** Upper 32 bits of the product of two unsigned words, from 16-bit halves: a float64 holds no 64-bit product. */
function mulHigh(aHigh: number, aLow: number, b: number): number {
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0;
  const other = (Math.imul(aLow, bHigh) + (middle & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (other >>> 16)) | 0;
}

/** Fills `out` with the block at counter (c0, c1, c2, c3) under key (k0, k1), all unsigned 32-bit words. */
export function philox(out: Uint32Array, c0: number, c1: number, c2: number, c3: number, k0: number, k1: number): void {
  let [x0, x1, x2, x3, key0, key1] = [c0 | 0, c1 | 0, c2 | 0, c3 | 0, k0 | 0, k1 | 0];
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = mulHigh(MULTIPLIER_0 >>> 16, MULTIPLIER_0 & 0xffff, x0);
    const high1 = mulHigh(MULTIPLIER_1 >>> 16, MULTIPLIER_1 & 0xffff, x2);
    const low0 = Math.imul(MULTIPLIER_0, x0);
    const low1 = Math.imul(MULTIPLIER_1, x2);
    x0 = high1 ^ x1 ^ key0;
    x1 = low1;
    x2 = high0 ^ x3 ^ key1;
    x3 = low0;
    key0 = (key0 + WEYL_0) | 0;
    key1 = (key1 + WEYL_1) | 0;
  }
  out[0] = x0;
  out[1] = x1;
  out[2] = x2;
  out[3] = x3;
}

/** A seed as the two words of a key, low first. */
export const keyOf = (seed: number): readonly [low: number, high: number] => [seed % TWO_32, Math.floor(seed / TWO_32)];

/** Gumbel noise of a 32-bit word: −ln(−ln u), u = (word + ½) / 2^32. Between −3.14 and 22.88. */
export const gumbel = (word: number): number => -ln(-ln((word + 0.5) / TWO_32));

/**
 * Noise added to the logit of `token` at `position` of the answer: word token mod 4 of the block at (token ÷ 4,
 * position, choice, 0).
 */
export function noise(seed: number, choice: number, position: number, token: number): number {
  const out = new Uint32Array(4);
  const [low, high] = keyOf(seed);
  philox(out, token >>> 2, position, choice, 0, low, high);
  return gumbel(out[token & 3] as number);
}
