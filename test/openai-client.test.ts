/** Claims about the API that people already use, made with OpenAI's own client, a real hub and a real device. */
import OpenAI, {
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
} from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { LONG, hear } from './answers.ts';
import { createWorld, MODEL, type DeviceProcess, type HubProcess, type World } from './world.ts';

const STOPPED_MS_MAX = 200;

/** What Idlewild adds to OpenAI's shapes. */
interface Note {
  readonly idlewild: { readonly devices: string[]; readonly seed: number } & Record<string, unknown>;
}

/** What two answers to one prompt say alike; each has a receipt of its own (`receipts.test.ts` opens them). */
const alike = ({ idlewild }: Partial<Note>): object => ({ ...idlewild, receipts: undefined });

let world: World;
let hub: HubProcess;
let device: DeviceProcess;
let key: string;
let openai: OpenAI;
const clientWith = (apiKey: string, path = 'v1'): OpenAI =>
  new OpenAI({ apiKey, baseURL: `${hub.url}/${path}`, maxRetries: 0 });

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
  ({ key } = await hub.client.keys.create({ role: 'caller' }));
  openai = clientWith(key);
});
afterAll(() => world.end());

const messages = [{ role: 'user' as const, content: 'Speak, good Menenius: what says the belly?' }];
const chat = { model: MODEL, messages, seed: 5, max_tokens: 48 };
const completion = { model: MODEL, prompt: LONG.prompt, seed: 5, max_tokens: 48 };

test('before any device is there the client is told that nobody can answer, and when to come back', async () => {
  const refused = await openai.chat.completions.create(chat).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(InternalServerError);
  expect(refused).toMatchObject({ status: 503, code: 'no_device' });
  expect((refused as InternalServerError).headers.get('retry-after')).toBe('10');
  device = await world.startDevice(hub, 'ada');
});

test('the models are listed', async () => {
  const models = await openai.models.list();
  expect(models.data).toMatchObject([{ id: MODEL, object: 'model', owned_by: 'home', context_window: 512 }]);
  expect(await openai.models.retrieve(MODEL)).toMatchObject({ id: MODEL, kind: 'decoder', devices_ready: 1 });
});

test('a chat answered whole and streamed is the same text, with usage and the note of how it was made', async () => {
  const whole = (await openai.chat.completions.create(chat)) as OpenAI.ChatCompletion & Note;
  expect(whole).toMatchObject({
    object: 'chat.completion',
    model: MODEL,
    choices: [{ index: 0, message: { role: 'assistant' } }],
    idlewild: { devices: ['ada'], failovers: 0, seed: 5, exact: true },
  });
  expect(whole.choices[0]?.message.content?.length).toBeGreaterThan(10);
  const { prompt_tokens: promptTokens = 0, completion_tokens: answerTokens = 0 } = whole.usage ?? {};
  expect(whole.usage?.total_tokens).toBe(promptTokens + answerTokens);

  const chunks: (OpenAI.ChatCompletionChunk & Partial<Note>)[] = [];
  const streamed = { ...chat, stream: true, stream_options: { include_usage: true } } as const;
  const stream = await openai.chat.completions.create(streamed);
  for await (const chunk of stream) chunks.push(chunk);
  expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')).toBe(whole.choices[0]?.message.content);
  expect(chunks[0]?.choices[0]?.delta.role).toBe('assistant');
  expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe(whole.choices[0]?.finish_reason);
  const { prompt_tokens_details: _, ...counts } = whole.usage ?? {};
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: counts });
  expect(alike(chunks.at(-1) ?? {})).toEqual(alike(whole));
  expect(whole.idlewild.receipts).toEqual([expect.any(String)]);
  expect(chunks.at(-2)?.idlewild?.receipts).toEqual([expect.any(String)]);
  expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1);
  // One event for each token that has a text, none merged, beside the first and the two last.
  expect(chunks.length).toBeGreaterThan(answerTokens / 2);
});

test('a prompt that was read is not read again for its caller, but it is for another', async () => {
  const asked = { model: MODEL, messages: [{ role: 'user' as const, content: 'What is the city but the people?' }] };
  const cached = async (client: OpenAI): Promise<number | undefined> =>
    (await client.chat.completions.create({ ...asked, max_tokens: 4 })).usage?.prompt_tokens_details?.cached_tokens;
  expect(await cached(openai)).toBeLessThan(16);
  expect(await cached(openai)).toBeGreaterThan(16);
  const other = await hub.client.keys.create({ role: 'caller' });
  expect(await cached(clientWith(other.key))).toBe(0);
});

