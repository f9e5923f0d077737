/**
 * The bench of the way from a caller to a device and back: what hub, wire and device cost beside the engine alone, how
 * fast a cancel arrives, and what a caller sees when devices are killed.
 *
 * Two worlds, one after the other, so that no device waits idle beside another's measurement.
 */
import type { Bench, BenchRun } from '../bench.ts';
import { bundledModel, fourBitModel, largeModel } from '../models.ts';
import { inWorld, type World } from '../world.ts';
import { measureCancels } from './cancels.ts';
import { measureFailovers } from './failovers.ts';
import { measureFirstTokens, measureStreamRatio, type StreamRatio } from './streams.ts';
import { measureManyStreams } from './many-streams.ts';
import { metrics } from './metrics.ts';

const LARGE = 'random-134m';
const SMALL = 'jacobean';
const FOUR_BIT = 'jacobean-4bit';

const streamMetrics = [
  'gateway.stream_ratio_3m',
  'gateway.ttft_added_ms',
  'gateway.streams64_ratio',
  'gateway.cancel_ms_p99',
  'gateway.stream_ratio_134m',
];
const failoverMetrics = ['gateway.failover_gap_ms_p99', 'gateway.failover_wrong'];

export const gateway: Bench = {
  metrics,
  measured:
    'Measured: answers asked of a hub over HTTP on loopback, made by devices in processes of their own, beside ' +
    'the same answers of the same engines without hub and wire, in turns within one run, every text compared; ' +
    'nothing on the way merges tokens.',
  async run(run) {
    await run.group(streamMetrics, () => {
      const options = { run, devices: 2, slots: 32, models: modelsFor(run) };
      return inWorld(options, (world) => measureStreams(run, world));
    });
    await run.group(failoverMetrics, () => {
      const options = { run, devices: 3, slots: 4, models: { [SMALL]: bundledModel(), [FOUR_BIT]: fourBitModel() } };
      return inWorld(options, (world) => measureFailovers(run, world, [SMALL, FOUR_BIT]));
    });
  },
};

function modelsFor(run: BenchRun): Record<string, string> {
  const isLarge = run.wants('gateway.stream_ratio_134m') || run.wants('gateway.cancel_ms_p99');
  return { [SMALL]: bundledModel(), ...(isLarge ? { [LARGE]: largeModel() } : {}) };
}

async function measureStreams(run: BenchRun, world: World): Promise<void> {
  const ratioOf = (plan: StreamRatio): Promise<void> =>
    run.group([plan.metric], () => measureStreamRatio(run, world, plan));
  await ratioOf({ metric: 'gateway.stream_ratio_3m', model: SMALL, tokens: 300, pairs: 11 });
  await run.group(['gateway.ttft_added_ms'], () => measureFirstTokens(run, world, SMALL));
  await run.group(['gateway.streams64_ratio'], () => measureManyStreams(run, world, SMALL));
  await ratioOf({ metric: 'gateway.stream_ratio_134m', model: LARGE, tokens: 40, pairs: 7 });
  await run.group(['gateway.cancel_ms_p99'], () =>
    measureCancels(run, world, [
      { model: SMALL, cancels: 80, tokensMax: 200 },
      { model: LARGE, cancels: 40, tokensMax: 12 },
    ]),
  );
}
