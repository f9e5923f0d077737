/** Guesses at an answer's tokens: whatever they are, the answer is what it is without, and right ones save runs. */
import { modelFolderTexts } from '@idlewild/graph/testing';
import type { AnswerWork } from '@idlewild/protocol';
import { createFakeClock, createSeededRandom, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import {
  collect,
  createMemoryDecoder,
  createMemorySession,
  createSearchGrammars,
  tokensOf,
  work,
} from '../testing/index.ts';
import { createDecodeLoop, type DecodeLoop, type DecodeLoopOptions } from './decode-loop.ts';
import type { Decoder } from './decoder.ts';
import { createDraft } from './draft.ts';
import { isExactInBulk } from './exactness.ts';
import { LIMITS } from './limits.ts';
import type { EngineEvent } from './port.ts';
import { readSettings } from './settings.ts';
import { createWholeDecoder } from './whole-decoder.ts';

const VOCABULARY = 300;
const CONTEXT = 900;
const files = modelFolderTexts({ vocab: VOCABULARY, width: 8, layers: 1, heads: 1, kvHeads: 1, feedForward: 8 });
const settings = readSettings({
  tokenizer: files['tokenizer.json'],
  tokenizerConfig: files['tokenizer_config.json'],
  generationConfig: '{"eos_token_id":[0,299],"temperature":0.9}',
});

interface Bench {
  readonly loop: DecodeLoop;
  readonly clock: FakeClock;
  readonly runs: () => number;
}
const loopOf = (decoder: Decoder, over: Partial<DecodeLoopOptions> & Pick<DecodeLoopOptions, 'clock'>): DecodeLoop =>
  createDecodeLoop({
    decoder,
    settings,
    contextTokens: CONTEXT,
    vocabulary: VOCABULARY,
    slotsMax: 8,
    grammars: createSearchGrammars(),
    ...over,
  });

/** Decoders that take many sequences in a run, one at a time, and a graph as a whole. */
const KINDS = ['rows', 'one', 'whole'] as const;
function bench(kind: (typeof KINDS)[number] = 'rows', over: Partial<DecodeLoopOptions> = {}): Bench {
  const clock = createFakeClock(yieldToNode);
  if (kind === 'whole') {
    const session = createMemorySession({ vocabulary: VOCABULARY });
    const whole = createWholeDecoder(session, session.shape, { contextTokens: CONTEXT, cacheBytesMax: 1_000_000 });
    return { clock, loop: loopOf(whole, { clock, ...over }), runs: () => session.runs.length };
  }
  const decoder = createMemoryDecoder({ vocabulary: VOCABULARY, partsMax: kind === 'one' ? 1 : undefined });
  return { clock, loop: loopOf(decoder, { clock, ...over }), runs: () => decoder.runs.length };
}

async function ask(loop: DecodeLoop, over: Partial<AnswerWork>): Promise<EngineEvent[]> {
  const asked = collect(loop, work(over));
  await asked.over;
  return asked.events;
}
/** All that an answer says, without how long it took and what its device knew before. */
const said = (events: readonly EngineEvent[]): object[] =>
  events.flatMap((event): object[] => {
    if (event.t === 'progress') return [];
    if (event.t === 'started') return [{ ...event, cachedTokens: undefined }];
    return [{ ...event, prefillMs: 0, decodeMs: 0 }];
  });

const text = (prompt: string): Pick<AnswerWork, 'prompt'> => ({ prompt: { kind: 'text', text: prompt } });
const TOOLS = [{ name: 'f', parameters: '{"type":"object","properties":{"x":{"type":"boolean"}},"required":["x"]}' }];
const called = { kind: 'chat' as const, messages: [{ role: 'user', content: 'x' }], tools: TOOLS };
const SCHEMA =
  '{"type":"object","properties":{"a":{"type":"string","maxLength":9},"b":{"type":"number"}},"required":["a","b"]}';
const ASKED: Partial<AnswerWork>[] = [
  { tokensMax: 60, sampling: { seed: 2, temperature: 0 } },
  { tokensMax: 80, sampling: { seed: 3, topP: 0.8, topK: 40 }, stop: ['q', '\u00e9x'] },
  { tokensMax: 90, sampling: { seed: 4, repetitionPenalty: 1.3, frequencyPenalty: 0.7, presencePenalty: 0.4 } },
  { ...text('a'), tokensMax: 70, sampling: { seed: 5, logitBias: [[77, 4]] }, logprobs: 3 },
  { ...text('x'.repeat(CONTEXT - 30)), sampling: { seed: 6 } },
  { form: { kind: 'json' }, tokensMax: 40, sampling: { seed: 7 } },
  { form: { kind: 'schema', schema: SCHEMA }, tokensMax: 60, sampling: { seed: 8, topP: 0.9 } },
  { prompt: called, toolChoice: 'required', tokensMax: 180, sampling: { seed: 9 } },
  { prompt: called, toolChoice: 'none', tokensMax: 40, sampling: { seed: 10 } },
];

/** Right, and wrong in every way. */
function draftsOf(tokens: readonly number[], seed: number): number[][] {
  const random = createSeededRandom(seed);
  const below = (n: number): number => Math.floor(random.unit() * n);
  const wrong = (share: number): number[] => tokens.map((id) => (random.unit() < share ? below(VOCABULARY) : id));
  return [
    [...tokens],
    wrong(0.03),
    wrong(0.2),
    wrong(0.7),
    tokens.slice(0, below(tokens.length + 1)),
    [...tokens, ...wrong(0.5), ...tokens],
    [below(VOCABULARY), ...tokens],
    tokens.slice(1),
    Array.from({ length: below(200) }, () => below(VOCABULARY)),
    [],
  ];
}

test.for(KINDS)('%s: an answer is the same with any draft and with none, alone and beside others', async (kind) => {
  for (const [i, over] of ASKED.entries()) {
    const plain = await ask(bench(kind).loop, over);
    expect(plain.at(-1)).toMatchObject({ t: 'finished' });
    const { loop } = bench(kind);
    const drafts = draftsOf(tokensOf(plain), i + 1).filter((_, n) => (n + i) % 2 === 0);
    const together = drafts.map((draft) => ask(loop, { ...over, draft }));
    const alone = ask(bench(kind).loop, { ...over, draft: drafts[0] ?? [] });
    for (const events of await Promise.all([...together, alone])) expect(said(events)).toEqual(said(plain));
  }
});

test('an answer that is taken over goes on by a draft of the whole of it', async () => {
  const over = { tokensMax: 50, sampling: { seed: 4 } };
  const plain = await ask(bench().loop, over);
  const tokens = tokensOf(plain);
  for (const k of [1, 7, 30, 49]) {
    const { loop, runs } = bench();
    const rest = await ask(loop, { ...over, tokens: tokens.slice(0, k), draft: tokens });
    expect(tokensOf(rest)).toEqual(tokens.slice(k));
    expect(runs()).toBeLessThan(8);
  }
});

test.for(KINDS)('%s: a right draft takes a fraction of the runs, a wrong one hardly more than none', async (kind) => {
  const over = { tokensMax: 300, sampling: { seed: 12 }, ...text('count'), stop: [] };
  const endless = { settings: { ...settings, endIds: new Set<number>() } };
  const count = async (draft?: readonly number[]): Promise<number> => {
    const { loop, runs } = bench(kind, endless);
    await ask(loop, { ...over, ...(draft && { draft: [...draft] }) });
    return runs();
  };
  const tokens = tokensOf(await ask(bench(kind, endless).loop, over));
  const without = await count();
  expect(without).toBeGreaterThanOrEqual(300);
  expect(await count(tokens)).toBeLessThan(without / 15);
  // One in 32 is wrong, as in a draft with decoys.
  expect(await count(tokens.map((id, i) => (i % 32 === 20 ? id + 1 : id) % VOCABULARY))).toBeLessThan(without / 6);
  expect(await count(tokens.map((id) => (id + 1) % VOCABULARY))).toBe(without);
});

test('a draft is followed further while it is right, and given up when it is not worth its rows', () => {
  const ids = Array.from({ length: 1_000 }, (_, i) => i);
  const good = createDraft(ids);
  const lengths: number[] = [];
  for (let i = 0; lengths.length < 6; i += lengths.at(-1) ?? 0) {
    const guessed = good.from(i, 100);
    lengths.push(guessed.length);
    good.note(guessed.length, guessed.length);
  }
  expect(lengths).toEqual([4, 8, 16, 32, 32, 32]);
  expect(good.from(10, 2)).toEqual([10, 11]);
  // Wrong now and then, as where somebody put decoys; and wrong often.
  good.note(32, 3);
  expect(good.from(10, 100)).toHaveLength(32);
  for (let i = 0; i < 4; i++) good.note(32, 3);
  expect(good.from(10, 100)).toEqual([10, 11, 12, 13, 14, 15]);
  expect(good.from(998, 100)).toEqual([998, 999]);
  expect(good.from(1_000, 100)).toEqual([]);
  const bad = createDraft(ids);
  for (let i = 1; i < LIMITS.draftMissesMax; i++) bad.note(4, 0);
  expect(bad.from(0, 4)).toHaveLength(4);
  bad.note(4, 0);
  expect(bad.from(0, 4)).toEqual([]);
  // One in three right is never a row of misses, and does not pay either.
  const poor = createDraft(ids);
  for (let i = 0; i < LIMITS.draftJudgedMax; i++) poor.note(4, i % 3 === 0 ? 1 : 0);
  expect(poor.from(0, 4)).toEqual([]);
});

test('a draft with a token that the model does not have is refused', async () => {
  expect(await ask(bench().loop, { draft: [1, VOCABULARY] })).toMatchObject([
    { t: 'failed', code: 'invalid_request', message: expect.stringContaining('of the draft') as string },
  ]);
});

test('a decoder whose rows differ in many at once is not given guesses', async () => {
  const over = { tokensMax: 40, sampling: { seed: 4, temperature: 0 } };
  const plain = bench();
  const draft = tokensOf(await ask(plain.loop, over));
  const { loop, runs } = bench('rows', { drafts: false });
  expect(tokensOf(await ask(loop, { ...over, draft }))).toEqual(draft);
  expect(runs()).toBe(plain.runs());
});

test('whatever comes together, each answer by a draft is what it is alone, and nothing guessed is kept', async () => {
  for (let seed = 1; seed <= 24; seed++) {
    const random = createSeededRandom(seed);
    const below = (n: number): number => Math.floor(random.unit() * n);
    const clock = createFakeClock(yieldToNode);
    const failures = below(2) * 0.05;
    const decoder = createMemoryDecoder({
      vocabulary: VOCABULARY,
      positionsMax: [230, 300, 600, 5_000][below(4)],
      partsMax: below(3) === 0 ? 1 : undefined,
      async spend(rows) {
        await clock.advance(rows);
        if (random.unit() < failures) throw new Error('the runtime broke');
      },
    });
    const tokensPerSecondMax = below(3) === 0 ? 40 + below(400) : undefined;
    const loop = loopOf(decoder, { clock, slotsMax: 1 + below(5), tokensPerSecondMax });
    let open = 0;
    const all: { readonly events: readonly EngineEvent[]; readonly plain: readonly EngineEvent[] }[] = [];
    let before: { readonly over: Partial<AnswerWork>; readonly tokens: number[] } | undefined;
    for (let i = 0; i < 10; i++) {
      const fresh = {
        ...text(`a${'abcabc'.repeat(below(20))}`),
        sampling: { seed: below(3) },
        tokensMax: 1 + below(40),
        ...(below(5) > 0 && { scope: `caller ${below(2)}` }),
      };
      // Often the one before is gone on with, which may be kept, or still be made: of what it guessed nothing counts.
      const over =
        before === undefined || below(2) === 0
          ? fresh
          : { ...before.over, tokens: before.tokens.slice(0, below(before.tokens.length)) };
      const plain = await ask(bench().loop, over);
      const drafts = draftsOf(tokensOf(plain), seed * 100 + i);
      const draft = drafts[below(drafts.length)] ?? [];
      if (over === fresh) before = { over, tokens: tokensOf(plain) };
      const cancelAfter = below(4) === 0 ? 1 + below(20) : undefined;
      open++;
      const collected = collect(loop, work({ ...over, draft }), (event) => {
        const isLast = event.t === 'finished' || event.t === 'failed';
        if (!isLast && collected.events.length !== cancelAfter) return;
        open--;
        collected.cancel();
      });
      all.push({ events: collected.events, plain });
      for (let turns = below(4); turns > 0; turns--) await yieldToNode();
    }
    for (let turns = 0; open > 0 && turns < 8_000; turns++) {
      await yieldToNode();
      await clock.advance(5);
    }
    expect(open, `seed ${seed}: answers that never end`).toBe(0);
    for (let turns = 0; turns < 40; turns++) await clock.advance(100);
    await clock.advance(LIMITS.prefixKeptMs + 1);
    expect(decoder.openCount(), `seed ${seed}: sequences that are left`).toBe(0);
    for (const { events, plain } of all) {
      const whole = said(plain);
      const isFailed = events.at(-1)?.t === 'failed';
      const heard = isFailed ? said(events).slice(0, -1) : said(events);
      expect(heard, `seed ${seed}`).toEqual(whole.slice(0, heard.length));
      if (events.at(-1)?.t === 'finished') expect(heard.length).toBe(whole.length);
    }
  }
});

test("guesses make no run longer than its bound, and do not keep another's prompt or tokens waiting", async () => {
  for (const [stepMs, rowMs] of [
    [1, 2],
    [15, 1],
    [25, 4],
  ] as const) {
    const clock = createFakeClock(yieldToNode);
    const took: number[] = [];
    const spend = async (rows: number): Promise<void> => {
      took.push(stepMs + rows * rowMs);
      await clock.advance(stepMs + rows * rowMs);
    };
    const decoder = createMemoryDecoder({ vocabulary: VOCABULARY, spend });
    const endless = { ...settings, endIds: new Set<number>() };
    const loop = loopOf(decoder, { clock, settings: endless, runCost: { stepMs: stepMs + rowMs, rowMs } });
    const over = { ...text('a'), tokensMax: 400, sampling: { seed: 3 } };
    const draft = tokensOf(await ask(bench('rows', { settings: endless }).loop, over));
    const drafted = collect(loop, work({ ...over, draft }));
    const other = collect(loop, work({ ...text('b'), tokensMax: 30, sampling: { seed: 1 } }));
    const reader = collect(loop, work({ ...text('c'.repeat(200)), tokensMax: 1 }));
    for (const { over: end } of [drafted, other, reader]) expect((await end).t).toBe('finished');
    expect(tokensOf(drafted.events)).toEqual(draft);
    // As in every run: 50 ms, or little more than a step where that is longer, and the fewest rows of a prompt.
    const step = stepMs + rowMs;
    const bound = Math.max(LIMITS.runMsMax, 2 * step + LIMITS.promptRowsMin * rowMs);
    expect(Math.max(...took)).toBeLessThanOrEqual(bound);
    expect(took.length).toBeLessThan(280);
  }
});

test('the pace counts every token of an answer by a draft', async () => {
  const { loop, clock } = bench('rows', { tokensPerSecondMax: 40 });
  const over = { tokensMax: 100, sampling: { seed: 12, temperature: 0.1 }, ...text('count') };
  const draft = tokensOf(await ask(bench().loop, over));
  const arrivals: number[] = [];
  const asked = collect(loop, work({ ...over, draft }), (event) => {
    if (event.t === 'token') arrivals.push(clock.monotonic());
  });
  await clock.advance(3_000);
  expect((await asked.over).t).toBe('finished');
  expect(arrivals).toHaveLength(draft.length);
  for (const [i, at] of arrivals.entries()) {
    const ahead = i - (at / 1_000) * 40;
    // What comes at once is a quarter of a second's, and the first token is the prompt's.
    expect(ahead).toBeLessThanOrEqual((LIMITS.draftPaceMs / 1_000) * 40 + 2);
  }
});

test('of an answer that was cancelled among wrong guesses, nothing that was only guessed is taken over', async () => {
  const over = { ...text('abcabc'.repeat(8)), scope: 'ann', tokensMax: 40, sampling: { seed: 12 } };
  const endless = { settings: { ...settings, endIds: new Set<number>() } };
  const plain = await ask(bench('rows', endless).loop, over);
  const tokens = tokensOf(plain);
  for (const kind of ['rows', 'one'] as const) {
    for (const wrongAt of [3, 4, 5, 9, 20]) {
      const { loop } = bench(kind, endless);
      const draft = tokens.map((id, i) => (i === wrongAt ? (id + 1) % VOCABULARY : id));
      const asked = collect(loop, work({ ...over, draft }), (event) => {
        if (event.t === 'token' && event.i === wrongAt) asked.cancel();
      });
      await yieldToNode();
      for (let turns = 0; asked.events.at(-1)?.t !== 'token' && turns < 50; turns++) await yieldToNode();
      const rest = await ask(loop, { ...over, tokens: tokens.slice(0, 30) });
      expect(tokensOf(rest)).toEqual(tokens.slice(30));
    }
  }
});

test('whether many rows at once are as exact as one is found out before drafts are followed', async () => {
  const decoder = createMemoryDecoder({ vocabulary: VOCABULARY });
  expect(await isExactInBulk(decoder, VOCABULARY, CONTEXT)).toBe(true);
  const other: Decoder = {
    ...decoder,
    // As kernels do that split their sums by the number of rows.
    run: async (parts) =>
      (await decoder.run(parts)).map((rows) =>
        rows.length > 8 ? rows.map((row) => row.map((x) => x * 1.000_001)) : rows,
      ),
  };
  expect(await isExactInBulk(other, VOCABULARY, CONTEXT)).toBe(false);
  expect(decoder.openCount()).toBe(0);
});
