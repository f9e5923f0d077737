/** The numbers of the gateway. Names and targets are fixed, so that figures of different days can be compared. */
import type { Metric } from '../bench.ts';

const whole = 'the uninterrupted answer of an engine driven by its parent, same seed';
const engines = 'the same engine processes, threads and work, driven by their parent: no hub, no device, no wire';
const atLeast = (metric: string, target: number, against: string): Metric => ({
  metric,
  unit: 'ratio',
  target,
  wanted: 'at least',
  against,
});
const atMost = (metric: string, target: number, unit: string, against: string): Metric => ({
  metric,
  unit,
  target,
  wanted: 'at most',
  against,
});

export const metrics: readonly Metric[] = [
  atLeast('gateway.stream_ratio_134m', 0.95, engines),
  atLeast('gateway.stream_ratio_3m', 0.75, engines),
  atMost('gateway.ttft_added_ms', 5, 'ms', engines),
  atLeast('gateway.streams64_ratio', 0.9, engines),
  atMost('gateway.cancel_ms_p99', 200, 'ms', 'the moment the caller closed its socket'),
  atMost('gateway.failover_gap_ms_p99', 1_000, 'ms', 'nothing: the longest pause between two pieces of an answer'),
  atMost('gateway.failover_wrong', 0, 'answers', whole),
];
