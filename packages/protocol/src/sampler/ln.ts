/**
 * Natural logarithm and exponential on float64 that give the same bits in every language and on every machine.
 *
 * The algorithms are those of FreeBSD msun `e_log.c` and `e_exp.c` (fdlibm, Sun Microsystems 1993), step for step: only
 * + − × ÷ in the order written, each rounded to nearest, and access to the bits. A port must not contract a × b + c
 * into one operation. `Math.log` and `Math.exp` may differ in their last bit between engines, and a token would differ
 * with them.
 */

/**
 * Two words of one float64. Scratch without meaning between calls: allocating it in each would cost more than the
 * logarithm.
 */
const words = new DataView(new ArrayBuffer(8));

const highWord = (value: number): number => {
  words.setFloat64(0, value);
  return words.getInt32(0);
};
const withHighWord = (value: number, high: number): number => {
  words.setFloat64(0, value);
  words.setInt32(0, high);
  return words.getFloat64(0);
};

const LN2_HIGH = 6.9314718036912381649e-1;
const LN2_LOW = 1.90821492927058770002e-10;
const TWO_54 = 18_014_398_509_481_984;
const L1 = 6.66666666666673513e-1;
const L2 = 3.999999999940941908e-1;
const L3 = 2.857142874366239149e-1;
const L4 = 2.222219843214978396e-1;
const L5 = 1.818357216161805012e-1;
const L6 = 1.531383769920937332e-1;
const L7 = 1.479819860511658591e-1;

/** ln x within 1 ulp. −∞ at 0, NaN below. */
export function ln(value: number): number {
  let x = value;
  let k = 0;
  let high = highWord(x);
  if (high < 0x00100000) {
    if (x === 0) return -Infinity;
    if (high < 0) return Number.NaN;
    k = -54;
    x *= TWO_54;
    high = highWord(x);
  }
  if (high >= 0x7ff00000) return x;
  k += (high >> 20) - 1_023;
  high &= 0x000fffff;
  const carry = (high + 0x95f64) & 0x100000;
  x = withHighWord(x, high | (carry ^ 0x3ff00000));
  k += carry >> 20;
  const f = x - 1;
  if ((0x000fffff & (2 + high)) < 3) return lnNearOne(f, k);
  const s = f / (2 + f);
  const z = s * s;
  const w = z * z;
  const odd = w * (L2 + w * (L4 + w * L6));
  const even = z * (L1 + w * (L3 + w * (L5 + w * L7)));
  const rest = even + odd;
  if (((high - 0x6147a) | (0x6b851 - high)) > 0) {
    const half = 0.5 * f * f;
    return k === 0 ? f - (half - s * (half + rest)) : k * LN2_HIGH - (half - (s * (half + rest) + k * LN2_LOW) - f);
  }
  return k === 0 ? f - s * (f - rest) : k * LN2_HIGH - (s * (f - rest) - k * LN2_LOW - f);
}

/** |f| < 2^−20. */
function lnNearOne(f: number, k: number): number {
  if (f === 0) return k === 0 ? 0 : k * LN2_HIGH + k * LN2_LOW;
  const rest = f * f * (0.5 - 0.33333333333333333 * f);
  return k === 0 ? f - rest : k * LN2_HIGH - (rest - k * LN2_LOW - f);
}

const OVERFLOW = 7.09782712893383973096e2;
const UNDERFLOW = -7.4513321910194110842e2;
const ONE_OVER_LN2 = 1.442695040888963387;
const P1 = 1.66666666666666019037e-1;
const P2 = -2.77777777770155933842e-3;
const P3 = 6.61375632143793436117e-5;
const P4 = -1.6533902205465251539e-6;
const P5 = 4.13813679705723846039e-8;
const TWO_TO_MINUS_1000 = 2 ** -1_000;
const TWO_TO_1023 = 2 ** 1_023;

/** e^x within 1 ulp. */
export function exp(value: number): number {
  let x = value;
  const signed = highWord(x);
  const high = signed & 0x7fffffff;
  if (high >= 0x40862e42) {
    if (Number.isNaN(x)) return x;
    if (x > OVERFLOW) return Infinity;
    if (x < UNDERFLOW) return 0;
  }
  let hi = 0;
  let lo = 0;
  let k = 0;
  if (high > 0x3fd62e42) {
    if (high < 0x3ff0a2b2) k = signed < 0 ? -1 : 1;
    else k = Math.trunc(ONE_OVER_LN2 * x + (signed < 0 ? -0.5 : 0.5));
    hi = x - k * LN2_HIGH;
    lo = k * LN2_LOW;
    x = hi - lo;
  } else if (high < 0x3e300000) return 1 + x;
  const t = x * x;
  const c = x - t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * P5))));
  if (k === 0) return 1 - ((x * c) / (c - 2) - x);
  const y = 1 - (lo - (x * c) / (2 - c) - hi);
  if (k === 1_024) return y * 2 * TWO_TO_1023;
  return k >= -1_021 ? y * powerOfTwo(k) : y * powerOfTwo(k + 1_000) * TWO_TO_MINUS_1000;
}

/** 2^k for −1022 ≤ k ≤ 1023. */
function powerOfTwo(k: number): number {
  words.setInt32(0, 0x3ff00000 + (k << 20));
  words.setInt32(4, 0);
  return words.getFloat64(0);
}
