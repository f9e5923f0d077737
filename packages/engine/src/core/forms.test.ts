/** Forms, calls, log probabilities and bias through the decode loop, over arithmetic. */
import { modelFolderTexts } from '@idlewild/graph/testing';
import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { collect, createMemorySession, createSearchGrammars, textOf, tokensOf, work } from '../testing/index.ts';
import { createDecodeLoop, type DecodeLoop } from './decode-loop.ts';
import type { EngineEvent } from './port.ts';
import { readSettings } from './settings.ts';
import { createWholeDecoder } from './whole-decoder.ts';

const VOCABULARY = 300;
/** As some models' logits are wider than their vocabulary. */
const LOGITS = 320;
const files = modelFolderTexts({ vocab: VOCABULARY, width: 8, layers: 1, heads: 1, kvHeads: 1, feedForward: 8 });
const settings = readSettings({
  tokenizer: files['tokenizer.json'],
  tokenizerConfig: files['tokenizer_config.json'],
  generationConfig: '{"eos_token_id":[0,299],"temperature":1.2}',
});
const END_IDS = [0, 299];

function loopOf(): DecodeLoop {
  const session = createMemorySession({ vocabulary: LOGITS });
  return createDecodeLoop({
    decoder: createWholeDecoder(session, session.shape, { contextTokens: 900, cacheBytesMax: 1_000_000 }),
    settings,
    contextTokens: 900,
    vocabulary: LOGITS,
    slotsMax: 4,
    clock: createFakeClock(yieldToNode),
    grammars: createSearchGrammars(),
  });
}
const ask = async (over: Parameters<typeof work>[0], loop = loopOf()): Promise<EngineEvent[]> => {
  const asked = collect(loop, work(over));
  await asked.over;
  return asked.events;
};
const told = (events: readonly EngineEvent[]): EngineEvent[] => events.filter(({ t }) => t === 'token');

const SCHEMA =
  '{"type":"object","properties":{"a":{"type":"string","maxLength":9},"b":{"type":"number"}},"required":["a","b"]}';
const TOOLS = [{ name: 'f', parameters: '{"type":"object","properties":{"x":{"type":"boolean"}},"required":["x"]}' }];

test('an answer that follows a form is the same resumed after any token, and ends with its last bracket', async () => {
  for (const over of [
    { form: { kind: 'json' as const }, tokensMax: 40, sampling: { seed: 3 } },
    { form: { kind: 'schema' as const, schema: SCHEMA }, tokensMax: 60, sampling: { seed: 4, topP: 0.9 } },
    {
      prompt: { kind: 'chat' as const, messages: [{ role: 'user', content: 'x' }], tools: TOOLS },
      toolChoice: 'required' as const,
      tokensMax: 180,
    },
  ]) {
    const whole = await ask(over);
    const tokens = tokensOf(whole);
    expect(whole.at(-1)).toMatchObject({
      t: 'finished',
      finish: over.toolChoice === undefined ? 'stop' : 'tool_calls',
    });
    for (let k = 0; k <= tokens.length; k += 3) {
      const rest = await ask({ ...over, tokens: tokens.slice(0, k) });
      expect(told(rest)).toEqual(told(whole).slice(k));
      expect(rest.at(-1)).toMatchObject({ ...whole.at(-1), prefillMs: 0, decodeMs: 0 });
    }
  }
});

test('each of several tokens that end an answer may end a form, once it is whole', async () => {
  const ended = new Set<number | undefined>();
  for (let seed = 0; seed < 12; seed++) {
    const sampling = { seed, logitBias: END_IDS.map((id): [number, number] => [id, 100]) };
    const events = await ask({
      form: { kind: 'schema', schema: '{"type":"integer","minimum":0}' },
      sampling,
      tokensMax: 30,
    });
    expect(events.at(-1)).toMatchObject({ t: 'finished', finish: 'stop', answerTokens: 2 });
    expect(Number.isInteger(JSON.parse(textOf(events)))).toBe(true);
    ended.add(tokensOf(events).at(-1));
  }
  expect([...ended].sort((a, b) => (a ?? 0) - (b ?? 0))).toEqual(END_IDS);
});

test('a value that is whole when its tokens are used up is no cut one', async () => {
  const sampling = { seed: 1, logitBias: END_IDS.map((id): [number, number] => [id, -100]) };
  const form = { kind: 'schema' as const, schema: '{"type":"integer","minimum":100000}' };
  expect((await ask({ form, sampling, tokensMax: 9 })).at(-1)).toMatchObject({ finish: 'stop', answerTokens: 9 });
  expect((await ask({ form, sampling, tokensMax: 4 })).at(-1)).toMatchObject({ finish: 'length', answerTokens: 4 });
});

test('answers with and without a form do not change each other', async () => {
  const works = [
    {},
    { form: { kind: 'json' as const } },
    { logprobs: 2 },
    { form: { kind: 'schema' as const, schema: SCHEMA } },
  ];
  const alone = await Promise.all(works.map((over) => ask({ ...over, tokensMax: 25 })));
  const loop = loopOf();
  const together = await Promise.all(works.map((over) => ask({ ...over, tokensMax: 25 }, loop)));
  expect(together.map(told)).toEqual(alone.map(told));
  expect(tokensOf(alone[2] ?? [])).toEqual(tokensOf(alone[0] ?? []));
});

test('log probabilities add up, and are told with the bytes of each token', async () => {
  const events = await ask({ logprobs: 20, tokensMax: 15, sampling: { seed: 2, temperature: 0 } });
  for (const event of events) {
    if (event.t !== 'token') continue;
    expect(event.lp?.top[0]).toEqual({ id: event.id, p: event.lp?.p, b: event.lp?.b });
    expect(event.lp?.b).toEqual(settings.tokenizer.bytesOf(event.id) ?? new Uint8Array());
    const sum = event.lp?.top.reduce((total, { p }) => total + Math.exp(p), 0) ?? 0;
    expect(sum > 0.05 && sum < 1).toBe(true);
    expect(event.lp?.top.map(({ p }) => p)).toEqual(event.lp?.top.map(({ p }) => p).sort((a, b) => b - a));
  }
  const none = await ask({ logprobs: 0, tokensMax: 1 });
  expect(told(none)).toMatchObject([{ lp: { top: [] } }]);
});

test('a bias rules, and one for a token that is none is refused', async () => {
  const events = await ask({ tokensMax: 3, sampling: { seed: 1, temperature: 0, logitBias: [[100, 100]] } });
  expect(tokensOf(events)).toEqual([100, 100, 100]);
  expect(await ask({ sampling: { seed: 1, logitBias: [[LOGITS, 1]] } })).toMatchObject([
    { t: 'failed', code: 'invalid_request', message: expect.stringContaining(`${LOGITS}`) as string },
  ]);
});

test('a cancelled answer is silent though its form is still made ready', async () => {
  const loop = loopOf();
  const cancelled = collect(loop, work({ form: { kind: 'json' } }));
  cancelled.cancel();
  await ask({ form: { kind: 'json' }, tokensMax: 5 }, loop);
  expect(cancelled.events).toEqual([]);
});
