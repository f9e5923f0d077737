/** Pauses of a stream while the same device reads the long prompts of others, one after the other. */
import type { BenchRun } from '../bench.ts';
import { askHub, createConnections } from '../ask.ts';
import { median, percentile } from '../statistics.ts';
import type { World } from '../world.ts';

const PROMPTS = 8;
const PROMPT_BYTES = 700;
const TOKENS = 600;

export async function measureStalls(run: BenchRun, world: World, model: string): Promise<void> {
  run.say(`serve.prefill_stall_ms_p99: a stream beside ${PROMPTS} prompts of ${PROMPT_BYTES} tokens`);
  const connections = createConnections();
  const startMs = performance.now();
  let reading = { from: Number.POSITIVE_INFINITY, to: 0 };
  const readMs: number[] = [];
  try {
    const stream = askHub(world, connections, { model, prompt: 'Alone at first.\n', seed: 5, tokensMax: TOKENS });
    await new Promise((resolve) => setTimeout(resolve, 500));
    reading = { from: performance.now() - startMs, to: 0 };
    for (let i = 0; i < PROMPTS; i++) {
      run.signal.throwIfAborted();
      const prompt = `${i} `.padEnd(
        PROMPT_BYTES,
        'All the world is a stage, and all the men and women merely players. ',
      );
      const { atMs } = await askHub(world, connections, { model, prompt, seed: i, tokensMax: 1 });
      readMs.push(atMs[0] ?? Number.NaN);
    }
    reading = { ...reading, to: performance.now() - startMs };
    const { atMs } = await stream;
    const within = atMs.filter((ms) => ms >= reading.from && ms <= reading.to);
    const gaps = within.slice(1).map((ms, i) => ms - (within[i] as number));
    const alone = atMs.filter((ms) => ms < reading.from);
    const aloneGaps = alone.slice(1).map((ms, i) => ms - (alone[i] as number));
    const readPerSecond = PROMPT_BYTES / (median(readMs) / 1_000);
    run.record(
      'serve.prefill_stall_ms_p99',
      percentile(gaps, 0.99),
      `${gaps.length} pauses, median ${median(gaps).toFixed(1)} ms, longest ${Math.max(...gaps).toFixed(1)} ms, ` +
        `${median(aloneGaps).toFixed(1)} ms alone; a prompt took ${readPerSecond.toFixed(0)} ` +
        'tokens/s to read meanwhile',
    );
  } finally {
    connections.destroy();
  }
}
