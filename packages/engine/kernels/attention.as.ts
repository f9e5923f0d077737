/**
 * Causal attention over keys and values in pages, in AssemblyScript; `npm run kernels -w packages/engine` compiles it.
 *
 * A page holds PAGE positions of one sequence. Of each layer it has the keys, [heads, width, PAGE], and then the values,
 * [heads, PAGE, width]: both are read along the last axis. Every sum runs in an order that positions alone decide, so a
 * row comes out the same bits whatever rows are computed beside it, and on whatever machine: WebAssembly's vectors
 * round like IEEE 754 says and are never fused. Widths are multiples of 8. All strides count floats.
 */

const PAGE: i32 = 32;
const PAGE_SHIFT: i32 = 5;
const LOWEST: f32 = -3.4028234663852886e38;

/** Where a position's page has this layer. */
// @ts-expect-error decorators of AssemblyScript stand before functions
@inline
function pageOf(table: usize, position: i32, layer: usize): usize {
  return <usize>load<u32>(table + ((<usize>(position >> PAGE_SHIFT)) << 2)) + layer;
}

/** Puts keys and values of `rows` rows, the first at position `first`, into their pages. */
export function append(
  key: usize, value: usize, headStride: i32, rowStride: i32, rows: i32,
  first: i32, table: usize, layer: usize, heads: i32, width: i32,
): void {
  const values = <usize>(heads * width * PAGE) << 2;
  for (let row = 0; row < rows; row++) {
    const position = first + row;
    const page = pageOf(table, position, layer);
    const slot = position & (PAGE - 1);
    for (let head = 0; head < heads; head++) {
      const from = <usize>(head * headStride + row * rowStride) << 2;
      let to = page + (<usize>(head * width * PAGE + slot) << 2);
      for (let d = 0; d < width; d++) {
        store<f32>(to, load<f32>(key + from + (<usize>d << 2)));
        to += <usize>PAGE << 2;
      }
      memory.copy(page + values + (<usize>((head * PAGE + slot) * width) << 2), value + from, <usize>width << 2);
    }
  }
}

/**
 * Attention of `rows` rows, the first at position `first`, whose keys and values are in their pages already. `scratch`
 * has room for 4 × (first + rows, rounded up to pages) floats. `window`: of how many positions a row sees the last; 0 is
 * all.
 */
export function attend(
  query: usize, out: usize, headStride: i32, rowStride: i32, rows: i32,
  first: i32, table: usize, layer: usize, heads: i32, keyHeads: i32, width: i32,
  scale: f32, window: i32, scratch: usize,
): void {
  const group = heads / keyHeads;
  const count = rows * group;
  const line = <usize>((first + rows + PAGE - 1) & ~(PAGE - 1)) << 2;
  for (let keyHead = 0; keyHead < keyHeads; keyHead++) {
    const keys = layer + (<usize>(keyHead * width * PAGE) << 2);
    const values = layer + (<usize>((keyHeads + keyHead) * width * PAGE) << 2);
    let index = 0;
    while (index < count) {
      const many = count - index >= 4;
      const taken = many ? 4 : 1;
      const limit = first + (index + taken - 1) / group + 1;
      const lowest = window > 0 ? max(0, first + index / group + 1 - window) & ~(PAGE - 1) : 0;
      const q0 = at(query, index, group, keyHead, headStride, rowStride);
      if (many) {
        const q1 = at(query, index + 1, group, keyHead, headStride, rowStride);
        const q2 = at(query, index + 2, group, keyHead, headStride, rowStride);
        const q3 = at(query, index + 3, group, keyHead, headStride, rowStride);
        scoresOf4(q0, q1, q2, q3, table, keys, width, lowest, limit, scratch, line);
      } else scoresOf1(q0, table, keys, width, lowest, limit, scratch);
      const inverse0 = softmax(scratch, first + index / group + 1, window, lowest, scale);
      const o0 = at(out, index, group, keyHead, headStride, rowStride);
      if (many) {
        const inverse1 = softmax(scratch + line, first + (index + 1) / group + 1, window, lowest, scale);
        const inverse2 = softmax(scratch + 2 * line, first + (index + 2) / group + 1, window, lowest, scale);
        const inverse3 = softmax(scratch + 3 * line, first + (index + 3) / group + 1, window, lowest, scale);
        const o1 = at(out, index + 1, group, keyHead, headStride, rowStride);
        const o2 = at(out, index + 2, group, keyHead, headStride, rowStride);
        const o3 = at(out, index + 3, group, keyHead, headStride, rowStride);
        const own = first + index / group + 1;
        mixOf4(o0, o1, o2, o3, table, values, width, lowest, own, scratch, line);
        mixRest(o0, inverse0, table, values, width, own, own, scratch);
        mixRest(o1, inverse1, table, values, width, own, first + (index + 1) / group + 1, scratch + line);
        mixRest(o2, inverse2, table, values, width, own, first + (index + 2) / group + 1, scratch + 2 * line);
        mixRest(o3, inverse3, table, values, width, own, first + (index + 3) / group + 1, scratch + 3 * line);
      } else mixOf1(o0, inverse0, table, values, width, lowest, limit, scratch);
      index += taken;
    }
  }
}

