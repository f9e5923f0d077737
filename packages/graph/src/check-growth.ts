/**
 * How much the runtime would make of constants: it computes whatever depends on constants alone when it loads a graph,
 * and a node of a few bytes can ask for a petabyte.
 *
 * Followed are the dims of such values and, of short ones, the numbers, since they are what sizes are made of. An
 * operator that can make more of its inputs than it is given, by sizes that cannot be told, is refused. So is one whose
 * data come at run time if its sizes are constants beyond the bound. What a graph makes of its inputs otherwise is
 * bounded when it runs, by the memory that its process may have.
 */
import { computeDims, computeValues, type Known } from './constants.ts';
import { DTYPE, elementsOf } from './dtypes.ts';
import { attributeOf, isExternal, nodeTitle, type Node, type Tensor } from './graph.ts';
import { LIMITS } from './limits.ts';
import { refused } from './refused.ts';

export interface Growth {
  /** Notes a constant that the graph holds. */
  hold(tensor: Tensor): void;
  /** Notes what a node computes. @throws IdlewildError `model_refused` */
  compute(node: Node, lookUp: (name: string) => Known | undefined): void;
  known(name: string): Known | undefined;
}

/** Elements over all blocks of a graph. */
export interface Elements {
  held: number;
  computed: number;
}

/** For one block: names of others are looked up by whoever walks them. */
export function createGrowth(sum: Elements): Growth {
  const all = new Map<string, Known>();
  return {
    known: (name) => all.get(name),
    hold(tensor) {
      const known = knownOf(tensor);
      all.set(tensor.name, known);
      sum.held += known.elements;
    },
    compute(node, lookUp) {
      const inputs = node.inputs.map((name) => (name === '' ? undefined : lookUp(name)));
      checkSizes(node, inputs);
      const constant = node.inputs.every((name, i) => name === '' || inputs[i] !== undefined);
      if (!constant || hasSubgraph(node)) return;
      const made = computed(node, inputs);
      const largest = Math.max(LIMITS.computedElementsMax, ...inputs.map((input) => input?.elements ?? 0));
      if (node.op !== 'Constant' && !(made.elements <= largest)) {
        const size = Number.isFinite(made.elements) ? `${made.elements} elements` : 'a size that cannot be told';
        throw refused(`node ${nodeTitle(node)} makes ${size} of constants`);
      }
      if (node.op === 'Constant') sum.held += made.elements;
      else sum.computed += made.elements * (node.op === 'Split' ? 1 : Math.max(1, node.outputs.length));
      // What is read from the file may be turned and unpacked; what is made of nothing has to be little.
      if (!(sum.computed <= LIMITS.computedElementsMax + LIMITS.fileUsesMax * sum.held))
        throw refused(`node ${nodeTitle(node)} and those before it make ${sum.computed} elements of constants`);
      for (const output of node.outputs) if (output !== '') all.set(output, made);
    },
  };
}

const hasSubgraph = (node: Node): boolean => [...node.attributes.values()].some(({ kind }) => kind === 'graph');

/** Of nodes whose sizes are constants while their data may not be. */
function checkSizes(node: Node, inputs: readonly (Known | undefined)[]): void {
  if (node.domain !== '') return;
  const sizes = inputs[1]?.values;
  const asked =
    node.op === 'Expand' || node.op === 'Tile'
      ? elementsOf((sizes ?? []).filter((size) => size !== 0))
      : node.op === 'Pad'
        ? (sizes ?? []).reduce((sum, size) => sum + Math.abs(size), 0)
        : node.op === 'OneHot'
          ? Math.abs(sizes?.[0] ?? 0)
          : 0;
  if (!(asked <= LIMITS.computedElementsMax)) throw refused(`node ${nodeTitle(node)} asks for ${asked} elements`);
}

function knownOf(tensor: Tensor): Known {
  const elements = elementsOf(tensor.dims);
  return { elements, dims: tensor.dims, values: isExternal(tensor) ? undefined : numbersOf(tensor.dtype, tensor.data) };
}

const READERS: ReadonlyMap<number, (view: DataView, at: number) => number> = new Map<
  number,
  (view: DataView, at: number) => number
