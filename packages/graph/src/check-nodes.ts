/**
 * Nodes, one by one: an operator of the table, attributes of kinds and sizes that kernels expect, subgraphs only where
 * there are branches and loops, loops that end, and packed weights that are as large as their node says.
 *
 * The last because the kernels that unpack weights of a few bits are the runtime's own additions to ONNX, younger than
 * the rest and indexed by what their attributes say.
 */
import { DTYPE, elementsOf } from './dtypes.ts';
import { attributeOf, isExternal, nodeTitle, type Attribute, type Node, type Tensor } from './graph.ts';
import { LIMITS } from './limits.ts';
import { OPERATORS } from './operators.ts';
import { refused } from './refused.ts';

/** Of ONNX's own domain, and the attributes that hold their subgraphs. */
const WITH_SUBGRAPHS: ReadonlyMap<string, readonly string[]> = new Map([
  ['If', ['then_branch', 'else_branch']],
  ['Loop', ['body']],
  ['Scan', ['body']],
]);
/** In these a number may be as large as there are: "to the end", or a constant's value. */
const ANY_INTEGERS: ReadonlySet<string> = new Set(['Slice', 'Constant', 'ConstantOfShape', 'Cast']);

export function checkOperator(node: Node): void {
  if (OPERATORS.get(node.domain)?.has(node.op) !== true)
    throw refused(`operator ${nodeTitle(node)} is not on the table of operators`);
}

/** Everything of an attribute but the tensor or the subgraph in it. */
export function checkAttribute(node: Node, name: string, attribute: Attribute): void {
  const what = `attribute '${name}' of node ${nodeTitle(node)}`;
  switch (attribute.kind) {
    case 'other':
      throw refused(`${what} is of kind ${String(attribute.value.type ?? 0)}`);
    case 'tensor':
      if (isExternal(attribute.value)) throw refused(`${what} points to a file`);
      return;
    case 'graph':
      if (node.domain !== '' || WITH_SUBGRAPHS.get(node.op)?.includes(name) !== true)
        throw refused(`${what} is a graph, which only branches and loops have`);
      return;
    case 'int':
    case 'ints': {
      if (ANY_INTEGERS.has(node.op)) return;
      const large = [attribute.value]
        .flat()
        .find((value) => !(value >= -LIMITS.attributeIntMax - 1 && value <= LIMITS.attributeIntMax));
      if (large !== undefined) throw refused(`${what} is ${large}, beyond 32 bits`);
      return;
    }
    case 'string':
    case 'strings': {
      const long = [attribute.value].flat().find((text) => text.length > LIMITS.attributeCharactersMax);
      if (long !== undefined) throw refused(`${what} has ${long.length} characters`);
      return;
    }
    default:
      return;
  }
}

/** How often a loop goes round; 1 for what is none. `value`: numbers that are known before the graph runs. */
export function roundsOf(node: Node, value: (name: string) => readonly number[] | undefined): number {
  if (node.op !== 'Loop' || node.domain !== '') return 1;
  const rounds = value(node.inputs[0] ?? '')?.[0];
  if (rounds === undefined) throw refused(`loop ${nodeTitle(node)} has no constant number of rounds`);
  return Math.max(1, rounds);
}

/** Bits, rows and columns of packed weights against the tensors that hold them. */
export function checkPacked(node: Node, tensor: (name: string) => Tensor | undefined): void {
  if (node.domain !== 'com.microsoft' || node.op !== 'MatMulNBits') return;
  const what = `node ${nodeTitle(node)}`;
  const number = (name: string): number => Number(attributeOf(node, name, 'int') ?? Number.NaN);
  const [rows, columns, block] = [number('K'), number('N'), number('block_size')];
  const bits = Number(attributeOf(node, 'bits', 'int') ?? 4);
  if (!(rows > 0 && columns > 0) || ![2, 4, 8].includes(bits) || !(block >= 16 && Number.isInteger(Math.log2(block))))
    throw refused(`${what} has K ${rows}, N ${columns}, blocks of ${block} and ${bits} bits`);
  const blocks = Math.ceil(rows / block);
  const zeros = columns * Math.ceil((blocks * bits) / 8);
  const expected = [
    undefined,
    [columns * blocks * ((block * bits) / 8)],
    [columns * blocks],
    [zeros, columns * blocks],
  ];
  for (const [i, sizes] of expected.entries()) {
    const held = tensor(node.inputs[i] ?? '');
    if (sizes === undefined || held === undefined) continue;
    // Zero points are packed like the weights, or numbers like the scales.
    const size = i === 3 && held.dtype !== DTYPE.uint8 ? sizes[1] : sizes[0];
    if (elementsOf(held.dims) !== size)
      throw refused(`${what} needs ${size} elements of '${held.name}', which has ${elementsOf(held.dims)}`);
  }
}

/**
 * Widths of queries, keys and values against the weights that hold all three: the runtime's older attention counts with
 * these widths when it packs the weights, before it looks whether they are there.
 */
export function checkWidths(node: Node, tensor: (name: string) => Tensor | undefined): void {
  if (node.domain !== 'com.microsoft') return;
  const widths = attributeOf(node, 'qkv_hidden_sizes', 'ints')?.map(Number);
  if (widths === undefined) return;
  const columns = tensor(node.inputs[1] ?? '')?.dims[1];
  const sum = widths.reduce((total, width) => total + width, 0);
  if (widths.some((width) => !(width > 0)) || sum !== columns)
    throw refused(`node ${nodeTitle(node)} has widths ${widths.join(', ')} of weights with ${columns ?? 0} columns`);
}
