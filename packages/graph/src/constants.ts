/**
 * Dims and numbers of what a node computes from constants: enough of ONNX's operators to follow how exporters write a
 * shape, a range or a mask. `undefined` is always a right answer: "not known".
 *
 * Only sizes depend on this, which the checker bounds; the runtime computes for itself.
 */
import { elementsOf } from './dtypes.ts';
import { attributeOf, type Node } from './graph.ts';
import { LIMITS } from './limits.ts';

/** What is known of a value before the graph runs. */
export interface Known {
  /** An upper bound. */
  readonly elements: number;
  readonly dims?: readonly number[] | undefined;
  readonly values?: readonly number[] | undefined;
}

type Inputs = readonly (Known | undefined)[];
type Dims = readonly number[];

const ELEMENTWISE = new Set(
  `Abs Cast Ceil Cos Erf Exp Floor Identity IsNaN Log Neg Not Reciprocal Relu Round Sigmoid Sign Sin Softmax Sqrt Tanh
  CumSum Trilu Clip`.split(/\s+/),
);
const BROADCAST = new Set(
  `Add And BitwiseAnd BitwiseOr Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or Pow Sub Where
  Xor`.split(/\s+/),
);

const ints = (node: Node, name: string, input: Known | undefined): Dims | undefined =>
  input?.values ?? attributeOf(node, name, 'ints')?.map(Number);

/** Of the node's first output. */
export function computeDims(node: Node, inputs: Inputs): Dims | undefined {
  const [first, second] = inputs;
  const dims = first?.dims;
  if (ELEMENTWISE.has(node.op)) return dims;
  if (BROADCAST.has(node.op)) return broadcast(inputs.map((input) => input?.dims));
  switch (node.op) {
    case 'ConstantOfShape':
      return shapeFrom(first?.values);
    case 'Expand':
      return broadcast([dims, shapeFrom(second?.values)]);
    case 'Tile':
      return dims !== undefined && second?.values?.length === dims.length
        ? shapeFrom(dims.map((dim, i) => dim * (second.values?.[i] as number)))
        : undefined;
    case 'Range':
      return rangeLength(inputs);
    case 'Shape':
      return dims === undefined ? undefined : [dims.length];
    case 'Unsqueeze':
      return unsqueezed(dims, ints(node, 'axes', second));
    case 'Squeeze':
      return squeezed(dims, ints(node, 'axes', second));
    case 'Slice':
      return slicedDims(node, inputs);
    case 'Transpose':
      return transposed(dims, attributeOf(node, 'perm', 'ints')?.map(Number));
    case 'Reshape':
      return reshaped(dims, second?.values);
    case 'Concat':
      return joined(inputs, Number(attributeOf(node, 'axis', 'int') ?? 0));
    case 'Gather':
      return gathered(dims, second?.dims, Number(attributeOf(node, 'axis', 'int') ?? 0));
    case 'Pad':
      return padded(dims, second?.values, inputs[3]);
    case 'OneHot':
      return first?.dims === undefined || second?.values === undefined
        ? undefined
        : shapeFrom([...first.dims, Math.abs(second.values[0] ?? 0)]);
    case 'MatMul':
      return multiplied(dims, second?.dims);
    default:
      return undefined;
  }
}

/** The numbers of a short output; of what they are too many, or another operator makes, `undefined`. */
export function computeValues(node: Node, inputs: Inputs, dims: Dims | undefined): readonly number[] | undefined {
  if (dims !== undefined && !(elementsOf(dims) <= LIMITS.computedValuesMax)) return undefined;
  const [first, second] = inputs;
  if (node.op === 'Shape') return first?.dims;
  const values = first?.values;
  switch (node.op) {
    case 'Identity':
    case 'Unsqueeze':
    case 'Squeeze':
    case 'Reshape':
    case 'Cast':
      return values;
    case 'Size':
      return first?.dims === undefined ? undefined : [elementsOf(first.dims)];
    case 'Neg':
      return values?.map((value) => -value);
    case 'Concat': {
      const parts = inputs.map((input) => input?.values);
      return parts.every((part) => part !== undefined) && parts.length > 0 ? parts.flat() : undefined;
    }
    case 'Gather':
      return Number(attributeOf(node, 'axis', 'int') ?? 0) === 0 && (first?.dims?.length ?? 0) <= 1
        ? pick(values, second?.values)
        : undefined;
    case 'Slice':
      return sliced(node, inputs);
    case 'Range':
      return ranged(inputs, dims);
    case 'ConstantOfShape':
      return filled(node, dims);
    case 'Where':
    case 'Add':
    case 'Sub':
    case 'Mul':
    case 'Div':
    case 'Max':
    case 'Min':
    case 'Equal':
      return together(
        node.op,
        inputs.map((input) => input?.values),
      );
    default:
      return undefined;
  }
}

