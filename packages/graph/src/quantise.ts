/**
 * 4-bit weights: each MatMul with a constant f32 matrix at its right becomes a `com.microsoft.MatMulNBits`.
 *
 * The matrix [K, N] is cut along K into blocks of `block` rows; each block of each column has a scale and, unless
 * symmetric, a zero point. Arithmetic and layout are those of ONNX Runtime's own quantiser (MlasQuantizeBlockwise in
 * onnxruntime/core/mlas/lib/q4_dq.cpp; the operator:
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits), whose default
 * has zero points.
 */
import { IdlewildError } from '@idlewild/protocol';

import { createGraphBuilder } from './builder.ts';
import type { Attributes } from './builder.ts';
import { DTYPE } from './dtypes.ts';
import type { Graph, InlineTensor, Node } from './graph.ts';
import { floatsOf, isExternal } from './graph.ts';

export interface Quantise4Options {
  /** Rows that share a scale: a power of two, at least 16. */
  readonly block?: number;
  /** Without zero points: smaller by 1/64 of the weights at block 32, a little less exact. */
  readonly symmetric?: boolean;
  /** `accuracy_level` of the operator: 1 computes in f32, 4 in int8. Left out, the runtime chooses. */
  readonly accuracyLevel?: 0 | 1 | 2 | 3 | 4;
  /** Which weights, by name and [K, N]; all by default. */
  readonly pick?: (name: string, dims: readonly number[]) => boolean;
}

export interface Quantised4 {
  /** uint8 [N, blocks, block / 2]: of two neighbouring rows the first is in the low four bits. */
  readonly values: Uint8Array;
  /** f32 [N, blocks]. */
  readonly scales: Float32Array;
  /**
   * uint8 [N, ceil(blocks / 2)], of two neighbouring blocks the first in the low four bits; absent when symmetric (then
   * 8).
   */
  readonly zeroPoints: Uint8Array | undefined;
}

/**
 * Tensors that no node reads any more are dropped. @throws IdlewildError `model_unsupported` when a picked weight lies
 * in a side file
 */
export function quantiseMatMul4(graph: Graph, options: Quantise4Options = {}): Graph {
  const { block = 32, symmetric = false, accuracyLevel, pick = () => true } = options;
  const builder = createGraphBuilder({ from: { ...graph, nodes: [] } });
  const named = new Map<string, readonly string[]>();
  const nodes = graph.nodes.map((node) => {
    const weight = constantMatrix(graph, node);
    if (weight === undefined || !pick(weight.name, weight.dims)) return node;
    const [k, n] = weight.dims as [number, number];
    let names = named.get(weight.name);
    if (names === undefined) {
      const { values, scales, zeroPoints } = quantiseBlocks4(floatsOf(weight), k, n, block, symmetric);
      const blocks = Math.ceil(k / block);
      names = [
        builder.tensor(`${weight.name}.q4`, [n, blocks, block / 2], values),
        builder.tensor(`${weight.name}.scales`, [n, blocks], scales),
      ];
      if (zeroPoints !== undefined)
        names = [...names, builder.tensor(`${weight.name}.zeros`, [n, Math.ceil(blocks / 2)], zeroPoints)];
      named.set(weight.name, names);
    }
    const attributes = {
      K: k,
      N: n,
      bits: 4,
      block_size: block,
      ...(accuracyLevel === undefined ? {} : { accuracy_level: accuracyLevel }),
    };
    return matMulNBits(node, [node.inputs[0] as string, ...names], attributes);
  });
  const built = builder.build();
  const opsets =
    named.size === 0
      ? graph.opsets
      : new Map([...graph.opsets, ['com.microsoft', graph.opsets.get('com.microsoft') ?? 1]]);
  return { ...built, nodes, opsets, tensors: dropUnread(built.tensors, nodes, named) };
}

function constantMatrix(graph: Graph, node: Node): InlineTensor | undefined {
  if (node.op !== 'MatMul' || node.domain !== '') return undefined;
  const weight = graph.tensors.get(node.inputs[1] ?? '');
  if (weight?.dtype !== DTYPE.float32 || weight.dims.length !== 2) return undefined;
  if (isExternal(weight)) {
    throw new IdlewildError(
      'model_unsupported',
      `quantising '${weight.name}': its values lie in '${weight.external.location}'; load them into the graph first`,
    );
  }
  return weight;
}

