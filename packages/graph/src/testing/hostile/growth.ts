/** Sizes that lie, and constants that would fill the memory of a device. */
import type { createGraphBuilder } from '../../builder.ts';
import { DTYPE } from '../../dtypes.ts';
import { tensorOf, type Graph, type Tensor } from '../../graph.ts';
import { EXTERNAL, harmlessGraph, changed, weight, external, before, block, branching, type Case } from './base.ts';

export const sizes = (): Case[] => [
  ['past-the-end', 'to read past the end of a file', /lies at bytes 937 to 1001/, external({ offset: 937 })],
  ['far-past-the-end', 'an offset that wraps around', /lies at bytes/, external({ offset: 2 ** 53 - 1 })],
  ['short-file', 'bytes that its file has not', /lies at bytes/, external({ bytes: 4_096, offset: 0 }, [32, 32])],
  ['short-bytes', 'dims that its bytes do not fill', /needs 64 bytes and has 60/, weight({ data: new Uint8Array(60) })],
  ['long-bytes', 'bytes beyond its dims', /needs 64 bytes and has 68/, weight({ data: new Uint8Array(68) })],
  ['short-external', 'dims beyond its part of the file', /needs 64 bytes and has 63/, external({ bytes: 63 })],
  ['negative-dim', 'a negative size', /has dims \[4, -4\]/, weight({ dims: [4, -4] })],
  ['two-negative-dims', 'two negative sizes, whose product fits', /has dims \[-4, -4\]/, weight({ dims: [-4, -4] })],
  [
    'huge-dims',
    'sizes whose product overflows',
    /has dims/,
    weight({ dims: [2 ** 32, 2 ** 32], data: new Uint8Array(0) }),
  ],
  ['hidden-dim', 'a huge size behind a zero', /has dims/, weight({ dims: [0, 2 ** 41], data: new Uint8Array(0) })],
  [
    'rank',
    'more dimensions than kernels know',
    /rank 9/,
    weight({ dims: new Array<number>(9).fill(1), data: new Uint8Array(4) }),
  ],
  [
    'value-rank',
    'a value of more dimensions',
    /rank 40/,
    changed({ values: [{ name: 'x', dtype: 1, dims: new Array<string>(40).fill('n') }] }),
  ],
  [
    'value-dims',
    'a value of huge sizes',
    /has dims/,
    changed({ values: [{ name: 'x', dtype: 1, dims: [2 ** 40, 2 ** 40] }] }),
  ],
  ['element-type', 'an element type that there is not', /element type 99/, weight({ dtype: 99 })],
  ['value-type', 'a value of such', /element type 99/, changed({ values: [{ name: 'x', dtype: 99, dims: [] }] })],
  [
    'no-tensor',
    'a value of no type',
    /is no tensor/,
    changed({ values: [{ name: 'x', dtype: 0, dims: undefined, unknownType: [Uint8Array.of(0x32, 0)] }] }),
  ],
  ['sparse', 'a sparse tensor', /sparse/, changed({ sparseTensors: [new Uint8Array(4)] })],
  ['overlap', 'a file many times over', /more than 4 times over/, overlapping()],
];

/** Eighty tensors that lie upon each other. */
function overlapping(): Graph {
  const tensors = Array.from({ length: 80 }, (_, i): [string, Tensor] => [
    i === 0 ? 'w' : `w${i}`,
    { ...EXTERNAL, name: i === 0 ? 'w' : `w${i}` },
  ]);
  return { ...harmlessGraph(EXTERNAL), tensors: new Map(tensors) };
}
const HUGE = 2 ** 40;
const ones = (b: ReturnType<typeof createGraphBuilder>, elements: number): string =>
  b.tensor(`ones_${elements}`, [elements, 1], new Float32Array(elements));

