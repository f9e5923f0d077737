/** A simulated answer ends at a length of its own, which its seed decides: seeds of which answers are long enough. */
import { simulatedAnswer } from '@idlewild/agent/testing';

/** The `number`th seed with which the answer to `prompt` has at least `tokens` tokens. */
export function longSeed(prompt: string, number: number, tokens: number): number {
  for (let seed = 0, found = -1; ; seed++) {
    const work = { prompt: { kind: 'text' as const, text: prompt }, sampling: { seed }, choice: 0, stop: [] };
    if (simulatedAnswer(work).tokens.length >= tokens && ++found === number) return seed;
  }
}