function matMulNBits(node: Node, inputs: readonly string[], attributes: Attributes): Node {
  const builder = createGraphBuilder();
  builder.node('com.microsoft.MatMulNBits', inputs, attributes, node.outputs);
  return { ...(builder.build().nodes[0] as Node), name: node.name };
}

/** Drops those of the replaced weights that nothing else reads (an embedding that is also the last matrix stays). */
function dropUnread(
  tensors: Graph['tensors'],
  nodes: readonly Node[],
  replaced: ReadonlyMap<string, unknown>,
): Graph['tensors'] {
  const read = new Set(nodes.flatMap((node) => node.inputs));
  return new Map([...tensors].filter(([name]) => !replaced.has(name) || read.has(name)));
}

/**
 * Quantises a row-major matrix [k, n]. Rows past the end of the last block are zeros of the padding, which the operator
 * does not read.
 */
export function quantiseBlocks4(
  matrix: Float32Array,
  k: number,
  n: number,
  block: number,
  symmetric: boolean,
): Quantised4 {
  const blocks = Math.ceil(k / block);
  const values = new Uint8Array((n * blocks * block) / 2);
  const scales = new Float32Array(n * blocks);
  const zeroPoints = symmetric ? undefined : new Uint8Array(n * Math.ceil(blocks / 2));
  const [low, high, zeros] = [new Float32Array(n), new Float32Array(n), new Uint8Array(n)];
  const inverses = new Float32Array(n);
  for (let b = 0; b < blocks; b++) {
    const rows = Math.min(block, k - b * block);
    const rowsFrom = matrix.subarray(b * block * n, (b * block + rows) * n);
    columnRanges(rowsFrom, n, low, high);
    for (let column = 0; column < n; column++) {
      const [scale, zero] = symmetric
        ? symmetricScale(low[column] as number, high[column] as number)
        : scaleAndZero(low[column] as number, high[column] as number);
      scales[column * blocks + b] = scale;
      inverses[column] = scale === 0 ? 0 : 1 / Math.fround(scale);
      zeros[column] = zero;
      if (zeroPoints !== undefined) {
        const at = column * Math.ceil(blocks / 2) + (b >> 1);
        zeroPoints[at] = (zeroPoints[at] as number) | (zero << (4 * (b & 1)));
      }
    }
    for (let row = 0; row < rows; row++) {
      packRow(
        rowsFrom.subarray(row * n, (row + 1) * n),
        inverses,
        zeros,
        values,
        (b * block + row) >> 1,
        (blocks * block) / 2,
        4 * (row & 1),
      );
    }
  }
  return { values, scales, zeroPoints };
}

/** Least and greatest value of each column, zero included: zero must be exact, for padding and for sparse weights. */
function columnRanges(rows: Float32Array, n: number, low: Float32Array, high: Float32Array): void {
  low.fill(0);
  high.fill(0);
  for (let at = 0; at < rows.length; at += n) {
    for (let column = 0; column < n; column++) {
      const value = rows[at + column] as number;
      if (value < (low[column] as number)) low[column] = value;
      if (value > (high[column] as number)) high[column] = value;
    }
  }
}

/** The value farthest from zero becomes -8, whatever its sign. */
function symmetricScale(low: number, high: number): [scale: number, zero: number] {
  return [(Math.abs(low) > Math.abs(high) ? low : high) / -8, 8];
}

function scaleAndZero(low: number, high: number): [scale: number, zero: number] {
  const scale = (high - low) / 15;
  return [scale, scale === 0 ? 0 : Math.min(15, Math.max(0, Math.round(-low / scale)))];
}

function packRow(
  row: Float32Array,
  inverses: Float32Array,
  zeros: Uint8Array,
  values: Uint8Array,
  byte: number,
  columnBytes: number,
  shift: number,
): void {
  for (let column = 0; column < row.length; column++) {
    const level = Math.round((row[column] as number) * (inverses[column] as number) + (zeros[column] as number));
    const at = column * columnBytes + byte;
    values[at] = (values[at] as number) | (Math.min(15, Math.max(0, level)) << shift);
  }
}
