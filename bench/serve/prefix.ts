/**
 * The first token of a second turn: once with what the device kept of the first, once without, by turns.
 *
 * Both sides ask the same words of the same device. What may be reused is told apart by the caller: the second side is
 * one who never asked before.
 */
import type { BenchRun } from '../bench.ts';
import { askHub, createConnections, textOf, type Answered } from '../ask.ts';
import { median, rangeOf } from '../statistics.ts';
import type { World } from '../world.ts';

const ROUNDS = 9;
/** Bytes of the first turn; the tokeniser of this model has a token for each. */
const FIRST_TURN = 400;
const WORDS = 'Friends, Romans, countrymen, lend me your ears; I come to bury Caesar, not to praise him. ';

export async function measurePrefix(run: BenchRun, world: World, model: string): Promise<void> {
  run.say(`serve.prefix_ttft_ratio: ${ROUNDS} conversations of two turns`);
  const connections = createConnections();
  const rounds: { kept: number; anew: number }[] = [];
  const faults: string[] = [];
  const ask = (prompt: string, seed: number, tokensMax: number, key = world.key): Promise<Answered> =>
    askHub({ url: world.url, key }, connections, { model, prompt, seed, tokensMax });
  try {
    for (let round = 0; round <= ROUNDS; round++) {
      run.signal.throwIfAborted();
      const first = `${round}: ${WORDS.repeat(10)}`.slice(0, FIRST_TURN);
      const answered = await ask(first, round, 16);
      const second = `${first}${textOf(answered)}\nAnd then?\n`;
      const kept = await ask(second, round, 4);
      const anew = await ask(second, round, 4, await world.newKey());
      if (textOf(kept) !== textOf(anew)) faults.push(`round ${round} gave another text with what was kept`);
      if (anew.cached > 0) faults.push(`round ${round} reused what it must not know`);
      if (round > 0) rounds.push({ kept: kept.atMs[0] ?? Number.NaN, anew: anew.atMs[0] ?? Number.NaN });
    }
  } finally {
    connections.destroy();
  }
  const ratios = rounds.map(({ kept, anew }) => kept / anew);
  const of = (side: 'kept' | 'anew'): string => median(rounds.map((each) => each[side])).toFixed(0);
  run.record(
    'serve.prefix_ttft_ratio',
    median(ratios),
    `median of ${ROUNDS} conversations ${rangeOf(ratios)}; ${of('kept')} ms against ${of('anew')} ms`,
    faults,
  );
}
