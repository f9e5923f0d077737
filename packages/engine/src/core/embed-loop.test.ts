import { setImmediate as nextTurn } from 'node:timers/promises';
import type { EncoderRecipe } from '@idlewild/graph';
import { IdlewildError, type EmbedWork } from '@idlewild/protocol';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createEmbedLoop, type EmbedLoop, type EmbedLoopOptions } from './embed-loop.ts';
import type { Encoder } from './encoder.ts';
import type { Tokenizer } from './tokenizer.ts';

const RECIPE: EncoderRecipe = {
  pooling: ['cls'],
  normalize: false,
  tokensMax: 12,
  lowerCase: false,
  prompt: '',
  dimensions: 1,
  activation: 'none',
};

/** A token for each character. */
const tokenizer: Tokenizer = {
  addedTokens: [],
  encode(text, { tokensMax }) {
    if (text.length > tokensMax) throw new IdlewildError('context_length_exceeded', 'too long');
    return [...text].map((character) => character.codePointAt(0) as number);
  },
  decode: () => '',
  idOf: () => undefined,
  size: 0,
  bytesOf: () => undefined,
};

interface Harness {
  readonly loop: EmbedLoop;
  /** Texts of each run, as text. */
  readonly runs: string[][];
  embed(...inputs: readonly string[]): Promise<number[]>;
}

/** The first value of a text is the sum of its tokens; `disturb` is what texts beside it add. */
function createHarness(disturb = (_texts: number) => 0, options: Partial<EmbedLoopOptions> = {}): Harness {
  const runs: string[][] = [];
  const encoder: Encoder = {
    async run(texts) {
      await Promise.resolve();
      runs.push(texts.map((ids) => String.fromCodePoint(...ids)));
      if (new Set(texts.map((ids) => ids.length)).size !== 1) throw new Error('texts of several lengths in one run');
      return texts.map((ids) =>
        Float32Array.from(ids, () => ids.reduce((sum, id) => sum + id, 0) + disturb(texts.length)),
      );
    },
  };
  const clock = createFakeClock(() => Promise.resolve());
  const loop = createEmbedLoop({
    encoder,
    recipe: RECIPE,
    tokenizer,
    cost: { fixedMs: 1, tokenMs: 0.1 },
    clock,
    ...options,
  });
  const { signal } = new AbortController();
  const embed = async (...inputs: readonly string[]): Promise<number[]> =>
    (await loop.embed({ kind: 'embed', inputs: [...inputs] }, signal)).vectors.map((vector) => vector[0] as number);
  return { loop, runs, embed };
}

const sum = (text: string): number =>
  [...text].reduce((total, character) => total + (character.codePointAt(0) ?? 0), 0);
const TEXTS = ['ab', 'cd', 'abc', 'ef', 'gh', 'xyz', 'ij', 'kl', 'a'];

test('texts of one length are run together once that is known to change nothing, and in the order asked', async () => {
  const { embed, runs } = createHarness();
  expect(await embed(...TEXTS)).toEqual(TEXTS.map(sum));
  const first = runs.splice(0);
  // Each alone, then the four and the two together that were compared with them.
  expect(first.filter((texts) => texts.length > 1)).toEqual([
    ['ab', 'cd', 'ef', 'gh'],
    ['abc', 'xyz'],
    ['ij', 'kl'],
  ]);
  expect(await embed(...TEXTS)).toEqual(TEXTS.map(sum));
  expect(runs).toEqual([['ab', 'cd', 'ef', 'gh'], ['abc', 'xyz'], ['ij', 'kl'], ['a']]);
});

test('of a model that neighbours disturb, each text is run alone, and no disturbed value is given out', async () => {
  const { embed, runs } = createHarness((texts) => texts - 1);
  expect(await embed(...TEXTS)).toEqual(TEXTS.map(sum));
  runs.splice(0);
  expect(await embed(...TEXTS)).toEqual(TEXTS.map(sum));
  expect(runs.every((texts) => texts.length === 1)).toBe(true);
});

