import { expect, test } from 'vitest';

import { liftAttention } from './attention.ts';
import { createGraphBuilder } from './builder.ts';
import { DTYPE } from './dtypes.ts';
import type { Graph, Node } from './graph.ts';
import { probeMasks, probePositions } from './probes.ts';
import { readGraph } from './read.ts';
import { cutAtAttention } from './segments.ts';
import { buildExport, type ExportStyle } from './testing/build-export.ts';
import { buildGenai } from './testing/build-genai.ts';
import { halfGraph } from './testing/half-graph.ts';
import { readJacobean } from './testing/jacobean.ts';

const shape = { vocab: 300, width: 64, layers: 3, heads: 4, kvHeads: 2, feedForward: 96, context: 96 };
const exported = (style: ExportStyle = {}): Graph => buildExport(shape, style, 1);
const names = (values: readonly { readonly name: string }[]): string[] => values.map(({ name }) => name);

test('attention of the bundled model is found, layer by layer', () => {
  const { attentions, graph } = liftAttention(readGraph(readJacobean()));
  expect(attentions).toHaveLength(6);
  for (const { layout, scale, window } of attentions) {
    expect({ layout, window }).toEqual({ layout: 'heads', window: 0 });
    expect(scale).toBeCloseTo(1 / Math.sqrt(32), 6);
  }
  expect(names(graph.inputs).slice(0, 2)).toEqual(['input_ids', 'position_ids']);
  expect(graph.nodes.some(({ op }) => op === 'Softmax')).toBe(false);
});

test('however scores are scaled, the number is found', () => {
  for (const graph of [exported(), exported({ scale: 'roots' }), halfGraph(exported({ scale: 'roots', guard: true }))])
    for (const { scale } of liftAttention(graph).attentions) expect(scale).toBeCloseTo(0.25, 3);
  const [first] = liftAttention(buildGenai(shape, { window: 9 }, 1)).attentions;
  expect(first).toMatchObject({ layout: 'rows', window: 9, scale: 0.25 });
});

test('parts follow one another: each makes its attention from tokens, the attentions before it and other parts', () => {
  for (const graph of [exported({ packed: true }), buildGenai(shape, {}, 1)]) {
    const lifted = liftAttention(graph);
    const parts = cutAtAttention(lifted);
    expect(parts).toHaveLength(4);
    const known = new Set(['input_ids', 'position_ids']);
    for (const [i, { inputs, outputs, graph: part }] of parts.entries()) {
      for (const name of inputs) expect(known).toContain(name);
      expect(names(part.inputs)).toEqual(inputs);
      expect(names(part.outputs)).toEqual(outputs);
      for (const name of outputs) known.add(name);
      const attention = lifted.attentions[i];
      if (attention === undefined) expect(outputs).toEqual(['logits']);
      else {
        for (const name of [attention.query, attention.key, attention.value]) expect(known).toContain(name);
        known.add(attention.output);
      }
    }
    // Outputs that a node does not give are not what one without inputs waits for.
    expect(parts.every(({ inputs, outputs }) => ![...inputs, ...outputs].includes(''))).toBe(true);
  }
});

/** The same graph, one node changed. */
function changed(graph: Graph, isIt: (node: Node) => boolean, change: (node: Node) => Node): Graph {
  const at = graph.nodes.findIndex(isIt);
  expect(at).toBeGreaterThan(-1);
  return { ...graph, nodes: graph.nodes.map((node, i) => (i === at ? change(node) : node)) };
}

test('what is in the way is named', () => {
  const genai = buildGenai(shape, {}, 1);
  const isGroup = ({ op }: Node): boolean => op === 'GroupQueryAttention';
  const withInput = (at: number, name: string) => (node: Node) => {
    const inputs = Array.from({ length: at + 1 }, (_, i) => node.inputs[i] ?? '');
    return { ...node, inputs: inputs.map((input, i) => (i === at ? name : input)) };
  };
  const cases: [Graph, RegExp][] = [
    [exported({ cap: 3 }), /Div '.*' leads to Tanh|leads to Tanh/],
    [exported({ positions: 'mask' }), /'attention_mask' is used outside of attention too/],
    [exported({ positions: 'past' }), /'past_key_values.0.key' is used outside of attention too/],
    [exported({ stretchedBeyond: 50 }), /ReduceMax '.*' looks at the positions of all rows/],
    [buildGenai(shape, { cap: 20 }, 1), /GroupQueryAttention '.*' caps, biases or smooths/],
    [changed(genai, isGroup, withInput(10, 'cos_cache')), /caps, biases or smooths/],
    [changed(genai, isGroup, withInput(9, 'cos_cache')), /has positions of its own \('cos_cache'\)/],
    [changed(genai, isGroup, withInput(7, 'attention_mask')), /computes its table of rotary positions/],
    [
      changed(
        exported(),
        ({ outputs }) => outputs[0] === 'present.1.key',
        (node) => ({ ...node, inputs: node.inputs.toReversed() }),
      ),
      /does not just put new positions after the old|'present.1.key'/,
    ],
    [
      changed(
        exported(),
        ({ op }) => op === 'Sigmoid',
        (node) => ({ ...node, op: 'DynamicQuantizeLinear' }),
      ),
      /rounds all rows to one scale/,
    ],
  ];
  for (const [graph, message] of cases) expect(() => liftAttention(graph)).toThrow(message);
});

test('a factor that comes after a mask is not taken for a scale', () => {
  const isMasking = ({ op, inputs }: Node): boolean => op === 'Softmax' && inputs.length === 1;
  const graph = exported();
  const b = createGraphBuilder({ from: graph });
  const twice = b.tensor('twice', [], Float32Array.of(2));
  const softmax = graph.nodes.find(isMasking)!;
  b.op('Mul', [softmax.inputs[0]!, twice], {}, 'doubled');
  const built = b.build();
  const nodes = built.nodes.map((node) => (node.name === softmax.name ? { ...node, inputs: ['doubled'] } : node));
  expect(() => liftAttention({ ...built, nodes })).toThrow(/scales what is masked already/);
});

test('a probe of masks reads no token and no cache, and gives one tensor for each mask', () => {
  const graph = exported({ mask: 'where', scale: 'roots' });
  const probe = probeMasks(graph, liftAttention(graph), 4)!;
  expect(probe.outputs).toHaveLength(3);
  expect(probe.graph.nodes.some(({ op }) => op === 'MatMul')).toBe(false);
  expect(probe.inputs.every((name) => ['input_ids', 'attention_mask', 'position_ids'].includes(name))).toBe(true);
  const genai = buildGenai(shape, {}, 1);
  expect(probeMasks(genai, liftAttention(genai), 4)).toBeUndefined();
});

test('a probe of positions runs nothing that is made of tokens', () => {
  const probe = probePositions(exported({ positions: 'mask', rotary: 'table' }))!;
  expect(probe.graph.nodes.some(({ op }) => op === 'MatMul' || op === 'Softmax')).toBe(false);
  expect(probe.graph.outputs.every(({ dtype }) => dtype === DTYPE.int64)).toBe(true);
});
