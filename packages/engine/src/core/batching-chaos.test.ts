/** Whatever comes together: a small memory, runs that fail, callers that go, a slow pace, one sequence at a time. */
import { modelFolderTexts } from '@idlewild/graph/testing';
import type { AnswerWork } from '@idlewild/protocol';
import { createFakeClock, createSeededRandom, yieldToNode } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { collect, createMemoryDecoder, tokensOf, work } from '../testing/index.ts';
import { createDecodeLoop, type DecodeLoopOptions } from './decode-loop.ts';
import type { Decoder } from './decoder.ts';
import { LIMITS } from './limits.ts';
import type { EngineEvent } from './port.ts';
import { readSettings } from './settings.ts';

const VOCABULARY = 300;
const files = modelFolderTexts({ vocab: VOCABULARY, width: 8, layers: 1, heads: 1, kvHeads: 1, feedForward: 8 });
const settings = readSettings({
  tokenizer: files['tokenizer.json'],
  tokenizerConfig: files['tokenizer_config.json'],
  config: files['config.json'],
});
const CONTEXT = 200;
const SEEDS = 120;
const ANSWERS = 25;
const ALIKE = 'abcabc'.repeat(20);
const PROMPTS = [ALIKE, `${'abcabc'.repeat(10)}${'xyz'.repeat(20)}`, 'q'.repeat(150), `${ALIKE}${'tail'.repeat(10)}`];

const loopOf = (decoder: Decoder, over: Pick<DecodeLoopOptions, 'clock'> & Partial<DecodeLoopOptions>) =>
  createDecodeLoop({ decoder, settings, contextTokens: CONTEXT, vocabulary: VOCABULARY, slotsMax: 1, ...over });

async function aloneOf(asked: AnswerWork): Promise<EngineEvent[]> {
  const decoder = createMemoryDecoder({ vocabulary: VOCABULARY });
  const alone = collect(loopOf(decoder, { clock: createFakeClock(yieldToNode) }), asked);
  await alone.over;
  return alone.events;
}

test('every answer ends, as it would have ended alone, and nothing of it is left', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = createSeededRandom(seed);
    const below = (n: number): number => Math.floor(random.unit() * n);
    const clock = createFakeClock(yieldToNode);
    const failures = below(2) * 0.08;
    const decoder = createMemoryDecoder({
      vocabulary: VOCABULARY,
      positionsMax: [220, 300, 500, 5_000][below(4)],
      partsMax: below(3) === 0 ? 1 : undefined,
      async spend(rows) {
        await clock.advance(3 * rows);
        if (random.unit() < failures) throw new Error('the runtime broke');
      },
    });
    const tokensPerSecondMax = below(3) === 0 ? 20 + below(200) : undefined;
    const loop = loopOf(decoder, { clock, slotsMax: 1 + below(6), tokensPerSecondMax });
    const all: { readonly asked: AnswerWork; readonly events: readonly EngineEvent[] }[] = [];
    let open = 0;
    for (let i = 0; i < ANSWERS; i++) {
      const text = (PROMPTS[below(PROMPTS.length)] as string).slice(0, 1 + below(190));
      const asked = work({
        prompt: { kind: 'text', text },
        choice: below(3),
        sampling: { seed: below(5) },
        tokensMax: 1 + below(9),
        ...(below(5) > 0 && { scope: `caller ${below(2)}` }),
      });
      const cancelAfter = below(3) === 0 ? below(4) : undefined;
      open++;
      const collected = collect(loop, asked, (event) => {
        const isLast = event.t === 'finished' || event.t === 'failed';
        if (!isLast && collected.events.length - 1 !== cancelAfter) return;
        open--;
        collected.cancel();
      });
      all.push({ asked, events: collected.events });
      for (let turns = below(4); turns > 0; turns--) await yieldToNode();
    }
    const wait = async (ms: number): Promise<void> => {
      await yieldToNode();
      await clock.advance(ms);
    };
    for (let turns = 0; open > 0 && turns < 4_000; turns++) await wait(5);
    expect(open, `seed ${seed}: answers that never end`).toBe(0);
    // A loop that waits for its pace takes out what was cancelled when it goes on.
    for (let turns = 0; turns < 40; turns++) await wait(50);
    await clock.advance(LIMITS.prefixKeptMs + 1);
    expect(decoder.openCount(), `seed ${seed}: sequences that are left`).toBe(0);
    for (const { asked, events } of all.filter(({ events }) => events.at(-1)?.t === 'finished').slice(0, 8))
      expect(tokensOf(events), `seed ${seed}`).toEqual(tokensOf(await aloneOf(asked)));
  }
});
