/**
 * The bench of one device with many callers: what company costs a stream, what a kept conversation saves, what the
 * prompts of others hold up, what forms cost, and where ten devices get a model from.
 */
import type { Bench } from '../bench.ts';
import { bundledModel, largeFourBitModel } from '../models.ts';
import { inWorld } from '../world.ts';
import { measureBatch } from './batch.ts';
import { measureFirstTokens200 } from './crowd.ts';
import { measureForms } from './forms.ts';
import { metrics } from './metrics.ts';
import { measurePeerFetch } from './peers.ts';
import { measurePrefix } from './prefix.ts';
import { measureStalls } from './stalls.ts';

const LARGE = 'random-134m-4bit';
const SMALL = 'jacobean';

export const serve: Bench = {
  metrics,
  measured:
    'Measured: answers asked of a hub over HTTP on loopback, made by devices in processes of their own; nothing on ' +
    'the way merges tokens.',
  async run(run) {
    const large = ['serve.batch8_ratio_134m_q4', 'serve.prefix_ttft_ratio', 'serve.prefill_stall_ms_p99'];
    await run.group(large, () =>
      inWorld({ run, devices: 1, slots: 8, models: { [LARGE]: largeFourBitModel() } }, async (world) => {
        await run.group(['serve.batch8_ratio_134m_q4'], () => measureBatch(run, world, LARGE));
        await run.group(['serve.prefix_ttft_ratio'], () => measurePrefix(run, world, LARGE));
        await run.group(['serve.prefill_stall_ms_p99'], () => measureStalls(run, world, LARGE));
      }),
    );
    const small = ['serve.json_valid', 'serve.json_overhead', 'serve.ttft200_ms_p50', 'serve.ttft200_ms_p99'];
    await run.group(small, () =>
      inWorld({ run, devices: 2, slots: 32, models: { [SMALL]: bundledModel() } }, async (world) => {
        await run.group(['serve.json_valid', 'serve.json_overhead'], () => measureForms(run, world, SMALL));
        await run.group(['serve.ttft200_ms_p50', 'serve.ttft200_ms_p99'], () =>
          measureFirstTokens200(run, world, SMALL),
        );
      }),
    );
    await run.group(['serve.peer_fetch_hub_bytes_ratio'], () =>
      inWorld({ run, devices: 10, slots: 1, models: { [SMALL]: bundledModel() } }, (world) =>
        measurePeerFetch(run, world),
      ),
    );
  },
};