test('works take turns, and a text of another work comes along when its length fits', async () => {
  const { embed, runs } = createHarness((texts) => texts - 1);
  const order: string[] = [];
  await Promise.all([
    embed('aa', 'bbb', 'cccc', 'ddddd').then(() => order.push('long')),
    embed('z').then(() => order.push('short')),
  ]);
  expect(order).toEqual(['short', 'long']);
  expect(runs.findIndex((texts) => texts[0] === 'z')).toBeLessThan(3);

  const other = createHarness();
  const three = (): Promise<unknown> => Promise.all(['ab', 'cd', 'ef'].map((text) => other.embed(text)));
  await three();
  other.runs.splice(0);
  await three();
  expect(other.runs).toEqual([['ab'], ['cd', 'ef']]);
});

test('a run of several texts is not longer than the engine may be blocked', async () => {
  const { embed, runs } = createHarness(() => 0, { cost: { fixedMs: 5, tokenMs: 5 } });
  await embed(...Array.from({ length: 9 }, (_, i) => `a${i}`));
  expect(Math.max(...runs.map((texts) => texts.length))).toBe(2);
});

test('a text that is too long is refused with its number, before anything is run', async () => {
  const { embed, runs } = createHarness();
  for (const long of ['a'.repeat(13), 'a'.repeat(4_000)]) {
    const refused = await embed('ab', 'cd', long).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'context_length_exceeded', details: { input: 2 } });
  }
  expect(runs).toEqual([]);
});

test('a work is asked for what the model gives, and for no more than one reply carries', async () => {
  const { loop } = createHarness(() => 0, { recipe: { ...RECIPE, dimensions: 100_000 } });
  const asked = (work: EmbedWork): Promise<unknown> =>
    loop.embed(work, new AbortController().signal).catch((error: unknown) => error);
  expect(await asked({ kind: 'classify', inputs: ['a'] })).toMatchObject({ code: 'model_unsupported' });
  expect(await asked({ kind: 'embed', inputs: ['a', 'b', 'c'] })).toMatchObject({ code: 'invalid_request' });
});

test("texts are paced to the lender's tokens per second, whoever sends them and whatever becomes of them", async () => {
  const clock = createFakeClock(() => nextTurn());
  const { loop, embed, runs } = createHarness((texts) => texts - 1, { clock, tokensPerSecondMax: 10 });
  const read = (): number => runs.flat().join('').length;
  const abort = new AbortController();
  const over = loop.embed({ kind: 'embed', inputs: ['abcdef', 'abcdefg'] }, abort.signal).catch(() => undefined);
  const all = [embed('ab', 'abc', 'abcd'), embed('abcde'), embed('abcdefgh', 'a')];
  const readAtMs: number[] = [];
  await clock.advance(100);
  abort.abort();
  await over;
  for (let second = 1; second <= 4; second++) {
    await clock.advance(1_000);
    readAtMs.push(read());
  }
  // The last run may have gone over it, by the longest text.
  for (const [i, tokens] of readAtMs.entries()) expect(tokens).toBeLessThanOrEqual((i + 1.1) * 10 + 8);
  expect(readAtMs[0]).toBeGreaterThanOrEqual(10);
  await clock.advance(10_000);
  expect((await Promise.all(all)).map((values) => values.length)).toEqual([3, 1, 2]);
  expect(clock.nextInMs()).toBeUndefined();
});

test('a work that is cancelled is run no further, and a failure of the runtime ends those that it hit', async () => {
  const { loop, runs, embed } = createHarness((texts) => texts - 1);
  const abort = new AbortController();
  const work = loop.embed({ kind: 'embed', inputs: ['ab', 'abc', 'abcd', 'abcde'] }, abort.signal);
  const beside = embed('zz');
  abort.abort();
  await expect(work).rejects.toMatchObject({ code: 'cancelled' });
  expect(await beside).toEqual([sum('zz')]);
  expect(runs.flat()).not.toContain('abcde');

  let count = 0;
  const encoder: Encoder = {
    run: async (texts) => {
      if (++count === 1) throw new Error('out of memory');
      return texts.map((ids) => new Float32Array(ids.length).fill(1));
    },
  };
  const endless: Encoder = { run: async (texts) => texts.map((ids) => new Float32Array(ids.length).fill(Infinity)) };
  const overflown = createHarness(() => 0, { encoder: endless });
  await expect(overflown.embed('ab')).rejects.toMatchObject({ code: 'model_unsupported', details: { input: 0 } });
  const failing = createHarness(() => 0, { encoder });
  await expect(failing.embed('ab')).rejects.toMatchObject({ code: 'engine_failed' });
  expect(await failing.embed('ab')).toEqual([1]);
});
