/**
 * Builds a graph node by node, or goes on from an existing one.
 *
 * Names are generated from the operator's and a counter, so that the same calls give the same file, byte for byte.
 * This does not look at what an operator means: whether a graph hangs together is `check.ts`'s matter.
 */
import type { Attribute, Dimension, Graph, Node, NumberArray, Tensor, ValueInfo } from './graph.ts';
import { tensorOf } from './graph.ts';

/** Integers stand for `int`, arrays of integers for `ints`; anything else is written out. */
export type AttributeInput = number | string | readonly number[] | Attribute;
export type Attributes = Readonly<Record<string, AttributeInput>>;

export interface GraphBuilder {
  /** A name that is not in use. */
  uniqueName(stem: string): string;
  input(name: string, dtype: number, dims: readonly Dimension[]): string;
  output(name: string, dtype: number, dims: readonly Dimension[]): string;
  /** An initialiser; shares the array's memory. */
  tensor(name: string, dims: readonly number[], values: NumberArray, dtype?: number): string;
  /** A constant int64 vector; equal ones are one initialiser. */
  ints(...values: number[]): string;
  /** A constant int64 scalar. */
  int(value: number): string;
  /** A constant f32 scalar. */
  float(value: number): string;
  /** A node of one output, named `output` if given. */
  op(op: string, inputs: readonly string[], attributes?: Attributes, output?: string): string;
  /** A node with these outputs; `op` may carry its domain: `com.microsoft.MatMulNBits`. */
  node(op: string, inputs: readonly string[], attributes: Attributes, outputs: readonly string[]): void;
  build(): Graph;
}

export interface GraphBuilderOptions {
  readonly name?: string;
  readonly opset?: number;
  readonly irVersion?: number;
  /** Starts from this graph instead of an empty one; its names are kept free. */
  readonly from?: Graph;
}

const emptyGraph = ({ name = 'graph', opset = 17, irVersion = 8 }: GraphBuilderOptions): Graph => ({
  name,
  nodes: [],
  tensors: new Map(),
  inputs: [],
  outputs: [],
  values: [],
  sparseTensors: [],
  irVersion,
  opsets: new Map([['', opset]]),
  functions: [],
  trainingInfo: [],
});

/** Hands out names that nothing in the graph has. */
function createNames(taken: Iterable<string>): { claim(name: string): string; unique(stem: string): string } {
  const used = new Set(taken);
  let counter = 0;
  return {
    claim: (name) => {
      used.add(name);
      return name;
    },
    unique: (stem) => {
      let name = `${stem}_${counter++}`;
      while (used.has(name)) name = `${stem}_${counter++}`;
      used.add(name);
      return name;
    },
  };
}

const namesOf = (graph: Graph): string[] => [
  ...graph.tensors.keys(),
  ...graph.inputs.map((input) => input.name),
  ...graph.nodes.flatMap((node) => [node.name, ...node.outputs]),
];

export function createGraphBuilder(options: GraphBuilderOptions = {}): GraphBuilder {
  const base = options.from ?? emptyGraph(options);
  const nodes: Node[] = [...base.nodes];
  const tensors = new Map<string, Tensor>(base.tensors);
  const inputs: ValueInfo[] = [...base.inputs];
  const outputs: ValueInfo[] = [...base.outputs];
  const opsets = new Map(base.opsets);
  const names = createNames(namesOf(base));
  const constants = new Map<string, string>();

  function tensor(name: string, dims: readonly number[], values: NumberArray, dtype?: number): string {
    tensors.set(name, tensorOf(name, dims, values, dtype));
    return names.claim(name);
  }

  function constant(key: string, dims: readonly number[], values: NumberArray): string {
    let name = constants.get(key);
    if (name === undefined) constants.set(key, (name = tensor(names.unique('constant'), dims, values)));
    return name;
  }

  function node(op: string, from: readonly string[], attributes: Attributes, to: readonly string[]): void {
    const [domain, type] = splitOperator(op);
    if (!opsets.has(domain)) opsets.set(domain, 1);
    for (const output of to) names.claim(output);
    const entries = Object.entries(attributes).map(([key, value]) => [key, attributeFrom(value)] as const);
    const name = names.unique(`node_${type}`);
    nodes.push({ name, domain, op: type, inputs: from, outputs: to, attributes: new Map(entries) });
  }

  return {
    uniqueName: (stem) => names.unique(stem),
    tensor,
    node,
    input: (name, dtype, dims) => {
      inputs.push({ name, dtype, dims });
      return names.claim(name);
    },
    output: (name, dtype, dims) => {
      outputs.push({ name, dtype, dims });
      return name;
    },
    ints: (...values) => constant(`ints ${values.join()}`, [values.length], BigInt64Array.from(values, BigInt)),
    int: (value) => constant(`int ${value}`, [], BigInt64Array.of(BigInt(value))),
    float: (value) => constant(`float ${value}`, [], Float32Array.of(value)),
    op: (op, from, attributes = {}, output = names.unique(splitOperator(op)[1])) => {
      node(op, from, attributes, [output]);
      return output;
    },
    build: () => {
      const lists = { nodes: [...nodes], inputs: [...inputs], outputs: [...outputs] };
      return { ...base, ...lists, tensors: new Map(tensors), opsets: new Map(opsets) };
    },
  };
}

function splitOperator(op: string): [domain: string, type: string] {
  const dot = op.lastIndexOf('.');
  return dot === -1 ? ['', op] : [op.slice(0, dot), op.slice(dot + 1)];
}

function attributeFrom(value: AttributeInput): Attribute {
  if (typeof value === 'number') return { kind: 'int', value };
  if (typeof value === 'string') return { kind: 'string', value };
  return isInts(value) ? { kind: 'ints', value } : value;
}

const isInts = (value: readonly number[] | Attribute): value is readonly number[] => Array.isArray(value);
