/**
 * The seeds that `npm test` runs, in two halves for two cores. A seed that ever failed stays, with what it found.
 */

export interface FailedSeed {
  readonly seed: number;
  readonly devices: number;
  readonly virtualMinutes: number;
  readonly found: string;
}

/** Seeds draw other lots when the dice change; then these are seeds like others, and do no harm. */
export const FAILED_SEEDS: readonly FailedSeed[] = [
  { seed: 1, devices: 200, virtualMinutes: 1, found: 'exact: true for an answer that another class only ended' },
  {
    seed: 2,
    devices: 200,
    virtualMinutes: 1,
    found: 'tokens of a batch that the disk refused were not journalled again',
  },
  { seed: 3, devices: 200, virtualMinutes: 1, found: 'the answers of a revoked key went on' },
  { seed: 5, devices: 200, virtualMinutes: 1, found: 'the lease of the last of all attempts was never taken back' },
  { seed: 7, devices: 200, virtualMinutes: 1, found: 'a burst filled the queue to twice its bound' },
  { seed: 42, devices: 200, virtualMinutes: 1, found: 'slots that routing would not use counted as free' },
  { seed: 7, devices: 60, virtualMinutes: 1, found: 'a device that was revoked in mid-handshake stayed' },
  {
    seed: 117,
    devices: 200,
    virtualMinutes: 1,
    found: 'a hub that stopped did not write the ends that a disk had refused before',
  },
];

/** What the others run: 200 devices, and so much virtual time for faults. */
export const VIRTUAL_MINUTES = 0.75;

const failedAtFullSize = FAILED_SEEDS.filter(({ devices }) => devices === 200).length;

/** Fifty worlds of full size, with those that failed and run for longer. */
export const SEEDS: readonly number[] = Array.from({ length: 50 - failedAtFullSize }, (_, index) => 101 + index);

/** Worlds of two to four replicas. */
export const REPLICA_SEEDS: readonly number[] = Array.from({ length: 20 }, (_, index) => 1 + index);

export const FAILED_REPLICA_SEEDS: readonly (FailedSeed & { readonly replicas: number })[] = [
  {
    seed: 5,
    devices: 20,
    replicas: 3,
    virtualMinutes: 1,
    found: 'what a caller had beyond the journal was made anew by another class',
  },
  { seed: 37, devices: 20, replicas: 3, virtualMinutes: 1, found: 'an answer that ended before what its caller had' },
  { seed: 40, devices: 20, replicas: 3, virtualMinutes: 1, found: 'a list of models that the bus lost' },
];