/** Queries that share a key head, in order of rows. */
// @ts-expect-error decorators of AssemblyScript stand before functions
@inline
function at(base: usize, index: i32, group: i32, keyHead: i32, headStride: i32, rowStride: i32): usize {
  return base + (<usize>((keyHead * group + (index % group)) * headStride + (index / group) * rowStride) << 2);
}

function scoresOf1(q: usize, table: usize, keys: usize, width: i32, from: i32, to: i32, scores: usize): void {
  for (let position = from; position < to; position += PAGE) {
    const page = pageOf(table, position, keys);
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    let a4 = f32x4.splat(0), a5 = f32x4.splat(0), a6 = f32x4.splat(0), a7 = f32x4.splat(0);
    for (let d = 0; d < width; d++) {
      const x = v128.load32_splat(q + (<usize>d << 2));
      const k = page + (<usize>(d * PAGE) << 2);
      a0 = f32x4.add(a0, f32x4.mul(x, v128.load(k)));
      a1 = f32x4.add(a1, f32x4.mul(x, v128.load(k, 16)));
      a2 = f32x4.add(a2, f32x4.mul(x, v128.load(k, 32)));
      a3 = f32x4.add(a3, f32x4.mul(x, v128.load(k, 48)));
      a4 = f32x4.add(a4, f32x4.mul(x, v128.load(k, 64)));
      a5 = f32x4.add(a5, f32x4.mul(x, v128.load(k, 80)));
      a6 = f32x4.add(a6, f32x4.mul(x, v128.load(k, 96)));
      a7 = f32x4.add(a7, f32x4.mul(x, v128.load(k, 112)));
    }
    const s = scores + (<usize>position << 2);
    v128.store(s, a0); v128.store(s, a1, 16); v128.store(s, a2, 32); v128.store(s, a3, 48);
    v128.store(s, a4, 64); v128.store(s, a5, 80); v128.store(s, a6, 96); v128.store(s, a7, 112);
  }
}

function scoresOf4(
  q0: usize, q1: usize, q2: usize, q3: usize, table: usize, keys: usize, width: i32, from: i32, to: i32,
  scores: usize, line: usize,
): void {
  for (let position = from; position < to; position += PAGE) {
    const page = pageOf(table, position, keys);
    for (let part = 0; part < PAGE; part += 8) {
      let a0 = f32x4.splat(0), a1 = f32x4.splat(0), b0 = f32x4.splat(0), b1 = f32x4.splat(0);
      let c0 = f32x4.splat(0), c1 = f32x4.splat(0), d0 = f32x4.splat(0), d1 = f32x4.splat(0);
      for (let d = 0; d < width; d++) {
        const k = page + (<usize>(d * PAGE + part) << 2);
        const offset = <usize>d << 2;
        const k0 = v128.load(k), k1 = v128.load(k, 16);
        const x0 = v128.load32_splat(q0 + offset), x1 = v128.load32_splat(q1 + offset);
        const x2 = v128.load32_splat(q2 + offset), x3 = v128.load32_splat(q3 + offset);
        a0 = f32x4.add(a0, f32x4.mul(x0, k0)); a1 = f32x4.add(a1, f32x4.mul(x0, k1));
        b0 = f32x4.add(b0, f32x4.mul(x1, k0)); b1 = f32x4.add(b1, f32x4.mul(x1, k1));
        c0 = f32x4.add(c0, f32x4.mul(x2, k0)); c1 = f32x4.add(c1, f32x4.mul(x2, k1));
        d0 = f32x4.add(d0, f32x4.mul(x3, k0)); d1 = f32x4.add(d1, f32x4.mul(x3, k1));
      }
      const s = scores + (<usize>(position + part) << 2);
      v128.store(s, a0); v128.store(s, a1, 16);
      v128.store(s + line, b0); v128.store(s + line, b1, 16);
      v128.store(s + 2 * line, c0); v128.store(s + 2 * line, c1, 16);
      v128.store(s + 3 * line, d0); v128.store(s + 3 * line, d1, 16);
    }
  }
}