test('a text is gone on with, whole and streamed', async () => {
  const whole = (await openai.completions.create(completion)) as OpenAI.Completion & Note;
  expect(whole).toMatchObject({
    object: 'text_completion',
    choices: [{ finish_reason: 'length' }],
    usage: { completion_tokens: 48 },
    idlewild: { devices: ['ada'], exact: true },
  });
  let text = '';
  let note: Partial<Note> = {};
  for await (const chunk of await openai.completions.create({ ...completion, stream: true })) {
    text += chunk.choices[0]?.text ?? '';
    note = chunk as Partial<Note>;
  }
  expect(text).toBe(whole.choices[0]?.text);
  expect(alike(note)).toEqual(alike(whole));
  expect([whole.idlewild.receipts, note.idlewild?.receipts]).toEqual([[expect.any(String)], [expect.any(String)]]);
});

const textOf = async (more: Partial<OpenAI.CompletionCreateParamsNonStreaming>): Promise<string> =>
  (await openai.completions.create({ ...completion, ...more })).choices[0]?.text ?? '';

test('the same seed gives the same text, another seed another, and no seed is told which it got', async () => {
  expect(await textOf({ seed: 5 })).toBe(await textOf({ seed: 5 }));
  expect(await textOf({ seed: 6 })).not.toBe(await textOf({ seed: 5 }));
  const { seed: _, ...unseeded } = completion;
  const first = (await openai.completions.create(unseeded)) as OpenAI.Completion & Note;
  expect(await textOf({ seed: first.idlewild.seed })).toBe(first.choices[0]?.text);
});

test('temperature 0 is greedy: no seed changes it, nor does keeping one token alone', async () => {
  const greedy = await textOf({ temperature: 0, seed: 1 });
  expect(await textOf({ temperature: 0, seed: 2 })).toBe(greedy);
  expect(await textOf({ top_k: 1, seed: 3 } as object)).toBe(greedy);
  expect(await textOf({ temperature: 1, top_p: 0.000_1, seed: 3 })).toBe(greedy);
});

test('an answer ends before a stop string, and after max_tokens', async () => {
  const text = await textOf({});
  const word = text.slice(20, 27);
  const stopped = await openai.completions.create({ ...completion, stop: ['nowhere in it', word] });
  expect(stopped.choices[0]).toMatchObject({ text: text.slice(0, text.indexOf(word)), finish_reason: 'stop' });
  const short = await openai.completions.create({ ...completion, max_tokens: 3 });
  expect(short).toMatchObject({ choices: [{ finish_reason: 'length' }], usage: { completion_tokens: 3 } });
  expect(text.startsWith(short.choices[0]?.text ?? 'nothing')).toBe(true);
});

test("what goes wrong is one of the client's own errors, with a code and a message for people", async () => {
  const caught = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => 'no error',
      (error: unknown) => error,
    );
  const unknown = await caught(openai.chat.completions.create({ ...chat, model: 'hamlet' }));
  expect(unknown).toBeInstanceOf(NotFoundError);
  expect(unknown).toMatchObject({ code: 'model_not_found', message: expect.stringContaining('hamlet') as string });
  const stranger = await caught(clientWith(`iw_${'a'.repeat(52)}`).models.list());
  expect(stranger).toBeInstanceOf(AuthenticationError);
  const forbidden = await caught(clientWith(key, 'api').post('/invites', { body: {} }));
  expect(forbidden).toBeInstanceOf(PermissionDeniedError);
  const long = await caught(openai.completions.create({ ...completion, prompt: 'a long tale '.repeat(400) }));
  expect(long).toBeInstanceOf(BadRequestError);
  expect(long).toMatchObject({ code: 'context_length_exceeded', message: expect.stringContaining('512') as string });
});

test('three choices of one seed are three answers, the first of them the only one of a request for one', async () => {
  const asked = { ...completion, max_tokens: 12, n: 3 };
  const whole = await openai.completions.create(asked);
  const texts = whole.choices.map((choice) => choice.text);
  expect(whole.choices.map((choice) => choice.index)).toEqual([0, 1, 2]);
  expect(new Set(texts).size).toBe(3);
  expect(texts[0]).toBe(await textOf({ max_tokens: 12 }));
  expect(whole.usage?.completion_tokens).toBe(36);
  const streamed = ['', '', ''];
  for await (const chunk of await openai.completions.create({ ...asked, stream: true }))
    for (const choice of chunk.choices) streamed[choice.index] += choice.text;
  expect(streamed).toEqual(texts);
});

