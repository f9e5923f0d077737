/**
 * What the bus adds to a token: a device at one replica, and a caller who asks there and at another replica by turns.
 *
 * Each token carries the time at which the device made it, by the clock that all processes of a machine share; what is
 * measured is how long it was on its way to the caller. Tokens are paced so that nothing waits for anything.
 */
import { request } from 'node:http';
import type { BenchRun } from '../bench.ts';
import { MODEL } from '../../test/replicas/world.ts';
import type { Door } from '../../test/replicas/caller.ts';
import { median, percentile } from '../statistics.ts';
import { inReplicaWorld } from './shared.ts';
import { longSeed } from './long-seed.ts';

const PAIRS = 24;
const TOKENS = 100;
const TOKENS_PER_SECOND = 100;
const PROMPT = 'How long is the way?';

export const measureCross = (run: BenchRun): Promise<void> =>
  inReplicaWorld({ replicas: 2 }, async (world) => {
    const [near, far] = world.replicas;
    if (near === undefined || far === undefined) throw new Error('two replicas are needed');
    await world.addDevices(1, { slots: 4, tokensPerSecond: TOKENS_PER_SECOND, stamps: true, direct: [near] });
    await world.whole();
    const { key } = await world.newCaller();
    const ways: { same: number[]; cross: number[] } = { same: [], cross: [] };
    const added: number[] = [];
    for (let pair = 0; pair <= PAIRS; pair++) {
      run.signal.throwIfAborted();
      const seed = longSeed(PROMPT, pair, TOKENS);
      const same = await wayMs({ url: near.url(), key }, seed);
      const cross = await wayMs({ url: far.url(), key }, seed);
      if (pair === 0) continue; // Warms what is lazy.
      ways.same.push(...same);
      ways.cross.push(...cross);
      added.push(median(cross) - median(same));
    }
    const of = (values: readonly number[]): string =>
      `median ${median(values).toFixed(2)}, 99 % below ${percentile(values, 0.99).toFixed(2)} ms`;
    run.record(
      'replicas.cross_token_ms',
      median(added),
      `median of ${PAIRS} pairs of answers of ${TOKENS} tokens at ${TOKENS_PER_SECOND} a second; from device to the ` +
        `caller over two replicas ${of(ways.cross)}, over one ${of(ways.same)}`,
    );
  });

/** Of each token of one answer. */
function wayMs({ url, key }: Door, seed: number): Promise<number[]> {
  const body = JSON.stringify({ model: MODEL, prompt: PROMPT, seed, max_tokens: TOKENS, stream: true });
  const headers = {
    authorization: `Bearer ${key}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  };
  return new Promise((resolve, reject) => {
    const ways: number[] = [];
    const sent = request(`${url}/v1/completions`, { method: 'POST', agent: false, headers }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        const now = process.hrtime.bigint();
        const said = chunk.toString('utf8');
        text += said;
        for (const [, made] of said.matchAll(/"text":" (\d+)"/g)) ways.push(Number(now - BigInt(made ?? '0')) / 1e6);
      });
      response.once('error', reject);
      response.once('end', () => {
        if (response.statusCode === 200 && text.includes('[DONE]') && ways.length >= TOKENS / 2) resolve(ways);
        else reject(new Error(`an answer came with ${ways.length} stamps: ${text.slice(0, 300)}`));
      });
    });
    sent.setNoDelay(true);
    sent.once('error', reject);
    sent.end(body);
  });
}
