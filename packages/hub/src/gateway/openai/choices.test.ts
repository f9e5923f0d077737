/** Claims about chat and completions, made with OpenAI's own client against scripted devices. */
import type { AnswerWork } from '@idlewild/protocol';
import { utf8 } from '@idlewild/protocol';
import OpenAI, { BadRequestError, InternalServerError } from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import type { Script, ScriptedToken } from '../../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let openai: OpenAI;
/** What devices were given, in the order in which they got it. */
let works: AnswerWork[] = [];

beforeAll(async () => {
  door = await openTestDoor('jacobean');
  openai = new OpenAI({ apiKey: door.key, baseURL: `${door.url}/v1`, maxRetries: 0 });
});
afterEach(async () => {
  works = [];
  await door.empty();
});
afterAll(() => door.close());

const join = (script: (work: AnswerWork) => Script): Promise<unknown> =>
  door.join((work) => {
    works.push(work);
    return script(work);
  });
const say = (...tokens: ScriptedToken[]): Promise<unknown> => join(() => ({ tokens }));
const messages = [{ role: 'user' as const, content: 'Speak.' }];
const chat = { model: 'jacobean', messages };
const completion = { model: 'jacobean', prompt: 'x' };
const caught = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no error',
    (error: unknown) => error,
  );
const lp = (text: string, p: number, others: [string, number][] = []): NonNullable<Exclude<ScriptedToken, string>> => ({
  s: text,
  lp: { p, b: utf8(text), top: others.map(([other, q], id) => ({ id, p: q, b: utf8(other) })) },
});

test('every field of sampling reaches the device', async () => {
  await say('yes');
  await openai.chat.completions.create({
    ...chat,
    max_completion_tokens: 9,
    temperature: 0.5,
    top_p: 0.9,
    frequency_penalty: 0.1,
    presence_penalty: -0.2,
    logit_bias: { 7: -100, 3: 5 },
    stop: ['a', 'b'],
    seed: 11,
    ...({ top_k: 4, repetition_penalty: 1.2 } as object),
  });
  expect(works[0]).toMatchObject({
    sampling: {
      temperature: 0.5,
      topP: 0.9,
      topK: 4,
      frequencyPenalty: 0.1,
      presencePenalty: -0.2,
      repetitionPenalty: 1.2,
      logitBias: [
        [3, 5],
        [7, -100],
      ],
      seed: 11,
    },
    stop: ['a', 'b'],
    tokensMax: 9,
    choice: 0,
  });
});

test('one caller has one scope, narrowed by prompt_cache_key, and another caller another', async () => {
  await say('yes');
  const other = await door.hub.keys.create({ territory: door.hub.territory.id, role: 'caller', actor: 'test' });
  const theirs = new OpenAI({ apiKey: other.key, baseURL: `${door.url}/v1`, maxRetries: 0 });
  await openai.chat.completions.create(chat);
  await openai.completions.create(completion);
  await openai.chat.completions.create({ ...chat, prompt_cache_key: 'draft' });
  await theirs.chat.completions.create(chat);
  const [first, second, narrowed, foreign] = works.map((work) => work.scope);
  expect(second).toBe(first);
  expect(new Set([first, narrowed, foreign]).size).toBe(3);
  expect(first).toMatch(/^[\w-]{24}$/);
});

test('n choices are answered at once, each as its own number, with one usage', async () => {
  await join((work) => ({ tokens: ['I am ', String(work.choice)], cachedTokens: 5 }));
  const whole = await openai.chat.completions.create({ ...chat, n: 3 });
  expect(whole.choices.map((choice) => [choice.index, choice.message.content])).toEqual([
    [0, 'I am 0'],
    [1, 'I am 1'],
    [2, 'I am 2'],
  ]);
  expect(whole.usage).toEqual({
    prompt_tokens: 7,
    completion_tokens: 6,
    total_tokens: 13,
    prompt_tokens_details: { cached_tokens: 5 },
  });
  expect(new Set(works.map((work) => work.sampling.seed)).size).toBe(1);

  const texts = ['', '', ''];
  const ends: string[] = [];
  const usages: unknown[] = [];
  const asked = { ...chat, n: 3, stream: true, stream_options: { include_usage: true } } as const;
  for await (const chunk of await openai.chat.completions.create(asked)) {
    for (const { index, delta, finish_reason: finish } of chunk.choices) {
      texts[index] += delta.content ?? '';
      if (finish !== null) ends.push(`${index} ${finish}`);
    }
    if (chunk.usage) usages.push(chunk.usage);
  }
  expect(texts).toEqual(['I am 0', 'I am 1', 'I am 2']);
  expect(ends.sort()).toEqual(['0 stop', '1 stop', '2 stop']);
  expect(usages).toEqual([whole.usage]);
});