test('several prompts are answered in one request, each after its text where it is echoed', async () => {
  const prompt = [LONG.prompt, 'CORIOLANUS:\nO world,'];
  const both = await openai.completions.create({ ...completion, prompt, max_tokens: 8, echo: true });
  const alone = await Promise.all(prompt.map((text) => textOf({ prompt: text, max_tokens: 8 })));
  expect(both.choices.map((choice) => choice.text)).toEqual(prompt.map((text, i) => text + alone[i]));
});

test('log probabilities are of the tokens of the text, and the greedy token is the likeliest', async () => {
  const asked = { ...chat, max_tokens: 16, temperature: 0, logprobs: true, top_logprobs: 3 };
  const whole = await openai.chat.completions.create(asked);
  const told = whole.choices[0]?.logprobs?.content ?? [];
  const bytes = told.flatMap((token) => token.bytes ?? []);
  expect(Buffer.from(bytes).toString('utf8')).toBe(whole.choices[0]?.message.content);
  for (const token of told) {
    expect(token.logprob).toBeLessThanOrEqual(0);
    expect(token.top_logprobs).toHaveLength(3);
    expect(token.top_logprobs[0]).toMatchObject({ token: token.token, logprob: token.logprob });
  }
  const streamed: unknown[] = [];
  for await (const chunk of await openai.chat.completions.create({ ...asked, stream: true }))
    streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
  expect(streamed).toEqual(told);
  const completed = await openai.completions.create({ ...completion, max_tokens: 6, logprobs: 2 });
  const { tokens = [], text_offset: offsets = [] } = completed.choices[0]?.logprobs ?? {};
  expect(tokens.join('')).toBe(completed.choices[0]?.text);
  expect(offsets).toEqual(tokens.map((_, i) => tokens.slice(0, i).join('').length));
});

test('a bias decides which token comes, and a penalty which does not come again', async () => {
  const plain = await openai.completions.create({ ...completion, max_tokens: 8, temperature: 0 });
  const forced = await openai.completions.create({
    ...completion,
    max_tokens: 4,
    logprobs: 0,
    logit_bias: { 300: 100 },
  });
  expect(new Set(forced.choices[0]?.logprobs?.tokens).size).toBe(1);
  expect(await textOf({ max_tokens: 8, temperature: 0, ...({ repetition_penalty: 2 } as object) })).not.toBe(
    plain.choices[0]?.text,
  );
});

const verdict = z.object({ mood: z.enum(['merry', 'grave']), loud: z.boolean() });

test('an answer of a model that babbles follows the schema it was asked for, however hot it is', async () => {
  for (const seed of [1, 2, 3]) {
    const asked = { ...chat, seed, temperature: 1.2, response_format: zodResponseFormat(verdict, 'verdict') };
    const parsed = await openai.chat.completions.parse(asked);
    expect(parsed.choices[0]).toMatchObject({ finish_reason: 'stop' });
    expect(verdict.parse(parsed.choices[0]?.message.parsed)).toBeTruthy();
  }
  const streamed = openai.chat.completions.stream({ ...chat, response_format: zodResponseFormat(verdict, 'verdict') });
  const final = await streamed.finalChatCompletion();
  expect(verdict.parse(JSON.parse(final.choices[0]?.message.content ?? ''))).toBeTruthy();
});

const judge = {
  type: 'function',
  function: {
    name: 'judge',
    description: 'Judges a speech.',
    strict: true,
    parameters: {
      type: 'object',
      properties: { mood: { enum: ['merry', 'grave'] }, loud: { type: 'boolean' } },
      required: ['mood', 'loud'],
      additionalProperties: false,
    },
  },
} as const;

test('a tool that must be called is called with what its schema allows, whole and streamed', async () => {
  const tools = [judge as unknown as OpenAI.ChatCompletionTool];
  const asked = {
    ...chat,
    max_tokens: 160,
    tools,
    tool_choice: { type: 'function', function: { name: 'judge' } },
  } as const;
  const whole = await openai.chat.completions.create(asked);
  const [call] = whole.choices[0]?.message.tool_calls ?? [];
  expect(whole.choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: null } });
  expect(call).toMatchObject({ type: 'function', function: { name: 'judge' } });
  const args = call?.type === 'function' ? call.function.arguments : '';
  expect(verdict.parse(JSON.parse(args))).toBeTruthy();
  const final = await openai.chat.completions.stream(asked).finalChatCompletion();
  const [streamed] = final.choices[0]?.message.tool_calls ?? [];
  expect(streamed?.type === 'function' && streamed.function.arguments).toBe(args);
});