>([
  [DTYPE.int64, (view, at) => Number(view.getBigInt64(at, true))],
  [DTYPE.int32, (view, at) => view.getInt32(at, true)],
  [DTYPE.float32, (view, at) => view.getFloat32(at, true)],
  [DTYPE.float64, (view, at) => view.getFloat64(at, true)],
  [DTYPE.bool, (view, at) => view.getUint8(at)],
]);
const WIDTHS: ReadonlyMap<number, number> = new Map([
  [DTYPE.int64, 8],
  [DTYPE.int32, 4],
  [DTYPE.float32, 4],
  [DTYPE.float64, 8],
  [DTYPE.bool, 1],
]);

function numbersOf(dtype: number, data: Uint8Array): number[] | undefined {
  const [read, width] = [READERS.get(dtype), WIDTHS.get(dtype)];
  if (read === undefined || width === undefined || data.length > LIMITS.computedValuesMax * width) return undefined;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Array.from({ length: Math.floor(data.length / width) }, (_, i) => read(view, i * width));
}

function computed(node: Node, inputs: readonly (Known | undefined)[]): Known {
  if (node.domain === '' && node.op === 'Constant') return constantOf(node);
  const dims = node.domain === '' ? computeDims(node, inputs) : undefined;
  const bound = dims === undefined ? boundOf(node, inputs) : elementsOf(dims);
  const values = node.domain === '' ? computeValues(node, inputs, dims) : undefined;
  return {
    elements: values?.length ?? bound,
    dims: dims ?? (values === undefined ? undefined : [values.length]),
    values,
  };
}

function constantOf(node: Node): Known {
  const tensor = attributeOf(node, 'value', 'tensor');
  if (tensor !== undefined) return knownOf(tensor);
  const one = attributeOf(node, 'value_int', 'int') ?? attributeOf(node, 'value_float', 'float');
  if (one !== undefined) return { elements: 1, dims: [], values: [Number(one)] };
  const many = attributeOf(node, 'value_ints', 'ints') ?? attributeOf(node, 'value_floats', 'floats') ?? [];
  const values = many.length <= LIMITS.computedValuesMax ? many.map(Number) : undefined;
  return { elements: many.length, dims: [many.length], values };
}

/** Operators whose output is no larger than the largest input, or than a few numbers for each element of it. */
const NOT_GROWING = new Set(
  `Abs Acos Asin Atan ArgMax ArgMin BitwiseNot Cast CastLike Ceil Celu Clip Compress Cos Cosh CumSum DepthToSpace
  DequantizeLinear DynamicQuantizeLinear Elu Erf Exp EyeLike Flatten Floor Gelu HardSigmoid HardSwish Identity
  InstanceNormalization IsInf IsNaN GatherElements GroupNormalization LayerNormalization LeakyRelu Log LogSoftmax
  LpNormalization Mish Neg NonZero Not PRelu QuantizeLinear RMSNormalization Reciprocal ReduceL1 ReduceL2
  ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
  RotaryEmbedding Round ScatterElements ScatterND Selu Shape Sigmoid Sign SimplifiedLayerNormalization Sin Sinh Size
  Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Swish Tan Tanh TensorScatter ThresholdedRelu TopK
  Transpose Trilu Unsqueeze`.split(/\s+/),
);

/** Where dims are not known. */
function boundOf({ domain, op }: Node, inputs: readonly (Known | undefined)[]): number {
  const sizes = inputs.flatMap((input) => (input === undefined ? [] : [Math.max(1, input.elements)]));
  if (domain === '' && NOT_GROWING.has(op)) return Math.max(1, ...sizes) * (op === 'NonZero' ? LIMITS.rankMax : 1);
  if (domain === '' && op === 'Concat') return sizes.reduce((sum, size) => sum + size, 0);
  // Sizes that lie in values, which would be known if they could be told.
  if (domain === '' && ['ConstantOfShape', 'Expand', 'Tile', 'Range', 'Pad', 'OneHot'].includes(op))
    return Number.POSITIVE_INFINITY;
  // Every pair of elements at most: broadcasting, products, look-ups.
  return sizes.reduce((product, size) => product * size, 1);
}
