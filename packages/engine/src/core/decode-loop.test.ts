import { modelFolderTexts } from '@idlewild/graph/testing';
import { createFakeClock, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { collect, createMemorySession, textOf, tokensOf, work, type MemorySession } from '../testing/index.ts';
import { createDecodeLoop, type DecodeLoop, type DecodeLoopOptions } from './decode-loop.ts';
import { createWholeDecoder } from './whole-decoder.ts';
import type { DecoderPart } from './decoder.ts';
import { LIMITS } from './limits.ts';
import type { EngineEvent } from './port.ts';
import { readSettings } from './settings.ts';

const VOCABULARY = 300;
const files = modelFolderTexts({ vocab: VOCABULARY, width: 8, layers: 1, heads: 1, kvHeads: 1, feedForward: 8 });
const settings = readSettings({
  tokenizer: files['tokenizer.json'],
  tokenizerConfig: files['tokenizer_config.json'],
  config: files['config.json'],
  generationConfig: '{"temperature":0.9,"top_p":0.9}',
});

interface Bench {
  loop: DecodeLoop;
  clock: FakeClock;
  session: MemorySession;
}

/** A loop over arithmetic; a run of n rows takes n × `msPerRow` on the clock. */
function bench(over: Partial<DecodeLoopOptions> & { msPerRow?: number } = {}): Bench {
  const clock = createFakeClock(yieldToNode);
  const { msPerRow = 0, contextTokens = 200, ...options } = over;
  const session = createMemorySession({
    vocabulary: VOCABULARY,
    ...(msPerRow > 0 && { spend: (rows: number) => clock.advance(rows * msPerRow) }),
  });
  const decoder = createWholeDecoder(session, session.shape, { contextTokens, cacheBytesMax: 1_000_000 });
  return {
    clock,
    session,
    loop: createDecodeLoop({
      decoder,
      settings,
      contextTokens,
      vocabulary: VOCABULARY,
      slotsMax: 4,
      clock,
      ...options,
    }),
  };
}

const untilOver = (loop: DecodeLoop, over: Parameters<typeof work>[0]): Promise<EngineEvent[]> => {
  const asked = collect(loop, work(over));
  return asked.over.then(() => asked.events);
};

test('an answer is started, its tokens by index, and finished', async () => {
  const { loop } = bench();
  const events = await untilOver(loop, { tokensMax: 12 });
  expect(events[0]).toEqual({ t: 'started', promptTokens: 16 });
  expect(events.flatMap((event) => (event.t === 'token' ? [event.i] : []))).toEqual([...Array(12).keys()]);
  expect(events.at(-1)).toMatchObject({ t: 'finished', finish: 'length', promptTokens: 16, answerTokens: 12 });
  expect(textOf(events)).toBe(settings.tokenizer.decode(tokensOf(events)));
});

test('an answer resumed after any token says what the uninterrupted one would have said', async () => {
  for (const over of [
    { tokensMax: 25 },
    { tokensMax: 60, stop: ['q', '\u00e9x'] },
    { prompt: { kind: 'text', text: 'a' } as const, tokensMax: 20 },
    { tokensMax: 150 },
  ]) {
    const whole = await untilOver(bench().loop, over);
    const tokens = tokensOf(whole);
    for (let k = 0; k <= tokens.length; k++) {
      const rest = await untilOver(bench().loop, { ...over, tokens: tokens.slice(0, k) });
      expect(rest.filter((event) => event.t === 'token')).toEqual(
        whole.filter((event) => event.t === 'token').slice(k),
      );
      expect(rest.at(-1)).toMatchObject({ ...whole.at(-1), prefillMs: 0, decodeMs: 0 });
      const [end] = rest.flatMap((event) => (event.t === 'finished' ? [event] : []));
      expect((end?.before?.s ?? '') + textOf(rest)).toBe(textOf(whole));
    }
  }
});

test('an answer is the same alone, among others, and however its prompt is cut', async () => {
  const prompts = ['a', 'ab', 'Once more unto the breach, dear friends, once more', 'x'.repeat(120)].map(
    (text) => ({ kind: 'text', text }) as const,
  );
  const alone = await Promise.all(prompts.map((prompt) => untilOver(bench().loop, { prompt, tokensMax: 30 })));
  for (const msPerRow of [0.01, 1, 3, 17, 60]) {
    const { loop, session } = bench({ msPerRow });
    const together = await Promise.all(prompts.map((prompt) => untilOver(loop, { prompt, tokensMax: 30 })));
    expect(together.map(tokensOf)).toEqual(alone.map(tokensOf));
    expect(Math.min(...session.runs)).toBe(LIMITS.rowsMin);
  }
});

test('after the first chunks no run is longer than its bound, and long prompts are read in large ones', async () => {
  const slow = bench({ msPerRow: 5, contextTokens: 1_000 });
  await untilOver(slow.loop, { prompt: { kind: 'text', text: 'x'.repeat(600) }, tokensMax: 2 });
  expect(slow.session.runs[0]).toBe(LIMITS.rowsFirst);
  expect(Math.max(...slow.session.runs.slice(1)) * 5).toBeLessThanOrEqual(LIMITS.runMsMax);
  const fast = bench({ msPerRow: 0.05, contextTokens: 1_000 });
  await untilOver(fast.loop, { prompt: { kind: 'text', text: 'x'.repeat(600) }, tokensMax: 2 });
  expect(fast.session.runs.length).toBeLessThan(10);
});

test('answers take turns: a long prompt does not keep the others waiting for more than a chunk', async () => {
  const { loop, session, clock } = bench({ msPerRow: 2, contextTokens: 1_000 });
  const arrivals: number[] = [];
  const talk = collect(loop, work({ tokensMax: 60 }), (event) => {
    if (event.t === 'token') arrivals.push(clock.monotonic());
  });
  await clock.settle();
  const read = untilOver(loop, { prompt: { kind: 'text', text: 'x'.repeat(900) }, tokensMax: 1 });
  await Promise.all([talk.over, read]);
  const gaps = arrivals.slice(1).map((at, i) => at - (arrivals[i] as number));
  expect(Math.max(...gaps)).toBeLessThanOrEqual(LIMITS.runMsMax + 4);
  expect(session.runs.length).toBeGreaterThan(60);
});

test('while a long prompt is read there is a sign of life', async () => {
  const { loop } = bench({ msPerRow: 10, contextTokens: 1_000 });
  const events = await untilOver(loop, { prompt: { kind: 'text', text: 'x'.repeat(300) }, tokensMax: 1 });
  const progress = events.filter((event) => event.t === 'progress');
  expect(progress.length).toBeGreaterThan(5);
  expect(progress.length).toBeLessThan(15);
});

test('a stop string ends the answer exactly before it, at the token that completes it', async () => {
  const whole = textOf(await untilOver(bench().loop, { tokensMax: 80 }));
  const stop = whole.slice(20, 23);
  const events = await untilOver(bench().loop, { tokensMax: 80, stop: [stop] });
  expect(textOf(events)).toBe(whole.slice(0, whole.indexOf(stop)));
  expect(events.at(-1)).toMatchObject({ t: 'finished', finish: 'stop', s: '' });
});

test('the token that ends an answer is counted and has no text', async () => {
  const free = await untilOver(bench().loop, { tokensMax: 40 });
  const end = tokensOf(free)[10] as number;
  const ending = bench({ settings: { ...settings, endIds: new Set([end]) } });
  const events = await untilOver(ending.loop, { tokensMax: 40 });
  const at = tokensOf(free).indexOf(end);
  expect(events.at(-2)).toEqual({ t: 'token', i: at, id: end, s: '' });
  expect(events.at(-1)).toMatchObject({ t: 'finished', finish: 'stop', answerTokens: at + 1 });
});

test('what does not fit the context is refused with the numbers; an answer without a bound ends with it', async () => {
  const { loop } = bench({ contextTokens: 40 });
  const text = (length: number) => ({ kind: 'text', text: 'x'.repeat(length) }) as const;
  for (const [over, numbers] of [
    [{ prompt: text(40) }, ['40']],
    [{ prompt: text(30), tokensMax: 11 }, ['40', '30', '11', '41']],
  ] as const) {
    const [event] = await untilOver(loop, over);
    expect(event).toMatchObject({ t: 'failed', code: 'context_length_exceeded' });
    for (const number of numbers) expect((event as { message: string }).message).toContain(number);
  }
  expect((await untilOver(loop, { prompt: text(39) })).at(-1)).toMatchObject({
    t: 'finished',
    finish: 'length',
    answerTokens: 1,
  });
  expect((await untilOver(loop, { prompt: text(30) })).at(-1)).toMatchObject({
    t: 'finished',
    finish: 'length',
    answerTokens: 10,
  });
  expect((await untilOver(loop, { prompt: text(30), tokensMax: 10 })).at(-1)).toMatchObject({
    t: 'finished',
    finish: 'length',
    answerTokens: 10,
  });
});

test('a token of an earlier attempt that the model does not have is refused', async () => {
  expect(await untilOver(bench().loop, { tokens: [VOCABULARY] })).toMatchObject([
    { t: 'failed', code: 'invalid_request' },
  ]);
});

test('a cancelled answer is silent at once, also one that waits or that its listener cancels', async () => {
  const { loop } = bench({ slotsMax: 1 });
  const first = collect(loop, work(), (event) => {
    if (event.t === 'token' && event.i === 3) first.cancel();
  });
  const waiting = collect(loop, work());
  const second = collect(loop, work({ tokensMax: 5 }));
  waiting.cancel();
  await second.over;
  expect(first.events.at(-1)).toMatchObject({ t: 'token', i: 3 });
  expect(waiting.events).toEqual([]);
  const third = collect(loop, work({ tokensMax: 5 }), () => third.cancel());
  await untilOver(loop, { tokensMax: 2 });
  expect(third.events).toEqual([{ t: 'started', promptTokens: 16 }]);
});

test('the pace holds over all answers together, and prompts are read meanwhile', async () => {
  const { loop, clock } = bench({ tokensPerSecondMax: 10, contextTokens: 1_000 });
  const arrivals: number[] = [];
  const note = (event: EngineEvent): void => {
    if (event.t === 'token') arrivals.push(clock.monotonic());
  };
  const answers = [1, 2].map((seed) => collect(loop, work({ tokensMax: 20, sampling: { seed } }), note));
  await clock.advance(2_000);
  // Each answer's first token comes of reading its prompt; the others keep the pace.
  expect(arrivals.length).toBeGreaterThanOrEqual(21);
  expect(arrivals.length).toBeLessThanOrEqual(23);
  const late = collect(loop, work({ tokensMax: 5, sampling: { seed: 3 } }));
  await clock.advance(1);
  expect(late.events.some((event) => event.t === 'token')).toBe(true);
  await clock.advance(5_000);
  expect((await answers[0]?.over)?.t).toBe('finished');
  expect((await answers[1]?.over)?.t).toBe('finished');
});

test('more answers than may wait are refused', async () => {
  const { loop } = bench({ slotsMax: 1 });
  const all = Array.from({ length: LIMITS.waitingMax + 2 }, () => collect(loop, work({ tokensMax: 1 })));
  const last = await Promise.all(all.map(({ over }) => over));
  expect(last.filter((event) => event.t === 'failed').map((event) => event.code)).toEqual([
    'device_full',
    'device_full',
  ]);
});

test('a runtime that fails costs the answer that it ran for, and no other', async () => {
  const clock = createFakeClock(yieldToNode);
  const session = createMemorySession({ vocabulary: VOCABULARY });
  const decoder = createWholeDecoder(session, session.shape, { contextTokens: 100, cacheBytesMax: 1_000_000 });
  const failing = {
    ...decoder,
    run: (parts: readonly DecoderPart[]) => {
      if (parts.some(({ from, ids }) => from > 10 && ids.includes(97))) throw new Error('out of memory');
      return decoder.run(parts);
    },
  };
  const loop = createDecodeLoop({ decoder: failing, settings, contextTokens: 100, slotsMax: 4, clock });
  const prompt = (text: string) => ({ kind: 'text', text: text.repeat(40) }) as const;
  const [broken, whole] = await Promise.all([
    untilOver(loop, { prompt: prompt('`'), tokensMax: 3 }),
    untilOver(loop, { prompt: prompt('b'), tokensMax: 3 }),
  ]);
  expect(broken.at(-1)).toMatchObject({
    t: 'failed',
    code: 'engine_failed',
    message: expect.stringContaining('out of memory') as string,
  });
  expect(whole.at(-1)).toMatchObject({ t: 'finished' });
});

test('who asks for no number of tokens gets as many as the model says, also over two attempts', async () => {
  const limited = { settings: { ...settings, tokensDefault: 9 } };
  const prompt = { kind: 'text', text: 'abcd' } as const;
  const whole = await untilOver(bench(limited).loop, { prompt, tokensMax: undefined });
  expect(whole.at(-1)).toMatchObject({ t: 'finished', finish: 'length', answerTokens: 9 });
  const rest = await untilOver(bench(limited).loop, {
    prompt,
    tokensMax: undefined,
    tokens: tokensOf(whole).slice(0, 4),
  });
  expect(tokensOf(rest)).toEqual(tokensOf(whole).slice(4));
  const more = await untilOver(bench(limited).loop, { prompt, tokensMax: 14 });
  expect(tokensOf(more)).toHaveLength(14);
});
