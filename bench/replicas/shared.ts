/** What the measurements of replicas have in common: their world, and what is said of missing servers and limits. */
import { execFileSync } from 'node:child_process';
import { createReplicaWorld, type ReplicaWorld, type WorldOptions } from '../../test/replicas/world.ts';

/** A world for as long as `measure` takes. Throws where PostgreSQL or NATS is missing. */
export async function inReplicaWorld<Result>(
  options: WorldOptions,
  measure: (world: ReplicaWorld) => Promise<Result>,
): Promise<Result> {
  const world = await createReplicaWorld(options);
  if (world === undefined) throw new Error('PostgreSQL and NATS are needed: apt-get install postgresql nats-server');
  // However the bench ends: replicas and devices stop with this process, these two with their folders before it.
  try {
    return await measure(world);
  } finally {
    await world.end();
  }
}

/** Open files that a process of ours may have. Throws, with what to do, when they are fewer than `needed`. */
export function needOpenFiles(needed: number): void {
  const said = execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim();
  if (said === 'unlimited' || Number(said) >= needed) return;
  throw new Error(
    `${needed} open files are needed in one process and ${said} are allowed; say ulimit -n ${needed} first, ` +
      'as root or within the hard limit (ulimit -Hn)',
  );
}