export const growth = (): Case[] => [
  [
    'constant-of-shape',
    'petabytes of zeros',
    /makes \d+ elements/,
    before((b) => b.op('ConstantOfShape', [b.ints(HUGE, 1_000)])),
  ],
  ['constant-negative', 'a negative shape', /cannot be told/, before((b) => b.op('ConstantOfShape', [b.ints(-1)]))],
  [
    'constant-made',
    'a shape made of shapes',
    /makes \d+ elements/,
    before((b) =>
      b.op('ConstantOfShape', [
        b.op('Concat', [b.op('Mul', [b.ints(2 ** 20), b.ints(2 ** 20)]), b.ints(64)], { axis: 0 }),
      ]),
    ),
  ],
  [
    'constant-untold',
    'a shape that cannot be followed',
    /cannot be told/,
    before((b) => b.op('ConstantOfShape', [b.op('Cast', [b.op('Exp', [b.float(50)])], { to: DTYPE.int64 })])),
  ],
  ['range', 'to count for ever', /makes \d+ elements/, before((b) => b.op('Range', [b.int(0), b.int(HUGE), b.int(1)]))],
  [
    'range-endless',
    'to count by nothing',
    /cannot be told/,
    before((b) => b.op('Range', [b.int(0), b.int(HUGE), b.int(0)])),
  ],
  ['expand', 'to spread a constant', /asks for \d+ elements/, before((b) => b.op('Expand', ['w', b.ints(HUGE, 4, 4)]))],
  [
    'expand-input',
    'to spread what it is given',
    /asks for \d+ elements/,
    before((b) => b.op('Expand', ['x', b.ints(HUGE, 2, 4)])),
  ],
  [
    'tile',
    'to repeat what it is given',
    /asks for \d+ elements/,
    before((b) => b.op('Tile', ['x', b.ints(2 ** 20, 2 ** 20)])),
  ],
  ['pad', 'to pad what it is given', /asks for \d+ elements/, before((b) => b.op('Pad', ['x', b.ints(0, 0, 0, HUGE)]))],
  [
    'one-hot',
    'a vocabulary of all numbers',
    /asks for \d+ elements/,
    before((b) => b.op('OneHot', ['w', b.int(HUGE), b.tensor('off_on', [2], new Float32Array(2))])),
  ],
];

/** By two that are small, by many of them, and where nobody looks. */
export const combined = (): Case[] => [
  [
    'outer',
    'the product of two long vectors',
    /makes \d+ elements/,
    before((b) => {
      const long = ones(b, 65_536);
      b.op('Add', [long, b.op('Transpose', [long])]);
    }),
  ],
  [
    'outer-matmul',
    'the same by matrices',
    /makes \d+ elements/,
    before((b) => {
      const long = ones(b, 65_536);
      b.op('MatMul', [long, b.op('Transpose', [long])]);
    }),
  ],
  [
    'einsum',
    'the same by letters',
    /makes \d+ elements/,
    before((b) => {
      const long = ones(b, 65_536);
      b.op('Einsum', [long, long], { equation: 'ax,bx->ab' });
    }),
  ],
  [
    'doubling',
    'forty doublings',
    /makes? \d+ elements/,
    before((b) => {
      let name = 'w';
      for (let i = 0; i < 40; i++) name = b.op('Concat', [name, name], { axis: 0 });
    }),
  ],
  [
    'many',
    'many that are each allowed',
    /and those before it make/,
    before((b) => {
      for (let i = 0; i < 40; i++) b.op('ConstantOfShape', [b.ints(2 ** 27, 1)]);
    }),
  ],
  [
    'in-a-branch-growth',
    'a constant in a branch',
    /makes \d+ elements/,
    branching({
      ...block('ConstantOfShape', {}, ['v']),
      tensors: new Map([['v', tensorOf('v', [1], BigInt64Array.of(2n ** 40n))]]),
    }),
  ],
  [
    'old-input',
    'a shape that is an input in old files',
    /makes \d+ elements/,
    {
      ...before((b) => {
        b.op('ConstantOfShape', [b.tensor('s', [1], BigInt64Array.of(2n ** 40n))]);
        b.input('s', DTYPE.int64, [1]);
      }),
      irVersion: 3,
    },
  ],
];
