/** What the runtime says of operators that are no use on processors: it has them by name, and no kernel for them. */
import { OPERATORS, createGraphBuilder, writeGraph } from '@idlewild/graph';
import { expect, test } from 'vitest';
import { openOrtSession } from './ort-session.ts';

const [FLOAT, INT32, INT64] = [1, 6, 7];
type Input = readonly [dtype: number, dims: readonly number[]];

interface Node {
  readonly inputs: readonly Input[];
  readonly attributes?: Readonly<Record<string, number>>;
  readonly rank: number;
}
const of = (...dims: readonly number[]): Input => [FLOAT, dims];
const FOR_GRAPHICS: Readonly<Record<string, Node>> = {
  BiasAdd: { inputs: [of(1, 2, 320), of(320), of(1, 2, 320)], rank: 3 },
  BiasSplitGelu: { inputs: [of(1, 2, 2_560), of(2_560)], rank: 3 },
  GemmFastGelu: { inputs: [of(2, 4), of(4, 4)], rank: 2 },
  PackedAttention: {
    inputs: [of(4, 8), of(8, 24), of(24), [INT32, [1, 4]], [INT32, [2]]],
    attributes: { num_heads: 2 },
    rank: 2,
  },
  RelativePositionBias: { inputs: [of(32, 2), [INT64, [1]], [INT64, [1]]], attributes: { max_distance: 128 }, rank: 4 },
};

test.each(Object.entries(FOR_GRAPHICS))(
  '%s has no kernel for processors, and is not on the table',
  async (op, node) => {
    const { inputs, attributes = {}, rank } = node;
    const b = createGraphBuilder();
    const names = inputs.map(([dtype, dims], i) => b.input(`x${i}`, dtype, dims));
    b.node(`com.microsoft.${op}`, names, attributes, ['y']);
    b.output('y', FLOAT, ['a', 'b', 'c', 'd'].slice(0, rank));
    await expect(openOrtSession(writeGraph(b.build()), { threads: 1 })).rejects.toThrow(
      'Could not find an implementation',
    );
    expect(OPERATORS.get('com.microsoft')?.has(op)).toBe(false);
  },
);
