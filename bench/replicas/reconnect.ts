/**
 * The storm: 20,000 devices lose all replicas in one moment and come back, and callers ask meanwhile.
 *
 * Every replica is killed and started again at once. The time is from the kill until every device has been welcomed
 * again, so the start of the hubs is in it. Callers try again as an SDK does; the devices that answer them are in the
 * same storm.
 */
import { until } from '../../test/processes/child.ts';
import { examine } from '../../test/replicas/examine.ts';
import { startLoad } from '../../test/replicas/load.ts';
import { MODEL } from '../../test/replicas/world.ts';
import type { BenchRun } from '../bench.ts';
import { enrolLight, startLight } from './light.ts';
import { inReplicaWorld, needOpenFiles } from './shared.ts';

const DEVICES = 20_000;
const FIRST_MS_MAX = 300_000;
const AGAIN_MS_MAX = 120_000;
const STREAMS = 10;
const TOKENS_MAX = 60;

export async function measureReconnect(run: BenchRun): Promise<void> {
  // Should one replica have to take all of them.
  needOpenFiles(DEVICES);
  await inReplicaWorld({ replicas: 3 }, async (world) => {
    const choice = { name: 'storm', count: DEVICES };
    await enrolLight(world.database, choice);
    const urls = world.replicas.map((replica) => replica.url());
    const startedMs = performance.now();
    const light = await startLight(choice, urls);
    try {
      await until(() => light.connected() === DEVICES, `${DEVICES} devices being connected`, FIRST_MS_MAX);
      run.say(`${DEVICES} devices connected after ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`);
      run.signal.throwIfAborted();
      const { keyId, ...door } = await world.newCaller();
      const load = startLoad({ door, model: MODEL, streams: STREAMS, tokensMax: TOKENS_MAX, name: 'storm' });
      await until(() => load.heard.length >= 2 * STREAMS, 'answers coming', 60_000);
      const putOff = light.putOff();
      const killedMs = performance.now();
      await Promise.all(world.replicas.map((replica) => replica.kill()));
      await until(() => light.connected() === 0, 'every device noticing', 30_000);
      await Promise.all(world.replicas.map((replica) => replica.start()));
      const upMs = performance.now() - killedMs;
      await until(() => light.connected() === DEVICES, 'every device being back', AGAIN_MS_MAX).catch(() => undefined);
      const back = light.connected();
      const tookMs = performance.now() - killedMs;
      const findings = await examine(world, keyId, await load.stop());
      const ended = light.ended();
      run.record(
        'replicas.reconnect20k_s',
        tookMs / 1_000,
        `replicas were up again after ${(upMs / 1_000).toFixed(1)} s; ${light.putOff() - putOff} dials were put off`,
        [
          ...(back === DEVICES ? [] : [`only ${back} devices came back`]),
          ...(ended.count === 0 ? [] : [`${ended.count} devices gave up: ${ended.why}`]),
        ],
      );
      run.record(
        'replicas.reconnect_failed_requests',
        findings.failed + findings.lost,
        `${findings.asked} requests of ${STREAMS} streams, ${findings.bridged} breaks bridged, longest gap ` +
          `${(findings.gapMsMax / 1_000).toFixed(1)} s`,
        [...Object.keys(findings.reasons).filter((why) => why.startsWith('failed')), ...findings.wrong],
      );
    } finally {
      await light.stop();
    }
  });
}
