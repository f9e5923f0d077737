/** How fast a decoder is here, measured with itself and briefly. The first run of each kind allocates: not counted. */
import type { Clock } from '@idlewild/protocol';
import type { RunCost } from './chunk-size.ts';
import type { Decoder, Kv } from './decoder.ts';
import { probeTokens } from './exactness.ts';

export interface DecoderSpeed {
  /** Of one sequence. */
  readonly tokensPerSecond: number;
  readonly prefillTokensPerSecond: number;
  readonly runCost: RunCost;
}

/** Enough for stable figures of a small model; a large one is stopped after its first steps. */
const MEASURE = { prefillRows: 64, prefillRuns: 3, decodeSteps: 48, budgetMs: 250 } as const;

export async function measureSpeed(
  decoder: Decoder,
  vocabulary: number | undefined,
  contextTokens: number,
  clock: Clock,
): Promise<DecoderSpeed> {
  const rows = Math.max(1, Math.min(MEASURE.prefillRows, contextTokens - 1));
  const ids = probeTokens(rows, vocabulary);
  const kv = decoder.open();
  decoder.reserve(kv, rows + 1);
  const ends = clock.monotonic() + MEASURE.budgetMs;
  const timed = async (runs: number, act: () => Promise<unknown>): Promise<number> => {
    const tookMs: number[] = [];
    for (let i = 0; i < runs && (i < 2 || clock.monotonic() < ends); i++) {
      const from = clock.monotonic();
      await act();
      tookMs.push(clock.monotonic() - from);
    }
    return tookMs.sort((a, b) => a - b)[tookMs.length >> 1] as number;
  };
  const read = (own: Kv, logitRows: number): Promise<unknown> =>
    decoder.run([{ kv: own, ids, from: 0, before: undefined, logitRows }]);
  await read(kv, 1);
  const prefillMs = await timed(MEASURE.prefillRuns, () => read(kv, 0));
  const decodeMs = await timed(MEASURE.decodeSteps, () =>
    decoder.run([{ kv, ids: [2], from: rows, before: 1, logitRows: 1 }]),
  );
  decoder.release(kv);
  return {
    runCost: { stepMs: decodeMs, rowMs: Math.max(0, prefillMs - decodeMs) / Math.max(1, rows - 1) },
    tokensPerSecond: 1_000 / decodeMs,
    prefillTokensPerSecond: (1_000 * rows) / prefillMs,
  };
}
