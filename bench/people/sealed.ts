/**
 * What sealing costs a stream: tokens a second of the same answers of one device, sealed and in the open, by turns in
 * one run, so that whatever else the machine does meets both alike. `people.sealed_stream_ratio` is sealed over open.
 */
import { createClient, createSealedClient, type SealedClientOptions } from '@idlewild/client';
import { median } from '../statistics.ts';

export interface SealedStreamOptions extends Pick<
  SealedClientOptions,
  'hub' | 'key' | 'fetch' | 'clock' | 'random' | 'crypto' | 'stewards' | 'territory'
> {
  readonly model: string;
  readonly prompt: string;
  /** Of each answer. */
  readonly tokens: number;
  /** Of each kind; the first of each is not counted. */
  readonly rounds: number;
}

export interface SealedStream {
  /** Tokens a second, of the median answer, its first token included. */
  readonly sealedTokensPerSecond: number;
  readonly openTokensPerSecond: number;
  readonly ratio: number;
}

/** Needs one device that a steward of `stewards` vouches for. */
export async function measureSealedStream(options: SealedStreamOptions): Promise<SealedStream> {
  const { hub, key, fetch, model, prompt, tokens: tokensMax, rounds } = options;
  const open = createClient({ hub, key, fetch });
  const sealed = createSealedClient(options);
  const work = { prompt: { kind: 'text' as const, text: prompt }, choice: 0, stop: [], tokensMax };

  async function sealedRound(seed: number): Promise<number> {
    for await (const event of sealed.answer({ model, work: { ...work, sampling: { seed } } }))
      if (event.t === 'finished') return event.answerTokens;
    throw new Error('a sealed answer has no end');
  }
  async function openRound(seed: number): Promise<number> {
    for await (const piece of open.completion({ model, prompt, seed, max_tokens: tokensMax }))
      if (!('text' in piece)) return piece.usage.completion_tokens;
    throw new Error('an answer has no end');
  }
  async function speedOf(round: (seed: number) => Promise<number>, seed: number): Promise<number> {
    const beganAtMs = performance.now();
    const tokens = await round(seed);
    return (tokens * 1_000) / (performance.now() - beganAtMs);
  }

  const speeds = { sealed: [] as number[], open: [] as number[] };
  for (let round = 0; round <= rounds; round++) {
    // A device keeps what it has read: each round asks the same of both, and neither is always first.
    const inTurn = round % 2 === 0 ? (['sealed', 'open'] as const) : (['open', 'sealed'] as const);
    for (const kind of inTurn) {
      const speed = await speedOf(kind === 'sealed' ? sealedRound : openRound, round);
      if (round > 0) speeds[kind].push(speed);
    }
  }
  const sealedTokensPerSecond = median(speeds.sealed);
  const openTokensPerSecond = median(speeds.open);
  return { sealedTokensPerSecond, openTokensPerSecond, ratio: sealedTokensPerSecond / openTokensPerSecond };
}
