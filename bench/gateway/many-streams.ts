/**
 * 64 streams at once over two devices, beside the same 64 on two engines of the same kind without hub and wire.
 *
 * All streams of a round begin together; its speed is all their tokens over the time until the last has ended. The
 * caller runs on the same cores as everything else, so what it takes is told beside the figure.
 */
import type { Engine } from '@idlewild/engine';
import type { BenchRun } from '../bench.ts';
import { median, rangeOf } from '../statistics.ts';
import { enginePidsOf, processorMsOf, type World } from '../world.ts';
import { askEngine, askHub, createConnections, textOf, type Answered, type Ask } from '../ask.ts';

const STREAMS = 64;
const TOKENS = 128;
const ROUNDS = 3;

interface Round {
  readonly tokensPerSecond: number;
  readonly answers: readonly PromiseSettledResult<Answered>[];
}

export async function measureManyStreams(run: BenchRun, world: World, model: string): Promise<void> {
  run.say(`gateway.streams64_ratio: ${ROUNDS} rounds of ${STREAMS} streams of ${TOKENS} tokens on each side`);
  const engines = await Promise.all(world.devices.map(() => world.openEngine(model)));
  const connections = createConnections();
  const speeds: { bare: number; through: number }[] = [];
  const shares: Shares[] = [];
  let failures = 0;
  let differing = 0;
  try {
    for (let round = 0; round <= ROUNDS; round++) {
      run.signal.throwIfAborted();
      const asks = Array.from({ length: STREAMS }, (_, index): Ask => ({
        model,
        prompt: `Scene ${index}.\n\n`,
        seed: round * STREAMS + index,
        tokensMax: TOKENS,
      }));
      const bare = await timed(asks, (ask, index) => askEngine(engines[index % engines.length] as Engine, ask));
      const before = spentBy(world);
      const through = await timed(asks, (ask) => askHub(world, connections, ask));
      failures += through.answers.filter(({ status }) => status === 'rejected').length;
      differing += through.answers.filter((answer, index) => differs(answer, bare.answers[index])).length;
      if (round === 0) continue; // Warms what is lazy.
      speeds.push({ bare: bare.tokensPerSecond, through: through.tokensPerSecond });
      shares.push(sharesOf(before, spentBy(world)));
    }
  } finally {
    connections.destroy();
    await Promise.all(engines.map((engine) => engine.close()));
  }
  const ratios = speeds.map(({ bare, through }) => through / bare);
  const of = (side: 'bare' | 'through'): string => median(speeds.map((speed) => speed[side])).toFixed(0);
  const share = (name: keyof Shares): string => `${(median(shares.map((shared) => shared[name])) * 100).toFixed(0)} %`;
  const faults = [
    ...(failures === 0 ? [] : [`${failures} streams failed`]),
    ...(differing === 0 ? [] : [`${differing} streams gave another text than their engine alone`]),
  ];
  run.record(
    'gateway.streams64_ratio',
    median(ratios),
    `${model}, median of ${ROUNDS} rounds ${rangeOf(ratios)}; ` +
      `${of('through')} of ${of('bare')} tokens/s${failures === 0 ? ', no failures' : ''}; of the processor time ` +
      `engines took ${share('engines')}, devices ${share('devices')}, the hub ${share('hub')}, ` +
      `the caller ${share('caller')}`,
    faults,
  );
}

async function timed(asks: readonly Ask[], answer: (ask: Ask, index: number) => Promise<Answered>): Promise<Round> {
  const startedMs = performance.now();
  const answers = await Promise.allSettled(asks.map(answer));
  const tookMs = performance.now() - startedMs;
  const tokens = answers.reduce((sum, settled) => sum + (settled.status === 'fulfilled' ? settled.value.tokens : 0), 0);
  return { tokensPerSecond: (tokens * 1_000) / tookMs, answers };
}

const differs = (through: PromiseSettledResult<Answered>, bare: PromiseSettledResult<Answered> | undefined): boolean =>
  through.status === 'fulfilled' && (bare?.status !== 'fulfilled' || textOf(through.value) !== textOf(bare.value));

interface Shares {
  readonly engines: number;
  readonly devices: number;
  readonly hub: number;
  readonly caller: number;
}

/** Processor time so far, in milliseconds. */
function spentBy(world: World): Shares {
  const { user, system } = process.cpuUsage();
  const devices = world.devices.map(({ pid }) => pid);
  const sum = (pids: readonly number[]): number => pids.reduce((total, pid) => total + processorMsOf(pid), 0);
  return {
    engines: sum(devices.flatMap(enginePidsOf)),
    devices: sum(devices),
    hub: processorMsOf(world.hubPid),
    caller: (user + system) / 1_000,
  };
}

function sharesOf(before: Shares, after: Shares): Shares {
  const sum = ({ engines, devices, hub, caller }: Shares): number => engines + devices + hub + caller;
  const all = Math.max(1, sum(after) - sum(before));
  const share = (name: keyof Shares): number => (after[name] - before[name]) / all;
  return { engines: share('engines'), devices: share('devices'), hub: share('hub'), caller: share('caller') };
}