test('a response is the same answer by another name, whole, streamed, in a form and as a call', async () => {
  const asked = { model: MODEL, input: messages[0]?.content ?? '', max_output_tokens: 24, temperature: 0 };
  const whole = await openai.responses.create(asked);
  const same = await openai.chat.completions.create({ ...chat, max_tokens: 24, temperature: 0 });
  expect(whole.output_text).toBe(same.choices[0]?.message.content);
  expect(whole.usage?.output_tokens).toBe(same.usage?.completion_tokens);
  const stream = openai.responses.stream(asked);
  let text = '';
  stream.on('response.output_text.delta', (event) => (text += event.delta));
  expect((await stream.finalResponse()).output_text).toBe(whole.output_text);
  expect(text).toBe(whole.output_text);

  const format = zodTextFormat(verdict, 'verdict');
  const parsed = await openai.responses.parse({ ...asked, max_output_tokens: 64, text: { format } });
  expect(verdict.parse(parsed.output_parsed)).toBeTruthy();
  const { type, function: definition } = judge;
  const tools = [{ type, ...definition } as unknown as OpenAI.Responses.FunctionTool];
  const called = await openai.responses.create({ ...asked, max_output_tokens: 64, tools, tool_choice: 'required' });
  const call = called.output.find((item) => item.type === 'function_call');
  expect(verdict.parse(JSON.parse(call?.arguments ?? ''))).toBeTruthy();
});

test.each<[string, object]>([
  ['functions', { functions: [] }],
  ['function_call', { function_call: 'auto' }],
  ['modalities', { modalities: ['audio'] }],
  ['audio', { audio: { format: 'wav', voice: 'ash' } }],
  ['prediction', { prediction: { type: 'content', content: 'x' } }],
  ['reasoning_effort', { reasoning_effort: 'high' }],
  ['web_search_options', { web_search_options: {} }],
  ['service_tier', { service_tier: 'flex' }],
  ['store', { store: true }],
  ['top_logprobs', { top_logprobs: 2 }],
  ['min_p', { min_p: 0.1 }],
  ['messages.0.audio', { messages: [{ role: 'assistant', content: 'x', audio: { id: 'x' } }] }],
])('the field "%s" is refused by name and never ignored', async (name, more) => {
  const refused = await openai.chat.completions.create({ ...chat, ...more }).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(BadRequestError);
  expect(refused).toMatchObject({ param: name, message: expect.stringContaining(name) as string });
});

test.each<[string, object]>([
  ['best_of', { best_of: 2 }],
  ['echo', { echo: true, logprobs: 1 }],
  ['suffix', { suffix: 'x' }],
])('the field "%s" of a completion is refused by name', async (name, more) => {
  const asked = openai.completions.create({ ...completion, ...more });
  await expect(asked).rejects.toMatchObject({ status: 400, param: name });
});

test.each<[string, object]>([
  ['store', { store: true }],
  ['previous_response_id', { previous_response_id: 'resp_x' }],
  ['reasoning', { reasoning: { effort: 'high' } }],
])('the field "%s" of a response is refused by name', async (name, more) => {
  const asked = openai.responses.create({ model: MODEL, input: 'Speak.', ...more });
  await expect(asked).rejects.toMatchObject({ status: 400, param: name });
});

test('a client that aborts stops the device within 200 ms', async () => {
  const paced = await world.startDevice(hub, 'bea', { consent: { tokensPerSecondMax: 50 } });
  await device.stop();
  const abort = new AbortController();
  const request = { ...completion, max_tokens: 400, stream: true } as const;
  const stream = await openai.completions.create(request, { signal: abort.signal });
  // By hand, because leaving a loop over it would abort it too.
  await stream[Symbol.asyncIterator]().next();
  const from = paced.lines.length;
  expect(paced.state().answering).toBe(1);
  const abortedMs = performance.now();
  abort.abort();
  await paced.line((line) => 'state' in line && line.state.answering === 0, 'the device stopping', { from });
  expect(performance.now() - abortedMs).toBeLessThan(STOPPED_MS_MAX);
  const again = new AbortController();
  const waiting = openai.completions.create({ ...completion, max_tokens: 400 }, { signal: again.signal });
  await paced.line((line) => 'state' in line && line.state.answering === 1, 'the next answer', { from: from + 1 });
  again.abort();
  await expect(waiting).rejects.toBeInstanceOf(APIUserAbortError);
  await expect.poll(() => paced.state().answering).toBe(0);
  expect((await hear(hub.client, { ...LONG, max_tokens: 5 })).end.usage.completion_tokens).toBe(5);
});
