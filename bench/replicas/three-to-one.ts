/**
 * What three replicas make of two cores, beside one: so many streams at once from devices that cost next to nothing, so
 * that the hubs are what the cores are busy with. Both worlds stand beside each other and are asked by turns.
 *
 * Callers and devices are spread evenly over the replicas and talk to them directly. Among equals a device of the same
 * replica is chosen, so few streams cross the bus.
 * One replica has no use for it. The peer is one process of the same hub with the same database and bus.
 */
import type { BenchRun } from '../bench.ts';
import { askHub, createConnections, type Ask } from '../ask.ts';
import { MODEL, type ReplicaWorld } from '../../test/replicas/world.ts';
import { median, rangeOf } from '../statistics.ts';
import { processorMsOf } from '../world.ts';
import { longSeed } from './long-seed.ts';
import { inReplicaWorld } from './shared.ts';

const STREAMS = 48;
const TOKENS = 200;
/** Three processes compile what is hot three times. */
const WARM_ROUNDS = 12;
const ROUNDS = 7;
const DEVICES = 12;
/** More than the cores can pass on: what comes out is what the hubs can do. */
const TOKENS_PER_SECOND = 4_000;

export const measureThreeToOne = (run: BenchRun): Promise<void> =>
  inReplicaWorld({ replicas: 3 }, (three) =>
    inReplicaWorld({ replicas: 1 }, async (one) => {
      for (const world of [three, one]) {
        await world.addDevices(DEVICES, { slots: STREAMS, tokensPerSecond: TOKENS_PER_SECOND, direct: world.replicas });
        await world.whole();
      }
      const ratios: number[] = [];
      const speeds: { three: number; one: number }[] = [];
      const busy: { three: number; one: number }[] = [];
      for (let round = 0; round < WARM_ROUNDS + ROUNDS; round++) {
        run.signal.throwIfAborted();
        const before = { three: hubMsOf(three), one: hubMsOf(one) };
        // Who begins is not always the same.
        const turns = round % 2 === 0 ? [three, one] : [one, three];
        const speedOf = new Map<ReplicaWorld, number>();
        for (const world of turns) speedOf.set(world, await tokensPerSecond(world, round));
        if (round < WARM_ROUNDS) continue;
        const speed = { three: speedOf.get(three) ?? 0, one: speedOf.get(one) ?? 0 };
        speeds.push(speed);
        ratios.push(speed.three / speed.one);
        busy.push({ three: hubMsOf(three) - before.three, one: hubMsOf(one) - before.one });
      }
      const of = (side: 'three' | 'one'): string => median(speeds.map((speed) => speed[side])).toFixed(0);
      const costOf = (side: 'three' | 'one'): string =>
        (median(busy.map((ms) => ms[side])) / (STREAMS * TOKENS)).toFixed(3);
      run.record(
        'replicas.three_to_one_ratio',
        median(ratios),
        `median of ${ROUNDS} rounds ${rangeOf(ratios)}; ${of('three')} of ${of('one')} tokens/s, ${STREAMS} streams ` +
          `of ${TOKENS} tokens, ${DEVICES} devices without an engine; processor time of hubs ${costOf('three')} and ` +
          `${costOf('one')} ms a token`,
      );
    }),
  );

const hubMsOf = (world: ReplicaWorld): number =>
  world.replicas.reduce((sum, replica) => sum + processorMsOf(replica.pid()), 0);

async function tokensPerSecond(world: ReplicaWorld, round: number): Promise<number> {
  const { key } = await world.newCaller();
  const connections = createConnections();
  try {
    const startedMs = performance.now();
    const answers = await Promise.all(
      Array.from({ length: STREAMS }, (_, stream) => {
        const url = world.replicas[stream % world.replicas.length]?.url() ?? '';
        const seed = longSeed(`Stream ${stream}.`, round, TOKENS);
        const ask: Ask = { model: MODEL, prompt: `Stream ${stream}.`, seed, tokensMax: TOKENS };
        return askHub({ url, key }, connections, ask);
      }),
    );
    const tookMs = performance.now() - startedMs;
    return (answers.reduce((sum, { tokens }) => sum + tokens, 0) * 1_000) / tookMs;
  } finally {
    connections.destroy();
  }
}