/** A shape as a node is given it; numbers that are none make a size beyond every bound. */
function shapeFrom(values: readonly number[] | undefined): Dims | undefined {
  return values?.map((value) => (value >= 0 && Number.isFinite(value) ? value : Number.POSITIVE_INFINITY));
}

/** Of more than one dimension where they differ, the larger: what does not fit together fails at the runtime. */
function broadcast(all: readonly (Dims | undefined)[]): Dims | undefined {
  if (!all.every((dims) => dims !== undefined)) return undefined;
  const rank = Math.max(0, ...all.map((dims) => dims.length));
  return Array.from({ length: rank }, (_, i) => Math.max(...all.map((dims) => dims[dims.length - rank + i] ?? 1)));
}

function rangeLength(inputs: Inputs): Dims | undefined {
  const [start, limit, delta] = inputs.map((input) => input?.values?.[0]);
  if (start === undefined || limit === undefined || delta === undefined) return undefined;
  const length = Math.ceil((limit - start) / delta);
  return [length > 0 ? length : Number.isNaN(length) ? Number.POSITIVE_INFINITY : 0];
}

function ranged(inputs: Inputs, dims: Dims | undefined): number[] | undefined {
  const [start, , delta] = inputs.map((input) => input?.values?.[0]);
  if (start === undefined || delta === undefined || dims === undefined) return undefined;
  return Array.from({ length: dims[0] ?? 0 }, (_, i) => start + i * delta);
}

function unsqueezed(dims: Dims | undefined, axes: Dims | undefined): Dims | undefined {
  if (dims === undefined || axes === undefined) return undefined;
  const rank = dims.length + axes.length;
  if (rank > LIMITS.rankMax) return undefined;
  const added = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  const rest = [...dims];
  return Array.from({ length: rank }, (_, i) => (added.has(i) ? 1 : (rest.shift() ?? 1)));
}

function squeezed(dims: Dims | undefined, axes: Dims | undefined): Dims | undefined {
  if (dims === undefined) return undefined;
  if (axes === undefined) return dims.filter((dim) => dim !== 1);
  const dropped = new Set(axes.map((axis) => (axis < 0 ? axis + dims.length : axis)));
  return dims.filter((_, i) => !dropped.has(i));
}

/** As far as starts and ends are known; else as long as it was. */
function slicedDims(node: Node, [data, starts, ends, axes, steps]: Inputs): Dims | undefined {
  const [from, to] = [ints(node, 'starts', starts), ints(node, 'ends', ends)];
  const along =
    axes === undefined ? (attributeOf(node, 'axes', 'ints')?.map(Number) ?? from?.map((_, i) => i)) : axes.values;
  if (data?.dims === undefined || from === undefined || to === undefined || along === undefined) return data?.dims;
  const made = [...data.dims];
  for (const [i, axis] of along.entries()) {
    const at = axis < 0 ? axis + made.length : axis;
    const dim = made[at] ?? 0;
    const place = (value: number | undefined): number =>
      Math.min(dim, Math.max(0, (value ?? 0) < 0 ? (value ?? 0) + dim : (value ?? 0)));
    if ((steps?.values?.[i] ?? 1) > 0) made[at] = Math.max(0, place(to[i]) - place(from[i]));
  }
  return made;
}

function transposed(dims: Dims | undefined, order: Dims | undefined): Dims | undefined {
  if (dims === undefined) return undefined;
  return order === undefined ? dims.toReversed() : order.map((from) => dims[from] ?? 1);
}

/** One size may be left open, and a zero stands for the size that was. */
function reshaped(dims: Dims | undefined, wanted: readonly number[] | undefined): Dims | undefined {
  if (dims === undefined || wanted === undefined || wanted.length > LIMITS.rankMax) return undefined;
  const known = wanted.map((size, i) => (size === 0 ? (dims[i] ?? 0) : size));
  const rest = elementsOf(known.filter((size) => size > 0));
  const open = rest === 0 ? 0 : Math.floor(elementsOf(dims) / rest);
  const made = known.map((size) => (size < 0 ? open : size));
  return elementsOf(made) === elementsOf(dims) ? made : undefined;
}

