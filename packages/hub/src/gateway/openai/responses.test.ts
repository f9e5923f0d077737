/** Claims about responses, made with OpenAI's own client against scripted devices. */
import { utf8, type AnswerWork } from '@idlewild/protocol';
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import type { Script } from '../../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let openai: OpenAI;
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

const join = (script: Script): Promise<unknown> =>
  door.join((work) => {
    works.push(work);
    return script;
  });
const ask = { model: 'jacobean', input: 'Speak.' };
const rhyme = { type: 'function', name: 'rhyme', parameters: { type: 'object' }, strict: true } as const;
const GOOD: Script = { tokens: ['Good', ' morrow'], cachedTokens: 3 };
const CALLS: Script = {
  tokens: [
    'Let me see.',
    { s: '', calls: [{ i: 0, name: 'rhyme', s: '' }] },
    { s: '', calls: [{ i: 0, s: '{"word":"day"}' }, { i: 1, name: 'rhyme', s: '{' }] }, // prettier-ignore
    { s: '', calls: [{ i: 1, s: '}' }] },
  ],
  finish: 'tool_calls',
};

async function eventsOf(more: object = {}): Promise<OpenAI.Responses.ResponseStreamEvent[]> {
  const events = [];
  for await (const event of await openai.responses.create({ ...ask, ...more, stream: true })) events.push(event);
  return events;
}

test('a response is an answer with its text, its usage and what was asked', async () => {
  await join(GOOD);
  const response = await openai.responses.create({
    ...ask,
    instructions: 'Be brief.',
    temperature: 0.5,
    metadata: { play: 'Hamlet' },
    max_output_tokens: 9,
  });
  expect(response).toMatchObject({
    object: 'response',
    status: 'completed',
    output_text: 'Good morrow',
    output: [{ type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text' }] }],
    usage: {
      input_tokens: 7,
      input_tokens_details: { cached_tokens: 3 },
      output_tokens: 2,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 9,
    },
    instructions: 'Be brief.',
    metadata: { play: 'Hamlet' },
    store: false,
    error: null,
    incomplete_details: null,
    idlewild: { devices: ['scripted'], exact: true },
  });
  expect(works[0]).toMatchObject({
    prompt: {
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Speak.' },
      ],
    },
    sampling: { temperature: 0.5 },
    tokensMax: 9,
  });
});

test('its events come in the official order, numbered, and the last holds the whole', async () => {
  await join(GOOD);
  const events = await eventsOf();
  expect(events.map((event) => event.type)).toEqual([
    'response.created',
    'response.in_progress',
    'response.output_item.added',
    'response.content_part.added',
    'response.output_text.delta',
    'response.output_text.delta',
    'response.output_text.done',
    'response.content_part.done',
    'response.output_item.done',
    'response.completed',
  ]);
  expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, i) => i));
  expect(events.at(-1)).toMatchObject({
    response: { status: 'completed', output: [{ content: [{ text: 'Good morrow' }] }], usage: { total_tokens: 9 } },
  });
});

test('the client puts a stream together to what the whole would be', async () => {
  await join(GOOD);
  const whole = await openai.responses.create(ask);
  const stream = openai.responses.stream(ask);
  const deltas: string[] = [];
  stream.on('response.output_text.delta', (event) => deltas.push(event.delta));
  const streamed = await stream.finalResponse();
  expect(deltas).toEqual(['Good', ' morrow']);
  const same = ({ output_text: text, usage, status }: OpenAI.Responses.Response): object => ({ text, usage, status });
  expect(same(streamed)).toEqual(same(whole));
});

test('calls are items of their own, whole and streamed', async () => {
  await join(CALLS);
  const asked = { ...ask, tools: [rhyme], tool_choice: 'auto' as const };
  const whole = await openai.responses.create(asked);
  expect(whole.output).toMatchObject([
    { type: 'message', content: [{ text: 'Let me see.' }] },
    { type: 'function_call', name: 'rhyme', arguments: '{"word":"day"}', status: 'completed' },
    { type: 'function_call', name: 'rhyme', arguments: '{}', status: 'completed' },
  ]);
  const events = await eventsOf({ tools: [rhyme] });
  const calls = events.slice(events.findIndex((event) => event.type.startsWith('response.function')) - 1);
  expect(calls.map((event) => event.type)).toEqual([
    'response.output_item.added',
    'response.function_call_arguments.delta',
    'response.function_call_arguments.done',
    'response.output_item.done',
    'response.output_item.added',
    'response.function_call_arguments.delta',
    'response.function_call_arguments.delta',
    'response.function_call_arguments.done',
    'response.output_item.done',
    'response.completed',
  ]);
  const streamed = await openai.responses.stream(asked).finalResponse();
  const shape = (item: OpenAI.Responses.ResponseOutputItem): unknown[] =>
    item.type === 'function_call' ? [item.type, item.name, item.arguments, item.id?.slice(-2)] : [item.type];
  expect(streamed.output.map(shape)).toEqual(whole.output.map(shape));
});

