/** The numbers of serving many callers. Names and targets are fixed, so that figures of different days compare. */
import type { Metric } from '../bench.ts';

export const metrics: readonly Metric[] = [
  {
    metric: 'serve.batch8_ratio_134m_q4',
    unit: 'ratio',
    target: 2.5,
    wanted: 'at least',
    against: 'one stream on the same device, in turns',
  },
  {
    metric: 'serve.prefix_ttft_ratio',
    unit: 'ratio',
    target: 0.3,
    wanted: 'at most',
    against: 'the same second turn asked by a caller of whom nothing is kept',
  },
  {
    metric: 'serve.prefill_stall_ms_p99',
    unit: 'ms',
    target: 50,
    wanted: 'at most',
    against: 'nothing: the pauses of a stream while the device reads the long prompts of others',
  },
  {
    metric: 'serve.json_valid',
    unit: 'share',
    target: 1,
    wanted: 'at least',
    against: 'JSON.parse, and the schema where one was asked for',
  },
  {
    metric: 'serve.json_overhead',
    unit: 'ratio',
    target: 1.15,
    wanted: 'at most',
    against: 'time per token of the same model without a form, in turns',
  },
  {
    metric: 'serve.peer_fetch_hub_bytes_ratio',
    unit: 'ratio',
    target: 0.3,
    wanted: 'at most',
    against: 'all bytes of blobs that ten devices fetched',
  },
  {
    metric: 'serve.ttft200_ms_p50',
    unit: 'ms',
    wanted: 'at most',
    against: 'nothing: 200 streams asked for within a second',
  },
  {
    metric: 'serve.ttft200_ms_p99',
    unit: 'ms',
    wanted: 'at most',
    against: 'nothing: 200 streams asked for within a second',
  },
];
