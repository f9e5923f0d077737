/** The numbers of replicas. Names and targets are fixed, so that figures of different days can be compared. */
import type { Metric } from '../bench.ts';

export const metrics: readonly Metric[] = [
  {
    metric: 'replicas.three_to_one_ratio',
    unit: 'ratio',
    target: 0.85,
    wanted: 'at least',
    against: 'one replica with the same bus and database, the same callers and devices, in turns',
  },
  {
    metric: 'replicas.cross_token_ms',
    unit: 'ms',
    target: 1,
    wanted: 'at most',
    against: 'the same device and caller with the caller at the replica of the device, in turns',
  },
  {
    metric: 'replicas.drain_failed',
    unit: 'requests',
    target: 0,
    wanted: 'at most',
    against: 'nothing: requests under way or asked while all replicas restart one after the other',
  },
  {
    metric: 'replicas.reconnect20k_s',
    unit: 's',
    target: 30,
    wanted: 'at most',
    against: 'nothing: from the kill -9 of all replicas until 20,000 devices are connected again',
  },
  {
    metric: 'replicas.reconnect_failed_requests',
    unit: 'requests',
    target: 0,
    wanted: 'at most',
    against: 'nothing: requests of callers who ask meanwhile, and try again as an SDK does',
  },
  {
    metric: 'replicas.idle_device_kb',
    unit: 'kB',
    target: 20,
    wanted: 'at most',
    against: 'the same hub with fewer devices: the quotient of the differences, after garbage collection',
  },
  {
    metric: 'replicas.hub_destroyed_devices_moved',
    unit: 'share',
    target: 1,
    wanted: 'at least',
    against: 'the devices of a hub of which nothing is left but its export',
  },
];
