/**
 * What a hub needs for a device that is connected and has nothing to do: resident memory with many devices less that
 * with a few, after garbage collection, over the devices between. The few take what is only needed once.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { until } from '../../test/processes/child.ts';
import type { Replica } from '../../test/replicas/replica.ts';
import type { BenchRun } from '../bench.ts';
import { inspectedEnv, residentAfterCollection } from './inspect.ts';
import { enrolLight, startLight } from './light.ts';
import { inReplicaWorld, needOpenFiles } from './shared.ts';

const FEW = 500;
const MANY = 5_000;
const CONNECTED_MS_MAX = 120_000;
/** Heartbeats come every five seconds: what they need is there by then. */
const SETTLE_MS = 12_000;

export async function measureIdle(run: BenchRun): Promise<void> {
  needOpenFiles(MANY + FEW + 1_000);
  await inReplicaWorld({ replicas: 1, env: inspectedEnv() }, async (world) => {
    const replica = world.replicas[0] as Replica;
    const choices = [
      { name: 'few', count: FEW },
      { name: 'rest', count: MANY - FEW },
    ] as const;
    for (const choice of choices) await enrolLight(world.database, choice);
    const stops = [await startLight(choices[0], [replica.url()])];
    try {
      const connected = (): number => stops.reduce((sum, light) => sum + light.connected(), 0);
      await until(() => connected() === FEW, `${FEW} devices being connected`, CONNECTED_MS_MAX);
      await pause(SETTLE_MS);
      const before = await residentAfterCollection(replica.said());
      stops.push(await startLight(choices[1], [replica.url()]));
      await until(() => connected() === MANY, `${MANY} devices being connected`, CONNECTED_MS_MAX);
      await pause(SETTLE_MS);
      run.signal.throwIfAborted();
      const after = await residentAfterCollection(replica.said());
      const mb = (bytes: number): string => (bytes / 1e6).toFixed(0);
      run.record(
        'replicas.idle_device_kb',
        (after - before) / (MANY - FEW) / 1_000,
        `${mb(before)} MB resident with ${FEW} devices, ${mb(after)} MB with ${MANY}, each with a heartbeat every 5 s`,
      );
    } finally {
      await Promise.all(stops.map((light) => light.stop()));
    }
  });
}
