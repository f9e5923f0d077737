/** Two hundred streams asked for within a second: how long each waits for its first token, and that all end well. */
import { setTimeout as pause } from 'node:timers/promises';
import type { BenchRun } from '../bench.ts';
import { askHub, createConnections, type Answered } from '../ask.ts';
import { createSeededChance, percentile } from '../statistics.ts';
import type { World } from '../world.ts';

const STREAMS = 200;
const TOKENS = 48;
const WITHIN_MS = 1_000;

export async function measureFirstTokens200(run: BenchRun, world: World, model: string): Promise<void> {
  run.say(`serve.ttft200: ${STREAMS} streams of ${TOKENS} tokens over ${world.devices.length} devices`);
  const connections = createConnections();
  const chance = createSeededChance(7);
  const startedMs = performance.now();
  try {
    const answers = await Promise.allSettled(
      Array.from({ length: STREAMS }, async (_, seed): Promise<Answered> => {
        await pause(chance() * WITHIN_MS);
        return askHub(world, connections, { model, prompt: `Act ${seed}, scene 1.\n`, seed, tokensMax: TOKENS });
      }),
    );
    const tookMs = performance.now() - startedMs;
    const done = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    const failed = answers.length - done.length;
    const firstMs = done.map(({ atMs }) => atMs[0] ?? Number.NaN);
    const tokens = done.reduce((sum, answer) => sum + answer.tokens, 0);
    const note =
      `${done.length} of ${STREAMS} streams ended well; ${((tokens * 1_000) / tookMs).toFixed(0)} tokens/s over ` +
      `${world.devices.length} devices with 32 slots each, longest ${Math.max(...firstMs).toFixed(0)} ms`;
    const faults = failed === 0 ? [] : [`${failed} streams failed`];
    run.record('serve.ttft200_ms_p50', percentile(firstMs, 0.5), note, faults);
    run.record('serve.ttft200_ms_p99', percentile(firstMs, 0.99), note, faults);
  } finally {
    connections.destroy();
  }
}
