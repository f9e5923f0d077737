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
  {
    metric: 'lender.foreground_slowdown_pct',
    unit: '%',
    target: 2,
    wanted: 'at most',
    against:
      'the same loop beside the same processes standing still, in pairs; Balanced; 95 % upper bound of the worse',
  },
  {
    metric: 'lender.background_slowdown_pct',
    unit: '%',
    wanted: 'at most',
    against: 'the same with Dedicated, which works on while its lender does',
  },
  {
    metric: 'lender.idle_cpu_pct',
    unit: '%',
    target: 0.5,
    wanted: 'at most',
    against: 'nothing: of one processor, all processes of a device that has nothing to do',
  },
  {
    metric: 'lender.idle_rss_mb',
    unit: 'MB',
    target: 120,
    wanted: 'at most',
    against: 'nothing: resident memory of the agent',
  },
  {
    metric: 'lender.flaps',
    unit: 'flaps',
    target: 0,
    wanted: 'at most',
    against: 'nothing: pauses and resumes undone within a minute, where what is true would have kept them',
  },
];
