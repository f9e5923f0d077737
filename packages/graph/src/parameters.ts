/**
 * How many parameters a model has: the numbers that training found, however the graph keeps them.
 *
 * Floating-point and 8-bit initialisers count as they are. Weights packed into blocks of a few bits count as the
 * matrix that they stand for, and their scales and zero points not at all. Whole numbers of 16 bits and more are shapes
 * and indices.
 */
import { DTYPE, elementsOf } from './dtypes.ts';
import { attributeOf, blocksOf } from './graph.ts';
import type { Block, Graph, Node, Tensor } from './graph.ts';

const NUMBERS: ReadonlySet<number> = new Set<number>([
  DTYPE.float32,
  DTYPE.float16,
  DTYPE.bfloat16,
  DTYPE.float64,
  DTYPE.uint8,
  DTYPE.int8,
  DTYPE.uint4,
  DTYPE.int4,
]);
/** Where nodes that unpack weights read these, and what belongs to them. */
const PACKED: ReadonlyMap<string, { readonly weights: number; readonly others: readonly number[] }> = new Map([
  ['MatMulNBits', { weights: 1, others: [2, 3, 4] }],
  ['MatMulBnb4', { weights: 1, others: [2] }],
  ['GatherBlockQuantized', { weights: 0, others: [2, 3] }],
]);

/** Weights that several nodes share are counted once. */
export function countParameters(graph: Graph): number {
  const counts = new Map<string, number>();
  count(graph, counts);
  return [...counts.values()].reduce((sum, each) => sum + each, 0);
}

function count(block: Block, counts: Map<string, number>): void {
  for (const tensor of block.tensors.values()) {
    if (NUMBERS.has(tensor.dtype)) counts.set(tensor.name, elementsOf(tensor.dims));
  }
  for (const node of block.nodes) {
    const packed = PACKED.get(node.op);
    const weights = block.tensors.get(node.inputs[packed?.weights ?? -1] ?? '');
    if (packed !== undefined && weights !== undefined) {
      counts.set(weights.name, packedCount(node, weights));
      for (const other of packed.others) counts.delete(node.inputs[other] ?? '');
    }
    for (const inner of blocksOf(node)) count(inner, counts);
  }
}

/** K × N where the node says it; else what the bytes hold, at its bits each. */
function packedCount(node: Node, { dtype, dims }: Tensor): number {
  const [rows, columns] = [attributeOf(node, 'K', 'int'), attributeOf(node, 'N', 'int')];
  if (rows !== undefined && columns !== undefined) return Number(rows) * Number(columns);
  const elements = elementsOf(dims);
  return dtype === DTYPE.uint8 ? (elements * 8) / Number(attributeOf(node, 'bits', 'int') ?? 4) : elements;
}
