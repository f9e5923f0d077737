/**
 * A small fixed graph whose output's last bits tell CPU kernel families apart.
 *
 * Two devices are of one numeric class only if this graph's output is the same on both, bit for bit. It runs the
 * kernels in which families differ (how a sum is split, how exp is approximated, whether multiply and add round once or
 * twice) at the sizes at which they differ: sums longer than a kernel's block and no multiple of a vector, two rows as
 * in decoding and many as in prefill. Every value in it is an exact binary fraction, so that nothing depends on how
 * numbers were parsed or generated.
 *
 * The graph is a wire contract: a change of one constant puts every device into a new class. `fingerprint.test.ts`
 * holds its bytes.
 */
import { createGraphBuilder } from './builder.ts';
import type { GraphBuilder } from './builder.ts';
import { DTYPE, elementsOf } from './dtypes.ts';
import type { Graph } from './graph.ts';

export interface Feed {
  /** ONNX number. */
  readonly dtype: number;
  readonly dims: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

export interface Fingerprint {
  readonly graph: Graph;
  readonly feeds: Readonly<Record<string, Feed>>;
  /** Name of the one output, float32 [elements]; hash its raw little-endian bytes. */
  readonly output: string;
}

/** 333 = 256 + 77: longer than the 256 terms that ONNX Runtime sums at a time, and no multiple of 16. */
const INNER = 333;
const COLUMNS = 70;
/** Eleven blocks of 32: MatMulNBits keeps zero points in pairs. */
const INNER_4BIT = 352;
const BLOCK = 32;

/** Numerical Recipes' linear congruential generator; the eight high bits are used. */
function createBytes(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  };
}

/** Multiples of 1/128 in [-scale, scale); `scale` is a power of two. */
function fractions(seed: number, dims: readonly number[], scale: number): Float32Array {
  const byte = createBytes(seed);
  return Float32Array.from({ length: elementsOf(dims) }, () => ((byte() - 128) / 128) * scale);
}

export function fingerprintGraph(): Fingerprint {
  const b = createGraphBuilder({ name: 'fingerprint' });
  const feeds: Record<string, Feed> = {};
  const feed = (name: string, dims: readonly number[], scale: number): string => {
    feeds[name] = { dtype: DTYPE.float32, dims, data: fractions(Object.keys(feeds).length + 1, dims, scale) };
    return b.input(name, DTYPE.float32, dims);
  };
  const two = feed('two', [1, 2, INNER], 1);
  const many = feed('many', [1, 37, INNER], 1);
  const parts = [...products(b, two, many), ...norms(b, many), ...elementwise(b, feed('values', [1_001], 8))];
  parts.push(...attention(b, feed('query', [1, 2, 2, 48], 2), feed('cache', [1, 2, INNER, 48], 2)));
  for (const [name, rows] of [
    ['two_4bit', 2],
    ['many_4bit', 37],
  ] as const)
    parts.push(...products4(b, feed(name, [1, rows, INNER_4BIT], 1)));
  feeds['positions'] = {
    dtype: DTYPE.int64,
    dims: [96],
    data: BigInt64Array.from({ length: 96 }, (_, i) => BigInt(i * i)),
  };
  parts.push(...rotary(b, b.input('positions', DTYPE.int64, [96])));
  const output = b.op(
    'Concat',
    parts.map((part) => b.op('Reshape', [part, b.ints(-1)])),
    { axis: 0 },
    'fingerprint',
  );
  b.output(output, DTYPE.float32, ['elements']);
  return { graph: b.build(), feeds, output };
}

function products(b: GraphBuilder, two: string, many: string): string[] {
  const weight = b.tensor('weight', [INNER, COLUMNS], fractions(101, [INNER, COLUMNS], 0.5));
  return [b.op('MatMul', [two, weight]), b.op('MatMul', [many, weight])];
}

/** Both arithmetics of the operator, f32 and int8, with zero points and without. */
function products4(b: GraphBuilder, x: string): string[] {
  const blocks = INNER_4BIT / BLOCK;
  const byte = createBytes(102);
  const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, byte);
  const values = b.tensor(b.uniqueName('values_4bit'), [COLUMNS, blocks, BLOCK / 2], bytes((COLUMNS * INNER_4BIT) / 2));
  const scales = b.tensor(b.uniqueName('scales'), [COLUMNS, blocks], fractions(103, [COLUMNS, blocks], 0.125));
  const zeros = b.tensor(
    b.uniqueName('zeros'),
    [COLUMNS, Math.ceil(blocks / 2)],
    bytes(COLUMNS * Math.ceil(blocks / 2)),
  );
  const attributes = { K: INNER_4BIT, N: COLUMNS, bits: 4, block_size: BLOCK };
  return [
    b.op('com.microsoft.MatMulNBits', [x, values, scales, zeros], { ...attributes, accuracy_level: 1 }),
    b.op('com.microsoft.MatMulNBits', [x, values, scales], { ...attributes, accuracy_level: 4 }),
  ];
}

/** An RMS norm in parts, as exporters write it. */
function norms(b: GraphBuilder, x: string): string[] {
  const meanSquare = b.op('ReduceMean', [b.op('Pow', [x, b.float(2)])], { axes: [-1], keepdims: 1 });
  const root = b.op('Sqrt', [b.op('Add', [meanSquare, b.float(2 ** -17)])]);
  return [meanSquare, b.op('Mul', [x, b.op('Div', [b.float(1), root])])];
}

/** Attention of two rows over a long cache: products of two computed matrices, and a softmax over the cache. */
function attention(b: GraphBuilder, query: string, cache: string): string[] {
  const scores = b.op('Mul', [
    b.op('MatMul', [query, b.op('Transpose', [cache], { perm: [0, 1, 3, 2] })]),
    b.float(0.125),
  ]);
  const weights = b.op('Softmax', [scores], { axis: -1 });
  return [weights, b.op('MatMul', [weights, cache])];
}

function elementwise(b: GraphBuilder, x: string): string[] {
  const half = b.op('Cast', [b.op('Cast', [b.op('Exp', [x])], { to: DTYPE.float16 })], { to: DTYPE.float32 });
  const cube = b.op('Pow', [b.op('Abs', [x]), b.float(2.75)]);
  return [half, cube, ...['Exp', 'Sigmoid', 'Tanh', 'Erf'].map((op) => b.op(op, [x]))];
}

/** Angles far outside the first turn, where the reduction of the argument matters. */
function rotary(b: GraphBuilder, positions: string): string[] {
  const column = b.op('Unsqueeze', [b.op('Cast', [positions], { to: DTYPE.float32 }), b.ints(1)]);
  const frequencies = b.tensor(
    'frequencies',
    [1, 8],
    Float32Array.from({ length: 8 }, (_, i) => 2 ** -i),
  );
  const angles = b.op('Mul', [column, frequencies]);
  return [b.op('Cos', [angles]), b.op('Sin', [angles])];
}
