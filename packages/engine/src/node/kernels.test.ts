/** What the runtime says of operators that are no use on processors: it has them by name, and no kernel for them. */
import { OPERATORS, createGraphBuilder, writeGraph } from '@idlewild/graph';
import { expect, test } from 'vitest';
import { openOrtSession } from './ort-session.ts';

const [FLOAT, INT32, INT64] = [1, 6, 7];
type Input = readonly [dtype: number, dims: readonly number[]];

const FOR_GRAPHICS: Readonly<Record<string, readonly [inputs: readonly Input[], attributes: Record<string, number>]>> =
  {
    BiasAdd: [
      [
        [FLOAT, [1, 2, 320]],
        [FLOAT, [320]],
        [FLOAT, [1, 2, 320]],
      ],
      {},
    ],
    BiasSplitGelu: [
      [
        [FLOAT, [1, 2, 2_560]],
        [FLOAT, [2_560]],
      ],
      {},
    ],
    GemmFastGelu: [
      [
        [FLOAT, [2, 4]],
        [FLOAT, [4, 4]],
      ],
      {},
    ],
    PackedAttention: [
      [
        [FLOAT, [4, 8]],
        [FLOAT, [8, 24]],
        [FLOAT, [24]],
        [INT32, [1, 4]],
        [INT32, [2]],
      ],
      { num_heads: 2 },
    ],
    RelativePositionBias: [
      [
        [FLOAT, [32, 2]],
        [INT64, [1]],
        [INT64, [1]],
      ],
      { max_distance: 128 },
    ],
  };

test.each(Object.entries(FOR_GRAPHICS))(
  '%s has no kernel for processors, and is not on the table',
  async (op, shape) => {
    const [inputs, attributes] = shape;
    const b = createGraphBuilder();
    const names = inputs.map(([dtype, dims], i) => b.input(`x${i}`, dtype, dims));
    b.node(`com.microsoft.${op}`, names, attributes, ['y']);
    b.output('y', FLOAT, ['rows']);
    await expect(openOrtSession(writeGraph(b.build()), { threads: 1 })).rejects.toThrow(
      'Could not find an implementation',
    );
    expect(OPERATORS.get('com.microsoft')?.has(op)).toBe(false);
  },
);
