/** Answers side by side: in one run, sharing what they begin with, within a memory that does not suffice for all. */
import { modelFolderTexts } from '@idlewild/graph/testing';
import type { AnswerWork } from '@idlewild/protocol';
import { createFakeClock, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { collect, createMemoryDecoder, tokensOf, work, type MemoryDecoder } from '../testing/index.ts';
import { createDecodeLoop, type DecodeLoop, type DecodeLoopOptions } from './decode-loop.ts';
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

interface Bench {
  loop: DecodeLoop;
  clock: FakeClock;
  decoder: MemoryDecoder;
}

interface BenchOptions extends Partial<DecodeLoopOptions> {
  readonly positionsMax?: number;
  readonly partsMax?: number;
  readonly stepMs?: number;
  readonly rowMs?: number;
}

/** A loop over arithmetic; a run of n rows takes `stepMs` and n × `rowMs` on the clock. */
function bench({ positionsMax, partsMax, stepMs = 0, rowMs = 0, ...options }: BenchOptions = {}): Bench {
  const clock = createFakeClock(yieldToNode);
  const spend = stepMs + rowMs > 0 ? (rows: number) => clock.advance(stepMs + rows * rowMs) : undefined;
  const decoder = createMemoryDecoder({ vocabulary: VOCABULARY, positionsMax, partsMax, spend });
  const base = { decoder, settings, contextTokens: 400, vocabulary: VOCABULARY, slotsMax: 8, clock };
  return { clock, decoder, loop: createDecodeLoop({ ...base, ...options }) };
}

const text = (prompt: string): Pick<AnswerWork, 'prompt'> => ({ prompt: { kind: 'text', text: prompt } });
const answerOf = async (loop: DecodeLoop, over: Partial<AnswerWork>): Promise<EngineEvent[]> => {
  const asked = collect(loop, work(over));
  await asked.over;
  return asked.events;
};
const cachedOf = (events: readonly EngineEvent[]): number =>
  events.flatMap((event) => (event.t === 'started' ? [event.cachedTokens ?? 0] : []))[0] ?? 0;

test('a run makes a token of every answer, and each is what it would have been alone', async () => {
  const asked = Array.from({ length: 8 }, (_, seed) => ({
    ...text('x'.repeat(seed + 1)),
    sampling: { seed },
    tokensMax: 20,
  }));
  const alone = await Promise.all(asked.map((over) => answerOf(bench().loop, over)));
  const { loop, decoder } = bench();
  const together = await Promise.all(asked.map((over) => answerOf(loop, over)));
  expect(together.map(tokensOf)).toEqual(alone.map(tokensOf));
  expect(decoder.runs.filter((parts) => parts.length === 8).length).toBeGreaterThan(15);
  expect(decoder.openCount()).toBe(0);
});

test('a prompt is read beside the tokens of others, in runs within the bound, and comes to its end', async () => {
  for (const [stepMs, rowMs] of [
    [10, 1],
    [30, 1.5],
    [48, 2],
  ] as const) {
    const { loop, clock } = bench({ stepMs, rowMs, runCost: { stepMs: stepMs + rowMs, rowMs } });
    const gaps: number[] = [];
    let lastMs: number | undefined;
    const talker = new Promise<void>((resolve) => {
      loop.answer(work({ ...text('a'), tokensMax: 120 }), (event) => {
        if (event.t === 'token') {
          if (lastMs !== undefined) gaps.push(clock.monotonic() - lastMs);
          lastMs = clock.monotonic();
        }
        if (event.t === 'finished') resolve();
      });
    });
    const reader = answerOf(loop, { ...text('y'.repeat(300)), tokensMax: 2 });
    await Promise.all([talker, reader]);
    const bound = Math.max(LIMITS.runMsMax, (stepMs + rowMs) * LIMITS.chunkStepsShared + LIMITS.promptRowsMin * rowMs);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(bound);
    expect((await reader).at(-1)).toMatchObject({ t: 'finished', answerTokens: 2 });
  }
});

test('the next turn of a conversation reads only what is new, and says the same', async () => {
  const first = 'He jests at scars that never felt a wound. '.repeat(5);
  const { loop, decoder } = bench();
  const before = await answerOf(loop, { ...text(first), scope: 'ann', tokensMax: 12 });
  const second = first + settings.tokenizer.decode(tokensOf(before));
  const turn = { ...text(`${second} And then?`), scope: 'ann', tokensMax: 12 };
  const rowsBefore = decoder.runs.flat().length;
  const events = await answerOf(loop, turn);
  const rows = decoder.runs.slice(-40).flat();
  expect(cachedOf(events)).toBeGreaterThan(first.length - 5);
  expect(rowsBefore).toBeGreaterThan(0);
  expect(rows.reduce((sum, n) => sum + n, 0)).toBeLessThan(first.length + 200);
  expect(tokensOf(events)).toEqual(tokensOf(await answerOf(bench().loop, turn)));
});

test('what one caller said is nothing to another, nor to who names no scope', async () => {
  const prompt = text('The quality of mercy is not strained. '.repeat(4));
  const { loop } = bench();
  await answerOf(loop, { ...prompt, scope: 'ann', tokensMax: 4 });
  expect(cachedOf(await answerOf(loop, { ...prompt, scope: 'bob', tokensMax: 4 }))).toBe(0);
  expect(cachedOf(await answerOf(loop, { ...prompt, tokensMax: 4 }))).toBe(0);
  expect(cachedOf(await answerOf(loop, { ...prompt, scope: 'ann', tokensMax: 4 }))).toBeGreaterThan(100);
});

test('several answers to one prompt read it once', async () => {
  const prompt = text('Now is the winter of our discontent made glorious summer. '.repeat(4));
  const { loop, decoder } = bench();
  const asked = Array.from({ length: 6 }, (_, choice) => ({ ...prompt, choice, scope: 'ann', tokensMax: 10 }));
  const all = await Promise.all(asked.map((over) => answerOf(loop, over)));
  const rows = decoder.runs.flat().reduce((sum, n) => sum + n, 0);
  expect(rows).toBeLessThan(232 + 6 * 12);
  for (const [choice, events] of all.entries())
    expect(tokensOf(events)).toEqual(tokensOf(await answerOf(bench().loop, asked[choice] as Partial<AnswerWork>)));
});

test('when the leader of a shared prompt is cancelled, its followers go on with what it read', async () => {
  const { loop } = bench({ stepMs: 1, rowMs: 1 });
  const over = { ...text('z'.repeat(300)), scope: 'ann', tokensMax: 5 };
  const leader = loop.answer(work(over), (event) => event.t === 'progress' && leader.cancel());
  const follower = await answerOf(loop, { ...over, choice: 1 });
  expect(follower.at(-1)).toMatchObject({ t: 'finished', answerTokens: 5 });
  expect(tokensOf(follower)).toEqual(tokensOf(await answerOf(bench().loop, { ...over, choice: 1 })));
});

test('memory that does not suffice for all delays answers and changes none', async () => {
  const asked = Array.from({ length: 8 }, (_, seed) => ({
    ...text('m'.repeat(30 + seed)),
    sampling: { seed },
    scope: `caller ${seed % 3}`,
    tokensMax: 60,
  }));
  const alone = await Promise.all(asked.map((over) => answerOf(bench().loop, over)));
  for (const partsMax of [Number.POSITIVE_INFINITY, 1]) {
    for (const positionsMax of [110, 170, 300]) {
      const { loop, decoder } = bench({ positionsMax, partsMax });
      const together = await Promise.all(asked.map((over) => answerOf(loop, over)));
      expect(together.map(tokensOf)).toEqual(alone.map(tokensOf));
      expect(decoder.usedBytes()).toBeLessThanOrEqual(positionsMax);
    }
  }
});

test('an answer for which memory never suffices fails and says so', async () => {
  const { loop } = bench({ positionsMax: 50 });
  expect((await answerOf(loop, { ...text('m'.repeat(60)), tokensMax: 4 })).at(-1)).toMatchObject({
    t: 'failed',
    code: 'engine_failed',
    message: expect.stringContaining('do not fit the memory') as string,
  });
  expect((await answerOf(loop, { ...text('m'.repeat(20)), tokensMax: 4 })).at(-1)).toMatchObject({ t: 'finished' });
});

test('what is kept is given up after a while, and the loop then holds nothing', async () => {
  const { loop, clock, decoder } = bench();
  await answerOf(loop, { ...text('m'.repeat(60)), scope: 'ann', tokensMax: 4 });
  expect(decoder.openCount()).toBe(1);
  await clock.advance(LIMITS.prefixKeptMs + 1);
  expect(decoder.openCount()).toBe(0);
});

test('a caller with many questions does not keep one with a single question waiting for all of them', async () => {
  const { loop } = bench({ slotsMax: 2, stepMs: 1 });
  const order: string[] = [];
  const ask = (scope: string, name: string): Promise<unknown> =>
    answerOf(loop, { ...text(name.repeat(20)), scope, tokensMax: 10 }).then(() => order.push(name));
  const many = Array.from({ length: 10 }, (_, i) => ask('ann', `${i}`));
  const single = ask('bob', 'b');
  await Promise.all([...many, single]);
  expect(order.indexOf('b')).toBeLessThan(4);
});

test('an answer that waits says so, whatever it waits for', async () => {
  const prompt = text('w'.repeat(300));
  const ask = (loop: DecodeLoop, clock: FakeClock, over: Partial<AnswerWork>): Promise<number> => {
    let heardMs: number | undefined;
    let silentMs = 0;
    return new Promise((resolve) => {
      loop.answer(work({ tokensMax: 3, ...over }), (event) => {
        silentMs = Math.max(silentMs, clock.monotonic() - (heardMs ?? clock.monotonic()));
        heardMs = clock.monotonic();
        if (event.t === 'finished' || event.t === 'failed') resolve(silentMs);
      });
    });
  };
  // For another to read the prompt of both.
  const shared = bench({ rowMs: 40 });
  const sharing = [0, 1, 2].map((choice) => ask(shared.loop, shared.clock, { ...prompt, scope: 'ann', choice }));
  // For memory that an earlier one has.
  const full = bench({ rowMs: 40, positionsMax: 320 });
  const waiting = [300, 80].map((length) =>
    ask(full.loop, full.clock, { ...text('w'.repeat(length)), tokensMax: 100 - length / 5 }),
  );
  for (const silentMs of await Promise.all([...sharing, ...waiting])) expect(silentMs).toBeLessThan(2_000);
});

test('a beginning that is kept is taken over though memory is full of others', async () => {
  const { loop } = bench({ positionsMax: 260 });
  const first = { ...text('one '.repeat(25)), scope: 'ann', tokensMax: 4 };
  const second = { ...text('two '.repeat(25)), scope: 'ann', tokensMax: 4 };
  for (const each of [first, second]) expect(cachedOf(await answerOf(loop, each))).toBe(0);
  expect(cachedOf(await answerOf(loop, second))).toBe(99);
});

test("answers that were cancelled while they waited take nobody else's place", async () => {
  const { loop } = bench({ slotsMax: 1 });
  const over = { ...text('a'), tokensMax: 50 };
  const first = answerOf(loop, over);
  for (let i = 0; i < LIMITS.waitingMax + 1; i++) loop.answer(work(over), () => undefined).cancel();
  const last = await answerOf(loop, { ...over, tokensMax: 2 });
  expect(last.at(-1)).toMatchObject({ t: 'finished' });
  await first;
});
