/** Restores an archive, told in one JSON argument, and kills itself in the middle as a power cut would. */
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { restore, type RestoreOptions } from '../restore.ts';

const given = JSON.parse(process.argv[2] ?? '{}') as Pick<RestoreOptions, 'file' | 'place' | 'quotaBytes'>;
await restore({
  ...given,
  kind: 'backup',
  clock: systemClock,
  crypto: nodeCrypto,
  random: nodeRandom,
  signal: new AbortController().signal,
  onProgress(step, done, total) {
    if (step === 'restoring' && done > total / 2) process.kill(process.pid, 'SIGKILL');
  },
});