test('several prompts times n choices are numbered as OpenAI does, each after its prompt if echoed', async () => {
  await join(({ prompt, choice }) => ({ tokens: [`<${prompt.kind === 'text' ? prompt.text : ''}${choice}>`] }));
  const asked = { ...completion, prompt: ['a', 'b'], n: 2, best_of: 2, echo: true };
  const whole = await openai.completions.create(asked);
  expect(whole.choices.map((choice) => choice.text)).toEqual(['a<a0>', 'a<a1>', 'b<b0>', 'b<b1>']);
  expect(whole.usage).toMatchObject({ prompt_tokens: 14, completion_tokens: 4 });
  const texts = ['', '', '', ''];
  for await (const chunk of await openai.completions.create({ ...asked, stream: true }))
    for (const choice of chunk.choices) texts[choice.index] += choice.text;
  expect(texts).toEqual(['a<a0>', 'a<a1>', 'b<b0>', 'b<b1>']);
});

test('if one choice fails the request fails, and the others are cancelled on their devices', async () => {
  const device = await door.join();
  const cancelled: string[] = [];
  const leases = new Map<number, string>();
  device.onMessage = (message) => {
    if (message.t === 'cancel') cancelled.push(message.lease);
    if (message.t !== 'answer') return;
    const { lease, epoch, work } = message;
    leases.set(work.choice, lease);
    if (leases.size < 3) return;
    for (const open of [0, 1]) {
      device.send({ t: 'answer.started', lease: leases.get(open) ?? '', epoch, promptTokens: 1 });
    }
    const why = { code: 'context_length_exceeded', message: 'it does not fit' };
    device.send({ t: 'answer.failed', lease: leases.get(2) ?? '', epoch, ...why });
  };
  const refused = await caught(openai.chat.completions.create({ ...chat, n: 3 }));
  expect(refused).toBeInstanceOf(BadRequestError);
  expect(refused).toMatchObject({ code: 'context_length_exceeded' });
  await expect.poll(() => cancelled).toEqual(expect.arrayContaining([leases.get(0), leases.get(1)]));
  expect(door.hub.answers.counts().open).toBe(0);
});

test('128 choices are answered by a device of four slots, one after the other', async () => {
  await join(({ choice }) => ({ tokens: [String(choice)] }));
  const { choices, usage } = await openai.completions.create({ ...completion, n: 128 });
  expect(choices.map((choice) => choice.text)).toEqual(Array.from({ length: 128 }, (_, i) => String(i)));
  expect(usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 128 });
});

test('a caller that hangs up cancels all its choices', async () => {
  const device = await door.join();
  const open = new Set<string>();
  let begun = (): void => {};
  const all = new Promise<void>((resolve) => (begun = resolve));
  device.onMessage = (message) => {
    if (message.t === 'cancel') open.delete(message.lease);
    if (message.t !== 'answer') return;
    open.add(message.lease);
    device.send({ t: 'answer.started', lease: message.lease, epoch: message.epoch, promptTokens: 1 });
    if (open.size === 3) begun();
  };
  const abort = new AbortController();
  const asked = openai.completions.create({ ...completion, n: 3, stream: true }, { signal: abort.signal });
  await all;
  await asked;
  abort.abort();
  await expect.poll(() => open.size).toBe(0);
  expect(door.hub.answers.counts().open).toBe(0);
});

