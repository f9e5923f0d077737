/** The numbers of people, policy, audit and privacy. Names and targets are fixed, so that figures of days compare. */
import type { Metric } from '../bench.ts';

export const metrics: readonly Metric[] = [
  {
    metric: 'people.decision_cached_us_p50',
    unit: 'µs',
    target: 20,
    wanted: 'at most',
    against: 'nothing: one decision that was made before under the same version, 20 policies',
  },
  {
    metric: 'people.decision_us_p50',
    unit: 'µs',
    target: 150,
    wanted: 'at most',
    against: 'nothing: one decision that Cedar has to make, 20 policies',
  },
  {
    metric: 'people.revoke_ms_p99',
    unit: 'ms',
    target: 1_000,
    wanted: 'at most',
    against: 'nothing: from the sending of the word to the last byte of its streams on three replicas, the bus cut',
  },
  {
    metric: 'people.routes_without_cell',
    unit: 'routes',
    target: 0,
    wanted: 'at most',
    against: 'all routes of a hub × all roles, each of which was asked for',
  },
  {
    metric: 'people.sealed_stream_ratio',
    unit: 'ratio',
    target: 0.9,
    wanted: 'at least',
    against: 'the same stream of the same device, not sealed',
  },
  {
    metric: 'people.verify_cost_ratio',
    unit: 'ratio',
    target: 0.5,
    wanted: 'at most',
    against: 'the same encrypted answer made again by the second device, the bundled model',
  },
  {
    metric: 'people.verify_cost_ratio_134m_q4',
    unit: 'ratio',
    target: 0.5,
    wanted: 'at most',
    against: 'the same, of 134 million random parameters in 4 bits',
  },
  {
    metric: 'people.sealed_traces',
    unit: 'pieces',
    target: 0,
    wanted: 'at most',
    against: 'a prompt that is not sealed, of which the same search finds pieces',
  },
  {
    metric: 'people.audit_append_per_s',
    unit: 'entries/s',
    target: 10_000,
    wanted: 'at least',
    against: 'nothing: entries of the audit log in batches, each batch on the disk before the next',
  },
  {
    metric: 'people.spend_capped_per_s',
    unit: 'requests/s',
    target: 500,
    wanted: 'at least',
    against: 'nothing: requests of a capped community that three replicas over PostgreSQL begin and let go',
  },
];
