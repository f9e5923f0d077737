/**
 * The words from which the noise of sampling is made, four blocks of Philox4x32-10 side by side; `npm run kernels`
 * compiles it. docs/protocol-sampler.md says what they are; the sampler's own computes one block at a time.
 */

const MULTIPLIER_0: i32 = 0xd2511f53;
const MULTIPLIER_1: i32 = 0xcd9e8d57;
const WEYL_0: i32 = 0x9e3779b9;
const WEYL_1: i32 = 0xbb67ae85;
const ROUNDS: i32 = 10;

/** Fills `out` with the words of `blocks` blocks, a multiple of four: block b at (b, position, choice, 0) under the key. */
export function fill(out: usize, blocks: i32, position: i32, choice: i32, low: i32, high: i32): void {
  const first = i32x4.splat(MULTIPLIER_0);
  const second = i32x4.splat(MULTIPLIER_1);
  for (let block = 0; block < blocks; block += 4) {
    let x0 = i32x4.add(i32x4.splat(block), i32x4(0, 1, 2, 3));
    let x1 = i32x4.splat(position);
    let x2 = i32x4.splat(choice);
    let x3 = i32x4.splat(0);
    let key0 = low;
    let key1 = high;
    for (let round = 0; round < ROUNDS; round++) {
      const a = i64x2.extmul_low_i32x4_u(first, x0);
      const b = i64x2.extmul_high_i32x4_u(first, x0);
      const c = i64x2.extmul_low_i32x4_u(second, x2);
      const d = i64x2.extmul_high_i32x4_u(second, x2);
      x0 = v128.xor(v128.xor(v128.shuffle<i32>(c, d, 1, 3, 5, 7), x1), i32x4.splat(key0));
      x2 = v128.xor(v128.xor(v128.shuffle<i32>(a, b, 1, 3, 5, 7), x3), i32x4.splat(key1));
      x1 = v128.shuffle<i32>(c, d, 0, 2, 4, 6);
      x3 = v128.shuffle<i32>(a, b, 0, 2, 4, 6);
      key0 += WEYL_0;
      key1 += WEYL_1;
    }
    const front = v128.shuffle<i32>(x0, x1, 0, 4, 1, 5);
    const back = v128.shuffle<i32>(x2, x3, 0, 4, 1, 5);
    const frontHigh = v128.shuffle<i32>(x0, x1, 2, 6, 3, 7);
    const backHigh = v128.shuffle<i32>(x2, x3, 2, 6, 3, 7);
    const to = out + (<usize>block << 4);
    v128.store(to, v128.shuffle<i64>(front, back, 0, 2));
    v128.store(to, v128.shuffle<i64>(front, back, 1, 3), 16);
    v128.store(to, v128.shuffle<i64>(frontHigh, backHigh, 0, 2), 32);
    v128.store(to, v128.shuffle<i64>(frontHigh, backHigh, 1, 3), 48);
  }
}