test('log probabilities of a chat come whole and streamed, with the text that they are of', async () => {
  await say(lp('Good', -0.1, [['Good', -0.1], ['Bad', -2]]), lp(' morrow', -0.5, [[' day', -0.2]])); // prettier-ignore
  const whole = await openai.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 2 });
  expect(works[0]?.logprobs).toBe(2);
  expect(whole.choices[0]?.logprobs?.content).toEqual([
    {
      token: 'Good',
      logprob: -0.1,
      bytes: [...utf8('Good')],
      top_logprobs: [
        { token: 'Good', logprob: -0.1, bytes: [...utf8('Good')] },
        { token: 'Bad', logprob: -2, bytes: [...utf8('Bad')] },
      ],
    },
    {
      token: ' morrow',
      logprob: -0.5,
      bytes: [...utf8(' morrow')],
      top_logprobs: [{ token: ' day', logprob: -0.2, bytes: [...utf8(' day')] }],
    },
  ]);
  const streamed: unknown[] = [];
  for await (const chunk of await openai.chat.completions.create({ ...chat, logprobs: true, stream: true })) {
    const told = chunk.choices[0]?.logprobs?.content ?? [];
    streamed.push(...told);
    if (told.length > 0) expect(told.map((each) => each.token).join('')).toBe(chunk.choices[0]?.delta.content);
  }
  expect(streamed).toEqual(whole.choices[0]?.logprobs?.content);
});

test('log probabilities of a completion have offsets; those of a stop string are not told', async () => {
  const held = (text: string, p: number, s: string): ScriptedToken => ({ s, lp: { p, b: utf8(text), top: [] } });
  const face = utf8('☺');
  await join(() => ({
    tokens: [
      { s: '', lp: { p: -1, b: face.slice(0, 1), top: [] } },
      { s: '☺', lp: { p: -2, b: face.slice(1), top: [] } },
      held(' so', -3, ''),
      held(' far', -4, ' so'),
      held(' END', -5, ''),
    ],
    rest: { s: ' far' },
  }));
  const expected = {
    tokens: [String.raw`\xe2`, String.raw`\x98\xba`, ' so', ' far'],
    token_logprobs: [-1, -2, -3, -4],
    text_offset: [0, 0, 1, 4],
  };
  const whole = await openai.completions.create({ ...completion, logprobs: 0, stop: ' END' });
  expect(whole.choices[0]).toMatchObject({ text: '☺ so far', logprobs: expected });
  const streamed = { tokens: [] as string[], token_logprobs: [] as number[], text_offset: [] as number[] };
  for await (const { choices } of await openai.completions.create({ ...completion, logprobs: 0, stream: true })) {
    streamed.tokens.push(...(choices[0]?.logprobs?.tokens ?? []));
    streamed.token_logprobs.push(...(choices[0]?.logprobs?.token_logprobs ?? []));
    streamed.text_offset.push(...(choices[0]?.logprobs?.text_offset ?? []));
  }
  expect(streamed).toEqual(expected);
});

test('a form asked for reaches the device as the text of its schema, and the client reads the answer', async () => {
  await say('{"rhyme"', ':', '"morrow"}');
  const shape = z.object({ rhyme: z.string() });
  const format = zodResponseFormat(shape, 'rhyme');
  const parsed = await openai.chat.completions.parse({ ...chat, response_format: format });
  expect(parsed.choices[0]?.message.parsed).toEqual({ rhyme: 'morrow' });
  const form = works[0]?.form as { kind: string; schema: string };
  expect(form.kind).toBe('schema');
  expect(JSON.parse(form.schema)).toEqual(format.json_schema.schema);
  await openai.chat.completions.create({ ...chat, response_format: { type: 'json_object' } });
  expect(works[1]?.form).toEqual({ kind: 'json' });
  await openai.chat.completions.create({ ...chat, response_format: { type: 'text' } });
  expect(works[2]?.form).toBeUndefined();
});