/**
 * Scores to weights, in place: e^(scale · score − highest) where the row sees, 0 before that; what is behind its own
 * position is for nobody to read. Returns 1 / their sum, four sums of every fourth position added in pairs.
 */
function softmax(scores: usize, own: i32, window: i32, from: i32, scale: f32): f32 {
  const low = window > 0 ? max(0, own - window) : 0;
  const end = (own + 3) & ~3;
  for (let i = from; i < low; i++) store<f32>(scores + (<usize>i << 2), LOWEST);
  for (let i = own; i < end; i++) store<f32>(scores + (<usize>i << 2), LOWEST);
  const factor = f32x4.splat(scale);
  let high = f32x4.splat(LOWEST);
  for (let i = from; i < end; i += 4) {
    const s = scores + (<usize>i << 2);
    const scaled = f32x4.mul(v128.load(s), factor);
    v128.store(s, scaled);
    high = f32x4.pmax(high, scaled);
  }
  const highest = f32x4.splat(
    max(max(f32x4.extract_lane(high, 0), f32x4.extract_lane(high, 1)),
      max(f32x4.extract_lane(high, 2), f32x4.extract_lane(high, 3))),
  );
  let sum = f32x4.splat(0);
  for (let i = from; i < end; i += 4) {
    const s = scores + (<usize>i << 2);
    const e = exp(f32x4.sub(v128.load(s), highest));
    v128.store(s, e);
    sum = f32x4.add(sum, e);
  }
  for (let i = from; i < low; i++) store<f32>(scores + (<usize>i << 2), 0);
  return <f32>1 / ((f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1)) +
    (f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3)));
}

/** e^x for x ≤ 0, below 2 units in the last place (Cephes' expf); about 10⁻³⁸ below −87. */
// @ts-expect-error decorators of AssemblyScript stand before functions
@inline
function exp(x: v128): v128 {
  const bounded = f32x4.pmax(f32x4.splat(-87.0), x);
  const whole = f32x4.nearest(f32x4.mul(bounded, f32x4.splat(1.44269504)));
  let r = f32x4.sub(bounded, f32x4.mul(whole, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(whole, f32x4.splat(-2.12194440e-4)));
  let y = f32x4.splat(1.9875691500e-4);
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.3981999507e-3));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(8.3334519073e-3));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(4.1665795894e-2));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.6666665459e-1));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(5.0000001201e-1));
  y = f32x4.add(f32x4.add(f32x4.mul(f32x4.mul(r, r), y), r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(whole), i32x4.splat(127)), 23);
  return f32x4.mul(y, power);
}

function mixOf1(
  out: usize, inverse: f32, table: usize, values: usize, width: i32, from: i32, to: i32, weights: usize,
): void {
  const factor = f32x4.splat(inverse);
  let part = 0;
  for (; part + 32 <= width; part += 32) {
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    let a4 = f32x4.splat(0), a5 = f32x4.splat(0), a6 = f32x4.splat(0), a7 = f32x4.splat(0);
    for (let start = from; start < to; start += PAGE) {
      let v = pageOf(table, start, values) + (<usize>part << 2);
      const end = min(to, start + PAGE);
      for (let position = start; position < end; position++) {
        const w = v128.load32_splat(weights + (<usize>position << 2));
        a0 = f32x4.add(a0, f32x4.mul(w, v128.load(v)));
        a1 = f32x4.add(a1, f32x4.mul(w, v128.load(v, 16)));
        a2 = f32x4.add(a2, f32x4.mul(w, v128.load(v, 32)));
        a3 = f32x4.add(a3, f32x4.mul(w, v128.load(v, 48)));
        a4 = f32x4.add(a4, f32x4.mul(w, v128.load(v, 64)));
        a5 = f32x4.add(a5, f32x4.mul(w, v128.load(v, 80)));
        a6 = f32x4.add(a6, f32x4.mul(w, v128.load(v, 96)));
        a7 = f32x4.add(a7, f32x4.mul(w, v128.load(v, 112)));
        v += <usize>width << 2;
      }
    }
    const o = out + (<usize>part << 2);
    v128.store(o, f32x4.mul(a0, factor)); v128.store(o, f32x4.mul(a1, factor), 16);
    v128.store(o, f32x4.mul(a2, factor), 32); v128.store(o, f32x4.mul(a3, factor), 48);
    v128.store(o, f32x4.mul(a4, factor), 64); v128.store(o, f32x4.mul(a5, factor), 80);
    v128.store(o, f32x4.mul(a6, factor), 96); v128.store(o, f32x4.mul(a7, factor), 112);
  }
  for (; part < width; part += 8) {
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0);
    for (let start = from; start < to; start += PAGE) {
      let v = pageOf(table, start, values) + (<usize>part << 2);
      const end = min(to, start + PAGE);
      for (let position = start; position < end; position++) {
        const w = v128.load32_splat(weights + (<usize>position << 2));
        a0 = f32x4.add(a0, f32x4.mul(w, v128.load(v)));
        a1 = f32x4.add(a1, f32x4.mul(w, v128.load(v, 16)));
        v += <usize>width << 2;
      }
    }
    store2(out + (<usize>part << 2), a0, a1, inverse);
  }
}