test('what a response gave, and what its calls gave, go back as input', async () => {
  await join(CALLS);
  const first = await openai.responses.create({ ...ask, tools: [rhyme] });
  const outputs = first.output.flatMap((item) =>
    item.type === 'function_call'
      ? [{ type: 'function_call_output' as const, call_id: item.call_id, output: 'way' }]
      : [],
  );
  const earlier = [{ role: 'user' as const, content: 'Speak.' }];
  const input = [...earlier, ...first.output, ...outputs] as OpenAI.Responses.ResponseInput;
  await openai.responses.create({ model: 'jacobean', input, tools: [rhyme] });
  const ids = outputs.map((output) => output.call_id);
  expect(works[1]?.prompt).toMatchObject({
    messages: [
      { role: 'user', content: 'Speak.' },
      { role: 'assistant', content: 'Let me see.', toolCalls: [{ id: ids[0], name: 'rhyme' }, { id: ids[1] }] },
      { role: 'tool', content: 'way', toolCallId: ids[0] },
      { role: 'tool', content: 'way', toolCallId: ids[1] },
    ],
  });
});

test('an answer that is cut off is incomplete, whole and streamed', async () => {
  await join({ tokens: ['Good', ' mor'], finish: 'length' });
  const cut = { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } };
  expect(await openai.responses.create(ask)).toMatchObject({ ...cut, output: [{ status: 'incomplete' }] });
  expect((await eventsOf()).at(-1)).toMatchObject({ type: 'response.incomplete', response: cut });
});

test('an answer that fails in the middle is a failed response with what there is of it', async () => {
  const device = await door.join();
  device.onMessage = (message) => {
    if (message.t !== 'answer') return;
    const { lease, epoch } = message;
    device.send({ t: 'answer.started', lease, epoch, promptTokens: 1 });
    device.send({ t: 'answer.token', lease, epoch, i: 0, id: 0, s: 'Good' });
    device.send({ t: 'answer.failed', lease, epoch, code: 'invalid_request', message: 'the schema has no end' });
  };
  const events = await eventsOf();
  expect(events.at(-1)).toMatchObject({
    type: 'response.failed',
    response: {
      status: 'failed',
      error: { code: 'server_error', message: expect.stringContaining('the schema has no end') as string },
      output: [{ status: 'incomplete', content: [{ text: 'Good' }] }],
    },
  });
});

test('an answer of nothing is a message of nothing', async () => {
  await join({ tokens: [''] });
  const empty = [{ type: 'message', status: 'completed', content: [{ type: 'output_text', text: '' }] }];
  expect((await openai.responses.create(ask)).output).toMatchObject(empty);
  expect((await openai.responses.stream(ask).finalResponse()).output).toMatchObject(empty);
});

test('a form reaches the device and the client reads the answer', async () => {
  await join({ tokens: ['{"rhyme":"morrow"}'] });
  const format = zodTextFormat(z.object({ rhyme: z.string() }), 'rhyme');
  const parsed = await openai.responses.parse({ ...ask, text: { format } });
  expect(parsed.output_parsed).toEqual({ rhyme: 'morrow' });
  expect(works[0]?.form).toMatchObject({ kind: 'schema' });
  expect(parsed.text).toMatchObject({ format: { type: 'json_schema', name: 'rhyme', strict: true } });
});

test('log probabilities come with the deltas and with the parts', async () => {
  const token = (s: string, p: number): Script['tokens'][number] => ({ s, lp: { p, b: utf8(s), top: [] } });
  await join({ tokens: [token('Good', -1), token(' day', -2)] });
  const more = { include: ['message.output_text.logprobs'], top_logprobs: 2 };
  const events = await eventsOf(more);
  expect(works[0]?.logprobs).toBe(2);
  const deltas = events.filter((event) => event.type === 'response.output_text.delta');
  expect(deltas.map((event) => event.logprobs.map(({ token: text, logprob }) => [text, logprob]))).toEqual([
    [['Good', -1]],
    [[' day', -2]],
  ]);
  const whole = await openai.responses.create({ ...ask, include: ['message.output_text.logprobs'] });
  expect(whole.output[0]).toMatchObject({ content: [{ logprobs: [{ logprob: -1 }, { logprob: -2 }] }] });
});

test.each<[string, object]>([
  ['store', { store: true }],
  ['previous_response_id', { previous_response_id: 'resp_x' }],
  ['conversation', { conversation: 'conv_x' }],
  ['background', { background: true }],
  ['truncation', { truncation: 'auto' }],
  ['reasoning', { reasoning: { effort: 'low' } }],
  ['prompt', { prompt: { id: 'pmpt_x' } }],
  ['max_tool_calls', { max_tool_calls: 2 }],
  ['include', { include: ['reasoning.encrypted_content'] }],
  ['tools', { tools: [{ type: 'web_search' }] }],
  ['input', { input: [{ type: 'item_reference', id: 'msg_x' }] }],
  ['input', { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'x', detail: 'auto' }] }] }],
  ['input', { input: [{ role: 'system', content: 'Be brief.' }] }],
])('what cannot be done is refused by name: %s %j', async (name, more) => {
  await join(GOOD);
  const param = expect.stringMatching(new RegExp(`^${name}`)) as string;
  await expect(openai.responses.create({ ...ask, ...more })).rejects.toMatchObject({ status: 400, param });
});

test('asking for a response that was given is refused with the reason', async () => {
  await expect(openai.responses.retrieve('resp_x')).rejects.toThrow(/keeps no answer/);
  await expect(openai.responses.delete('resp_x')).rejects.toThrow(/keeps no answer/);
  await expect(openai.responses.cancel('resp_x')).rejects.toThrow(/keeps no answer/);
});
