/** Loops without end, nodes that do not hang together, attributes that kernels trip over. */
import { DTYPE } from '../../dtypes.ts';
import type { Block, Graph, Node } from '../../graph.ts';
import { LIMITS } from '../../limits.ts';
import {
  harmlessGraph,
  changed,
  nodeOf,
  withAttribute,
  before,
  block,
  asGraph,
  branching,
  loopBody,
  looping,
  nested,
  type Case,
} from './base.ts';

export const loops = (): Case[] => [
  ['endless', 'a loop without a number of rounds', /no constant number/, looping(undefined)],
  ['rounds-fed', 'as many rounds as an input says', /no constant number/, looping('n')],
  ['rounds', 'to go round for years', /go round/, looping(2 ** 40)],
  ['rounds-nested', 'a few rounds within a few rounds', /go round/, looping(1_000, loopBody([loopNode()]))],
  ['nesting', 'branches within branches', /nested deeper/, branching(nested(12))],
  [
    'graph-elsewhere',
    'a graph where none belongs',
    /only branches and loops/,
    withAttribute('body', asGraph(block('MatMul'))),
  ],
  [
    'graph-in-contrib',
    'a branch of another domain',
    /only branches and loops/,
    {
      ...changed({
        nodes: [
          {
            ...nodeOf(harmlessGraph()),
            op: 'Gelu',
            domain: 'com.microsoft',
            attributes: new Map([['body', asGraph(block('MatMul'))]]),
          },
        ],
      }),
    },
  ],
];

/** One that goes round as often as the loop that it is in. */
function loopNode(): Node {
  const node = looping(1, renamedBody()).nodes.find(({ op }) => op === 'Loop') as Node;
  return { ...node, inputs: ['rounds', 'go'] };
}

function renamedBody(): Block {
  const inner = loopBody();
  return {
    ...inner,
    nodes: [{ ...(inner.nodes[0] as Node), inputs: ['go2'], outputs: ['on2'] }],
    inputs: inner.inputs.map((input) => ({ ...input, name: `${input.name}2` })),
    outputs: inner.outputs.map((output) => ({ ...output, name: `${output.name}2` })),
  };
}
/** 4-bit weights whose tensors are other than the node says. */
function packed(attributes: Record<string, number>, shorter: 'values' | 'scales' | 'zeros' | '' = ''): Graph {
  return before((b) => {
    const less = (name: string): number => (shorter === name ? 1 : 0);
    const values = b.tensor('values', [4 - less('values'), 2, 16], new Uint8Array((4 - less('values')) * 32));
    const scales = b.tensor('scales', [8 - less('scales')], new Float32Array(8 - less('scales')));
    const zeros = b.tensor('zeros', [4 - less('zeros')], new Uint8Array(4 - less('zeros')));
    const x = b.input('packed_x', DTYPE.float32, [1, 64]);
    b.op('com.microsoft.MatMulNBits', [x, values, scales, zeros], {
      K: 64,
      N: 4,
      bits: 4,
      block_size: 32,
      ...attributes,
    });
  });
}

/** The harmless one of them. */
export const packedGraph = (): Graph => packed({});

/** Attention by widths of queries, keys and values that its weights, 8 rows of 24, may not have. */
function wide(widths: readonly number[], weights: 'held' | 'computed' = 'held'): Graph {
  return before((b) => {
    const held = b.tensor('qkv', [8, 24], new Float32Array(192));
    const inputs = [b.input('wide_x', DTYPE.float32, [1, 4, 8]), weights === 'held' ? held : b.op('Identity', [held])];
    b.op('com.microsoft.Attention', [...inputs, b.tensor('bias', [24], new Float32Array(24))], {
      num_heads: 2,
      qkv_hidden_sizes: widths,
    });
  });
}
export const wideGraph = (): Graph => wide([8, 8, 8]);

export const nodes = (): Case[] => [
  [
    'ghost',
    'to read what nothing computes',
    /reads 'ghost'/,
    changed({ nodes: [{ ...nodeOf(harmlessGraph()), inputs: ['x', 'ghost'] }] }),
  ],
  [
    'circle',
    'a circle',
    /reads 'b', which nothing before/,
    changed({
      nodes: [
        { ...nodeOf(harmlessGraph()), inputs: ['x', 'b'], outputs: ['y'] },
        { ...nodeOf(harmlessGraph()), inputs: ['x', 'y'], outputs: ['b'] },
      ],
    }),
  ],
  [
    'twice',
    'one name for two values',
    /computes 'y', which there is/,
    changed({ nodes: [nodeOf(harmlessGraph()), nodeOf(harmlessGraph())] }),
  ],
  [
    'shadow',
    'a branch that overwrites a weight',
    /computes 'w', which there is/,
    branching({ ...block('MatMul', { outputs: ['w'] }), outputs: [{ name: 'w', dtype: 1, dims: undefined }] }),
  ],
  ['no-output', 'an output that nothing computes', /nothing computes its output/, changed({ nodes: [] })],
  [
    'input-twice',
    'an input of two types',
    /an input twice/,
    changed({ inputs: [...harmlessGraph().inputs, { name: 'x', dtype: 7, dims: [] }] }),
  ],
  [
    'attribute-kind',
    'an attribute of another kind',
    /is of kind 13/,
    withAttribute('alpha', {
      kind: 'other',
      value: { name: 'alpha', type: 13, floats: [], ints: [], strings: [], tensors: [], graphs: [] },
    }),
  ],
  [
    'attribute-int',
    'a number beyond 32 bits',
    /beyond 32 bits/,
    withAttribute('pads', { kind: 'ints', value: [0, 2 ** 40] }, 'Conv'),
  ],
  [
    'attribute-negative',
    'a number below 32 bits',
    /beyond 32 bits/,
    withAttribute('axis', { kind: 'int', value: -(2n ** 63n) }, 'Softmax'),
  ],
  [
    'attribute-text',
    'a text of megabytes',
    /has 1048576 characters/,
    withAttribute('equation', { kind: 'string', value: 'a'.repeat(1_048_576) }, 'Einsum'),
  ],
];

export const packs = (): Case[] => [
  ['packed-values', 'packed weights that are too short', /needs 128 elements of 'values'/, packed({}, 'values')],
  ['packed-scales', 'scales that are too short', /needs 8 elements of 'scales'/, packed({}, 'scales')],
  ['packed-zeros', 'zero points that are too short', /needs 4 elements of 'zeros'/, packed({}, 'zeros')],
  ['packed-rows', 'more rows than there are', /needs 64\d* elements/, packed({ K: 320 })],
  ['packed-block', 'blocks of nothing', /blocks of 0/, packed({ block_size: 0 })],
  ['wide', 'widths beyond the weights', /has widths 8, 8, 2000000000 of weights with 24/, wide([8, 8, 2e9])],
  ['wide-negative', 'widths below zero that add up', /has widths 40, -24, 8 of/, wide([40, -24, 8])],
  ['wide-computed', 'widths of weights that are not seen', /of weights with 0 columns/, wide([8, 8, 8], 'computed')],
  ['packed-bits', 'weights of no bits', /and 0 bits/, packed({ bits: 0 })],
];

/** Last of all, since it is large. */
export const tooMany = (): Case => [
  'nodes',
  'more nodes than anybody writes',
  /more than 200000 nodes/,
  changed({
    nodes: [
      nodeOf(harmlessGraph()),
      ...Array.from({ length: LIMITS.nodesMax }, (_, i): Node => {
        return { name: '', domain: '', op: 'Relu', inputs: ['y'], outputs: [`z${i}`], attributes: new Map() };
      }),
    ],
  }),
];