const rhyme = { type: 'function', function: { name: 'rhyme', parameters: { type: 'object' }, strict: true } } as const;
const metre = { type: 'function', function: { name: 'metre', description: 'counts feet' } } as const;
const callsScript = (): Script => ({
  tokens: [
    { s: '', calls: [{ i: 0, name: 'rhyme', s: '' }] },
    { s: '', calls: [{ i: 0, s: '{"word":' }] },
    { s: '', calls: [{ i: 0, s: '"day"}' }, { i: 1, name: 'metre', s: '{' }] }, // prettier-ignore
  ],
  rest: { calls: [{ i: 1, s: '}' }] },
  finish: 'tool_calls',
});

test('calls come whole and streamed with the same ids in each of their places, and no text', async () => {
  await join(callsScript);
  const asked = { ...chat, tools: [rhyme, metre], tool_choice: 'required' as const, parallel_tool_calls: true };
  const whole = await openai.chat.completions.create(asked);
  const [choice] = whole.choices;
  expect(choice).toMatchObject({ finish_reason: 'tool_calls', message: { content: null } });
  const calls = choice?.message.tool_calls ?? [];
  expect(calls).toMatchObject([
    { type: 'function', function: { name: 'rhyme', arguments: '{"word":"day"}' } },
    { type: 'function', function: { name: 'metre', arguments: '{}' } },
  ]);
  expect(calls[0]?.id).toMatch(/^call_[a-z2-7]{26}_0_0$/);
  expect(works[0]).toMatchObject({
    prompt: { tools: [{ name: 'rhyme', parameters: '{"type":"object"}', strict: true }, { name: 'metre' }] },
    toolChoice: 'required',
  });
  const stream = openai.chat.completions.stream(asked);
  const final = await stream.finalChatCompletion();
  expect(final.choices[0]?.message.content).toBeNull();
  expect(final.choices[0]?.finish_reason).toBe('tool_calls');
  const streamed = final.choices[0]?.message.tool_calls ?? [];
  expect(streamed.map((call) => call.type === 'function' && call.function.arguments)).toEqual(['{"word":"day"}', '{}']);
  expect(streamed.map((call) => call.id.slice(-4))).toEqual(['_0_0', '_0_1']);
});

test("the official client's loop over tools ends: calls and what they gave go back as messages", async () => {
  await join(({ prompt }) =>
    prompt.kind === 'chat' && prompt.messages.some((message) => message.role === 'tool')
      ? { tokens: ['It rhymes with way.'] }
      : { tokens: [{ s: '', calls: [{ i: 0, name: 'rhyme', s: '{"word":"day"}' }] }], finish: 'tool_calls' },
  );
  const tool = zodFunction({
    name: 'rhyme',
    parameters: z.object({ word: z.string() }),
    function: ({ word }) => `way, for ${word}`,
  });
  const runner = openai.chat.completions.runTools({ ...chat, tools: [tool] });
  expect(await runner.finalContent()).toBe('It rhymes with way.');
  const said = works[1]?.prompt;
  expect(said?.kind === 'chat' && said.messages).toMatchObject([
    { role: 'user', content: 'Speak.' },
    { role: 'assistant', content: '', toolCalls: [{ name: 'rhyme', arguments: '{"word":"day"}' }] },
    { role: 'tool', content: 'way, for day', toolCallId: expect.stringMatching(/^call_/) as string },
  ]);
});

test('a choice of tools reaches the device; those that are not allowed are not shown to it', async () => {
  await say('no');
  const tools = [rhyme, metre];
  const named = { type: 'function', function: { name: 'metre' } } as const;
  await openai.chat.completions.create({ ...chat, tools, tool_choice: named, parallel_tool_calls: false });
  const allowed = { type: 'allowed_tools' as const, allowed_tools: { mode: 'auto' as const, tools: [named] } };
  await openai.chat.completions.create({ ...chat, tools, tool_choice: allowed });
  await openai.chat.completions.create({ ...chat, tools, tool_choice: 'none' });
  expect(works.map(({ toolChoice, oneCall }) => [toolChoice, oneCall])).toEqual([
    [{ name: 'metre' }, true],
    ['auto', undefined],
    ['none', undefined],
  ]);
  expect(works[1]?.prompt).toMatchObject({ tools: [{ name: 'metre', description: 'counts feet' }] });
});

