/**
 * Builds a graph node by node, or goes on from an existing one. Names are generated from the operator's and a counter, so that the same
 * calls give the same file, byte for byte.
 */
import { DTYPE } from './dtypes.ts';
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

export function createGraphBuilder(options: GraphBuilderOptions = {}): GraphBuilder {
  const base = options.from ?? emptyGraph(options);
  const nodes: Node[] = [...base.nodes];
  const tensors = new Map<string, Tensor>(base.tensors);
  const inputs: ValueInfo[] = [...base.inputs];
  const outputs: ValueInfo[] = [...base.outputs];
  const opsets = new Map(base.opsets);
  const used = new Set<string>([...tensors.keys(), ...inputs.map((input) => input.name)]);
  for (const node of nodes) for (const name of [node.name, ...node.outputs]) used.add(name);
  const constants = new Map<string, string>();
  let counter = 0;

  function uniqueName(stem: string): string {
    let name = `${stem}_${counter++}`;
    while (used.has(name)) name = `${stem}_${counter++}`;
    used.add(name);
    return name;
  }

  function tensor(name: string, dims: readonly number[], values: NumberArray, dtype?: number): string {
    used.add(name);
    tensors.set(name, tensorOf(name, dims, values, dtype));
    return name;
  }

  function constant(key: string, make: (name: string) => string): string {
    let name = constants.get(key);
    if (name === undefined) constants.set(key, (name = make(uniqueName('constant'))));
    return name;
  }

  function node(op: string, nodeInputs: readonly string[], attributes: Attributes, nodeOutputs: readonly string[]): void {
    const dot = op.lastIndexOf('.');
    const domain = dot === -1 ? '' : op.slice(0, dot);
    if (!opsets.has(domain)) opsets.set(domain, 1);
    for (const output of nodeOutputs) used.add(output);
    nodes.push({
      name: uniqueName(`node_${op.slice(dot + 1)}`),
      domain,
      op: op.slice(dot + 1),
      inputs: nodeInputs,
      outputs: nodeOutputs,
      attributes: new Map(Object.entries(attributes).map(([name, value]) => [name, attributeFrom(value)])),
    });
  }

  return {
    uniqueName,
    tensor,
    node,
    input: (name, dtype, dims) => {
      used.add(name);
      inputs.push({ name, dtype, dims });
      return name;
    },
    output: (name, dtype, dims) => {
      outputs.push({ name, dtype, dims });
      return name;
    },
    ints: (...values) => constant(`ints ${values.join()}`, (name) => tensor(name, [values.length], BigInt64Array.from(values, BigInt))),
    int: (value) => constant(`int ${value}`, (name) => tensor(name, [], BigInt64Array.of(BigInt(value)))),
    float: (value) => constant(`float ${value}`, (name) => tensor(name, [], Float32Array.of(value), DTYPE.float32)),
    op: (op, nodeInputs, attributes = {}, output = uniqueName(op.slice(op.lastIndexOf('.') + 1))) => {
      node(op, nodeInputs, attributes, [output]);
      return output;
    },
    build: () => ({ ...base, nodes: [...nodes], tensors: new Map(tensors), inputs: [...inputs], outputs: [...outputs], opsets: new Map(opsets) }),
  };
}

function attributeFrom(value: AttributeInput): Attribute {
  if (typeof value === 'number') return { kind: 'int', value };
  if (typeof value === 'string') return { kind: 'string', value };
  return isInts(value) ? { kind: 'ints', value } : value;
}

const isInts = (value: readonly number[] | Attribute): value is readonly number[] => Array.isArray(value);