/** Weighted values of what all four see, not yet divided by the sum of all weights. */
function mixOf4(
  o0: usize, o1: usize, o2: usize, o3: usize,
  table: usize, values: usize, width: i32, from: i32, to: i32, weights: usize, line: usize,
): void {
  for (let part = 0; part < width; part += 8) {
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), b0 = f32x4.splat(0), b1 = f32x4.splat(0);
    let c0 = f32x4.splat(0), c1 = f32x4.splat(0), d0 = f32x4.splat(0), d1 = f32x4.splat(0);
    for (let start = from; start < to; start += PAGE) {
      let v = pageOf(table, start, values) + (<usize>part << 2);
      const end = min(to, start + PAGE);
      for (let position = start; position < end; position++) {
        const w = weights + (<usize>position << 2);
        const v0 = v128.load(v), v1 = v128.load(v, 16);
        const w0 = v128.load32_splat(w), w1 = v128.load32_splat(w + line);
        const w2 = v128.load32_splat(w + 2 * line), w3 = v128.load32_splat(w + 3 * line);
        a0 = f32x4.add(a0, f32x4.mul(w0, v0)); a1 = f32x4.add(a1, f32x4.mul(w0, v1));
        b0 = f32x4.add(b0, f32x4.mul(w1, v0)); b1 = f32x4.add(b1, f32x4.mul(w1, v1));
        c0 = f32x4.add(c0, f32x4.mul(w2, v0)); c1 = f32x4.add(c1, f32x4.mul(w2, v1));
        d0 = f32x4.add(d0, f32x4.mul(w3, v0)); d1 = f32x4.add(d1, f32x4.mul(w3, v1));
        v += <usize>width << 2;
      }
    }
    const offset = <usize>part << 2;
    v128.store(o0 + offset, a0); v128.store(o0 + offset, a1, 16);
    v128.store(o1 + offset, b0); v128.store(o1 + offset, b1, 16);
    v128.store(o2 + offset, c0); v128.store(o2 + offset, c1, 16);
    v128.store(o3 + offset, d0); v128.store(o3 + offset, d1, 16);
  }
}

/** Adds what one of the four sees besides, in the same order as alone, and divides. */
function mixRest(
  out: usize, inverse: f32, table: usize, values: usize, width: i32, from: i32, to: i32, weights: usize,
): void {
  for (let part = 0; part < width; part += 8) {
    const o = out + (<usize>part << 2);
    let a0 = v128.load(o), a1 = v128.load(o, 16);
    for (let position = from; position < to; position++) {
      const v = pageOf(table, position, values) + (<usize>((position & (PAGE - 1)) * width + part) << 2);
      const w = v128.load32_splat(weights + (<usize>position << 2));
      a0 = f32x4.add(a0, f32x4.mul(w, v128.load(v)));
      a1 = f32x4.add(a1, f32x4.mul(w, v128.load(v, 16)));
    }
    store2(o, a0, a1, inverse);
  }
}

// @ts-expect-error decorators of AssemblyScript stand before functions
@inline
function store2(to: usize, first: v128, second: v128, inverse: f32): void {
  const factor = f32x4.splat(inverse);
  v128.store(to, f32x4.mul(first, factor));
  v128.store(to, f32x4.mul(second, factor), 16);
}