const nested = (depth: number): object => (depth === 0 ? {} : { not: nested(depth - 1) });

test('fields that contradict each other are refused, and schemas without end, naming one', async () => {
  await say('never');
  const tools = [rhyme];
  const json = { response_format: { type: 'json_object' } };
  const cases: [object, string][] = [
    [{ top_logprobs: 2 }, 'top_logprobs'],
    [{ stream_options: { include_usage: true } }, 'stream_options'],
    [{ tool_choice: 'required' }, 'tool_choice'],
    [{ tools, tool_choice: { type: 'function', function: { name: 'metre' } } }, 'tool_choice'],
    [{ tools: [rhyme, rhyme] }, 'tools'],
    [{ tools, ...json }, 'response_format'],
    [{ logit_bias: { 99_999_999: 1 } }, 'logit_bias'],
    [
      { response_format: { type: 'json_schema', json_schema: { name: 'deep', schema: nested(200) } } },
      'response_format',
    ],
  ];
  for (const [more, param] of cases) {
    const refused = await caught(openai.chat.completions.create({ ...chat, ...more }));
    expect(refused, JSON.stringify(more)).toMatchObject({ status: 400, param });
  }
  const asked: [object, string][] = [
    [{ best_of: 2 }, 'best_of'],
    [{ echo: true, logprobs: 1 }, 'echo'],
    [{ prompt: ['a', 'b'], n: 128 }, 'n'],
    [{ prompt: [1, 2] }, 'prompt'],
    [{ suffix: 'x' }, 'suffix'],
  ];
  for (const [more, param] of asked) {
    const refused = await caught(openai.completions.create({ ...completion, ...more }));
    expect(refused, JSON.stringify(more)).toMatchObject({
      status: 400,
      param: expect.stringContaining(param) as string,
    });
  }
  expect(works).toEqual([]);
});

test('what is accepted and ignored changes nothing, and null is as good as nothing', async () => {
  await say('yes');
  const ignored = {
    user: 'u',
    metadata: { a: 'b' },
    store: false,
    service_tier: 'auto',
    safety_identifier: 's',
  } as const;
  await openai.chat.completions.create({ ...chat, ...ignored, seed: 1, modalities: ['text'] });
  const nothing = { temperature: null, tools: null, audio: null, n: null, stop: null, response_format: null };
  await openai.chat.completions.create({ ...chat, seed: 1, ...(nothing as object) });
  expect(works[1]).toEqual(works[0]);
});

test('no device that can do it is 503 that says what is missing', async () => {
  await door.join(undefined, { features: ['tools'] });
  const refused = await caught(openai.chat.completions.create({ ...chat, response_format: { type: 'json_object' } }));
  expect(refused).toBeInstanceOf(InternalServerError);
  expect(refused).toMatchObject({
    code: 'no_device',
    message: expect.stringMatching(/cannot answer in JSON/) as string,
  });
});

test('a model that makes no text is refused before anybody is asked', async () => {
  await door.publish('senses', { kind: 'encoder', card: { licence: 'MIT' } });
  const refused = await caught(openai.chat.completions.create({ ...chat, model: 'senses' }));
  expect(refused).toMatchObject({ status: 400, param: 'model', message: expect.stringContaining('encoder') as string });
  const told = { kind: 'encoder', licence: 'MIT', card: { licence: 'MIT' }, devices_ready: 0 };
  expect(await openai.models.retrieve('senses')).toMatchObject(told);
});

test('models tell what people must know; what is kept nowhere is refused with the reason', async () => {
  await say('yes');
  expect(await openai.models.retrieve('jacobean')).toMatchObject({
    id: 'jacobean',
    object: 'model',
    kind: 'decoder',
    context_window: 512,
    devices_ready: 1,
  });
  await expect(openai.models.delete('jacobean')).rejects.toMatchObject({ status: 404 });
  await expect(openai.chat.completions.retrieve('x')).rejects.toThrow(/keeps no answer/);
  await expect(openai.chat.completions.list()).rejects.toThrow(/keeps no answer/);
});
