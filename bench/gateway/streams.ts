/**
 * One stream: its speed and its first token, through everything and bare, by turns so that whatever else the machine
 * does hits both.
 *
 * An answer counts only when both sides said the same text in the same pieces: that is what makes the work the same,
 * and shows that nothing on the way merges tokens.
 */
import type { Agent } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { Engine } from '@idlewild/engine';
import type { BenchRun } from '../bench.ts';
import { createSeededChance, median, percentile, rangeOf } from '../statistics.ts';
import type { World } from '../world.ts';
import { askEngine, askHub, createConnections, speedOf, type Answered, type Ask } from '../ask.ts';

const PROMPT = 'First Citizen:\nBefore we proceed any further, hear me speak.\n\n';
const FIRST_TOKEN_PAIRS = 80;
/** Some of this passes between two questions: a hub is asked at any moment, not always right after an answer. */
const PAUSE_MS_MAX = 60;

export interface StreamRatio {
  readonly metric: string;
  readonly model: string;
  readonly tokens: number;
  readonly pairs: number;
}

export async function measureStreamRatio(run: BenchRun, world: World, plan: StreamRatio): Promise<void> {
  const { metric, model, tokens, pairs } = plan;
  run.say(`${metric}: ${pairs} pairs of answers of ${tokens} tokens`);
  const speeds: { bare: number; through: number }[] = [];
  await inPairs(run, world, { model, tokensMax: tokens, pairs }, ({ bare, through }) => {
    speeds.push({ bare: speedOf(bare), through: speedOf(through) });
  });
  const ratios = speeds.map(({ bare, through }) => through / bare);
  const of = (side: 'bare' | 'through'): string => median(speeds.map((speed) => speed[side])).toFixed(1);
  run.record(
    metric,
    median(ratios),
    `median of ${pairs} pairs ${rangeOf(ratios)}; ` +
      `${of('through')} of ${of('bare')} tokens/s, ${run.threads} thread(s) an engine; no tokens merged`,
  );
}

export async function measureFirstTokens(run: BenchRun, world: World, model: string): Promise<void> {
  run.say(`gateway.ttft_added_ms: ${FIRST_TOKEN_PAIRS} pairs`);
  const firstMs: { bare: number; through: number }[] = [];
  await inPairs(run, world, { model, tokensMax: 8, pairs: FIRST_TOKEN_PAIRS }, ({ bare, through }) => {
    firstMs.push({ bare: bare.atMs[0] ?? Number.NaN, through: through.atMs[0] ?? Number.NaN });
  });
  const added = firstMs.map(({ bare, through }) => through - bare);
  const of = (side: 'bare' | 'through'): string => median(firstMs.map((first) => first[side])).toFixed(1);
  const below = percentile(added, 0.9).toFixed(1);
  run.record(
    'gateway.ttft_added_ms',
    median(added),
    `median of ${added.length} pairs, 90 % below ${below} ms; ` +
      `${of('through')} ms against ${of('bare')} ms, with the commit to disk that accepts a request`,
  );
}

interface Pair {
  readonly bare: Answered;
  readonly through: Answered;
}

interface PairsPlan extends Omit<Ask, 'seed' | 'prompt'> {
  readonly pairs: number;
}

async function inPairs(run: BenchRun, world: World, plan: PairsPlan, take: (pair: Pair) => void): Promise<void> {
  const { pairs, ...ask } = plan;
  const engine = await world.openEngine(ask.model);
  const connections = createConnections();
  const chance = createSeededChance(3);
  try {
    // The first of each warms what is lazy: connections, caches, compiled code.
    for (let seed = 1, taken = -1; taken < pairs; seed++) {
      run.signal.throwIfAborted();
      if (seed > 4 * pairs + 20) throw new Error(`most answers of ${ask.model} end before ${ask.tokensMax} tokens`);
      const asked: Ask = { ...ask, prompt: PROMPT, seed };
      await pause(chance() * PAUSE_MS_MAX);
      const pair = await askBoth(engine, world, connections, asked);
      if (pair === undefined) continue;
      if (taken >= 0) take(pair);
      taken++;
    }
  } finally {
    connections.destroy();
    await engine.close();
  }
}

/** `undefined` when the model ends this answer of its own accord. */
async function askBoth(engine: Engine, world: World, connections: Agent, ask: Ask): Promise<Pair | undefined> {
  const bare = await askEngine(engine, ask);
  if (bare.tokens < ask.tokensMax) return undefined;
  const through = await askHub(world, connections, ask);
  if (sameAnswer(bare, through)) return { bare, through };
  throw new Error(`seed ${ask.seed} gave another text, or other pieces of it, through the hub than without`);
}

export const sameAnswer = (one: Answered, other: Answered): boolean =>
  one.tokens === other.tokens &&
  one.finish === other.finish &&
  one.pieces.length === other.pieces.length &&
  one.pieces.every((piece, index) => piece === other.pieces[index]);
