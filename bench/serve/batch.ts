/** Eight streams on one device against one, by turns: all tokens over the time in which all eight were being made. */
import type { BenchRun } from '../bench.ts';
import { askHub, createConnections, speedOf, type Answered } from '../ask.ts';
import { median, rangeOf } from '../statistics.ts';
import type { World } from '../world.ts';

const STREAMS = 8;
const TOKENS = 96;
const ROUNDS = 7;

export async function measureBatch(run: BenchRun, world: World, model: string): Promise<void> {
  run.say(`serve.batch8_ratio_134m_q4: ${ROUNDS} rounds of one stream and of ${STREAMS}, ${TOKENS} tokens each`);
  const connections = createConnections();
  const rounds: { one: number; many: number }[] = [];
  const ask = (seed: number): Promise<Answered> =>
    askHub(world, connections, { model, prompt: `Scene ${seed}. Enter two gentlemen.\n`, seed, tokensMax: TOKENS });
  try {
    for (let round = 0; round <= ROUNDS; round++) {
      run.signal.throwIfAborted();
      const one = speedOf(await ask(1_000 + round));
      const startMs = performance.now();
      const asked = await Promise.all(
        Array.from({ length: STREAMS }, async (_, i) => {
          const sentMs = performance.now() - startMs;
          const answered = await ask(round * STREAMS + i);
          return answered.atMs.map((ms) => ms + sentMs);
        }),
      );
      if (round > 0) rounds.push({ one, many: speedTogether(asked) });
    }
  } finally {
    connections.destroy();
  }
  const ratios = rounds.map(({ one, many }) => many / one);
  const of = (side: 'one' | 'many'): string => median(rounds.map((each) => each[side])).toFixed(1);
  run.record(
    'serve.batch8_ratio_134m_q4',
    median(ratios),
    `median of ${ROUNDS} rounds ${rangeOf(ratios)}; ${of('many')} tokens/s of ${STREAMS} streams, ` +
      `${of('one')} of one, ${run.threads} thread(s), 12 key-value heads of 64 in f32`,
  );
}

/** Tokens per second from when the last stream has begun until the first has ended. */
function speedTogether(streams: readonly (readonly number[])[]): number {
  const from = Math.max(...streams.map((atMs) => atMs[0] ?? Number.POSITIVE_INFINITY));
  const to = Math.min(...streams.map((atMs) => atMs.at(-1) ?? 0));
  const pieces = streams.flat().filter((ms) => ms > from && ms <= to).length;
  if (to > from) return (pieces * 1_000) / (to - from);
  throw new Error('the streams did not run at the same time');
}
