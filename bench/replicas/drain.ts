/**
 * A rolling restart by SIGTERM under load: half of the callers resume, the others have neither a key nor a second try
 * once their answer has begun, as most clients have today.
 */
import type { BenchRun } from '../bench.ts';
import { until } from '../../test/processes/child.ts';
import { examine } from '../../test/replicas/examine.ts';
import { startLoad } from '../../test/replicas/load.ts';
import { MODEL } from '../../test/replicas/world.ts';
import { inReplicaWorld } from './shared.ts';

const STREAMS = 50;
const DEVICES = 12;
const TOKENS_MAX = 150;
const ROUNDS = 2;

export const measureDrain = (run: BenchRun): Promise<void> =>
  inReplicaWorld({ replicas: 3 }, async (world) => {
    await world.addDevices(DEVICES, { slots: 8, tokensPerSecond: 160 });
    await world.whole();
    const { keyId, ...door } = await world.newCaller();
    const load = startLoad({
      door,
      model: MODEL,
      streams: STREAMS,
      resuming: STREAMS / 2,
      tokensMax: TOKENS_MAX,
      name: 'drain',
    });
    await until(() => load.heard.length >= STREAMS, 'answers coming', 60_000);
    const ends: { code: number | null; tookMs: number }[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (const replica of world.replicas) {
        run.signal.throwIfAborted();
        ends.push(await replica.terminate());
        await replica.start();
        await until(() => world.front.ready().includes(replica.name), `${replica.name} being ready again`, 30_000);
      }
    }
    await world.whole();
    const { asked, failed, lost, wrong, bridged, gapMsMax } = await examine(world, keyId, await load.stop());
    const badEnds = ends.filter(({ code }) => code !== 0).length;
    run.record(
      'replicas.drain_failed',
      failed + lost,
      `${asked} requests of ${STREAMS} streams over ${ends.length} restarts, ${bridged} breaks bridged, longest gap ` +
        `${(gapMsMax / 1_000).toFixed(1)} s; a replica took at most ` +
        `${(Math.max(...ends.map(({ tookMs }) => tookMs)) / 1_000).toFixed(1)} s to end`,
      [...wrong, ...(badEnds === 0 ? [] : [`${badEnds} replicas did not end with code 0`])],
    );
  });