function joined(inputs: Inputs, axis: number): Dims | undefined {
  const all = inputs.map((input) => input?.dims);
  const first = all[0];
  if (first === undefined || !all.every((dims) => dims?.length === first.length)) return undefined;
  const at = axis < 0 ? axis + first.length : axis;
  const along = all.reduce((sum, dims) => sum + (dims?.[at] ?? 0), 0);
  return first.map((dim, i) => (i === at ? along : dim));
}

function gathered(dims: Dims | undefined, indices: Dims | undefined, axis: number): Dims | undefined {
  if (dims === undefined || indices === undefined) return undefined;
  const at = axis < 0 ? axis + dims.length : axis;
  return [...dims.slice(0, at), ...indices, ...dims.slice(at + 1)];
}

function padded(
  dims: Dims | undefined,
  pads: readonly number[] | undefined,
  axes: Known | undefined,
): Dims | undefined {
  if (dims === undefined || pads === undefined || axes !== undefined) return undefined;
  return dims.map((dim, i) => Math.max(0, dim + (pads[i] ?? 0) + (pads[i + dims.length] ?? 0)));
}

function multiplied(left: Dims | undefined, right: Dims | undefined): Dims | undefined {
  if (left === undefined || right === undefined || left.length < 2 || right.length < 2) return undefined;
  const ends = [left.at(-2) as number, right.at(-1) as number];
  const before = broadcast([left.slice(0, -2), right.slice(0, -2)]);
  return before === undefined ? undefined : [...before, ...ends];
}

function pick(values: readonly number[] | undefined, indices: readonly number[] | undefined): number[] | undefined {
  const found = indices?.map((index) => values?.at(index));
  return found?.every((value) => value !== undefined) === true ? found : undefined;
}

/** Along the one dimension of a short list. */
function sliced(node: Node, inputs: Inputs): readonly number[] | undefined {
  const [data, starts, ends, axes, steps] = inputs;
  const start = (starts?.values ?? attributeOf(node, 'starts', 'ints')?.map(Number))?.[0];
  const end = (ends?.values ?? attributeOf(node, 'ends', 'ints')?.map(Number))?.[0];
  if ((data?.dims?.length ?? 0) !== 1 || start === undefined || end === undefined) return undefined;
  if ((steps?.values?.[0] ?? 1) !== 1 || (axes !== undefined && axes.values === undefined)) return undefined;
  return data?.values?.slice(start, end);
}

/** Zeros, if it does not say. */
function filled(node: Node, dims: Dims | undefined): number[] | undefined {
  if (dims === undefined) return undefined;
  const value = attributeOf(node, 'value', 'tensor');
  if (value === undefined) return Array.from({ length: elementsOf(dims) }, () => 0);
  if ('external' in value || value.dtype !== 7 || value.data.length !== 8) return undefined;
  const one = Number(new DataView(value.data.buffer, value.data.byteOffset, 8).getBigInt64(0, true));
  return Array.from({ length: elementsOf(dims) }, () => one);
}

const OPERATIONS: Readonly<Record<string, (values: readonly number[]) => number>> = {
  Add: ([a, b]) => (a as number) + (b as number),
  Sub: ([a, b]) => (a as number) - (b as number),
  Mul: ([a, b]) => (a as number) * (b as number),
  // Whole numbers are rounded towards zero; of others a bound is wanted, and this may be below it by less than one.
  Div: ([a, b]) => (a as number) / (b as number),
  Max: (values) => Math.max(...values),
  Min: (values) => Math.min(...values),
  Equal: ([a, b]) => Number(a === b),
  Where: ([condition, yes, no]) => (condition === 0 ? (no as number) : (yes as number)),
};

/** Element by element; a single one goes with all. */
function together(op: string, all: readonly (readonly number[] | undefined)[]): number[] | undefined {
  if (!all.every((values) => values !== undefined) || all.length === 0) return undefined;
  const length = Math.max(...all.map((values) => values.length));
  if (!all.every((values) => values.length === length || values.length === 1)) return undefined;
  const operation = OPERATIONS[op] as (values: readonly number[]) => number;
  return Array.from({ length }, (_, i) =>
    operation(all.map((values) => (values.length === 1 ? values[0] : values[i]) as number)),
  );
}
