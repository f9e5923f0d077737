/** The numbers of lending. Names and targets are fixed, so that figures of different days compare. */
import type { Metric } from '../bench.ts';

export const metrics: readonly Metric[] = [
  {
    metric: 'lender.yield_ms_p99',
    unit: 'ms',
    target: 250,
    wanted: 'at most',
    against: 'nothing: from what a person does at the machine to no processor used by the engine, at work each time',
  },
  {
    metric: 'lender.answer_moved_wrong',
    unit: 'answers',
    target: 0,
    wanted: 'at most',
    against: 'the uninterrupted answer of an engine driven directly: text, pieces, tokens, and exactness as told',
  },
];
