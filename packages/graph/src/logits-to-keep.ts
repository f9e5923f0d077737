/**
 * Newer exports ask how many of the last rows of logits they are to compute, in an input `num_logits_to_keep`; 0 keeps
 * them all, which is what transformers.js feeds. An engine reads the rows that it wants itself, so the input becomes
 * that constant, and the graph the same as one that was exported without it.
 */
import type { Dimension, Graph } from './graph.ts';
import { feedsOf, tensorOf } from './graph.ts';
import { DTYPE } from './dtypes.ts';

const NAME = 'num_logits_to_keep';

/** The same graph where it has no such input, or one that is no single int64. */
export function keepAllLogits(graph: Graph): Graph {
  const input = feedsOf(graph).find(({ name }) => name === NAME);
  if (input === undefined || input.dtype !== DTYPE.int64 || (input.dims ?? []).some((size) => !isOne(size)))
    return graph;
  const zero = tensorOf(
    NAME,
    (input.dims ?? []).map(() => 1),
    new BigInt64Array(1),
  );
  return {
    ...graph,
    inputs: graph.inputs.filter(({ name }) => name !== NAME),
    tensors: new Map([...graph.tensors, [NAME, zero]]),
  };
}

const isOne = (size: Dimension): boolean => size === 1;
