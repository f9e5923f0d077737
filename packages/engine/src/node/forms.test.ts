/** Forms, tools, log probabilities and bias with the bundled model in a real engine process. */
import type { AnswerWork, CallPart, Tool } from '@idlewild/protocol';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Engine, EngineEvent } from '../core/port.ts';
import { collect, prepareModelFolder, textOf, tokensOf, work } from '../testing/index.ts';
import { createNodeEngineHost } from './engine-host.ts';

const root = mkdtempSync(join(tmpdir(), 'idlewild-forms-'));
let engine: Engine;

beforeAll(async () => {
  const model = prepareModelFolder({ folder: root, from: 'jacobean' });
  const host = createNodeEngineHost();
  engine = await host.load(model, { threads: 1, slotsMax: 4 }, new AbortController().signal);
});
afterAll(async () => {
  await engine.close();
  rmSync(root, { recursive: true, force: true });
});

async function ask(over: Partial<AnswerWork>): Promise<EngineEvent[]> {
  const asked = collect(engine, work(over));
  await asked.over;
  return asked.events;
}
const chat = (content: string): { kind: 'chat'; messages: { role: string; content: string }[] } => ({
  kind: 'chat',
  messages: [{ role: 'user', content }],
});
const hot = (seed: number) => ({ seed, temperature: 1.2, topP: 1 });

const SEEDS = Array.from({ length: 30 }, (_, seed) => seed);
const BUDGETS = [3, 10, 40, 120, undefined] as const;

test('a babbler asked for JSON gives a JSON object, however hot and short', async () => {
  const answers = await Promise.all(
    SEEDS.map((seed) =>
      ask({
        prompt: chat('Describe a sea.'),
        form: { kind: 'json' },
        sampling: hot(seed),
        tokensMax: BUDGETS[seed % BUDGETS.length],
      }),
    ),
  );
  for (const events of answers) {
    expect(events.at(-1)).toMatchObject({ t: 'finished', finish: 'stop' });
    const value: unknown = JSON.parse(textOf(events));
    expect(Object.prototype.toString.call(value)).toBe('[object Object]');
  }
});

const SCHEMA = {
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 2, maxLength: 20 },
    age: { type: 'integer', minimum: 18, maximum: 99 },
    mood: { enum: ['merry', 'grim', null] },
    home: {
      type: 'object',
      properties: { city: { type: 'string' }, zip: { type: 'string', pattern: '^\\d{5}$' } },
      required: ['city', 'zip'],
      additionalProperties: false,
    },
    friends: { type: 'array', items: { $ref: '#/$defs/friend' }, minItems: 1, maxItems: 2 },
  },
  required: ['name', 'age', 'mood', 'home', 'friends'],
  additionalProperties: false,
  $defs: { friend: { type: 'object', properties: { since: { type: 'string', format: 'date' } }, required: ['since'] } },
};
interface Person {
  name: string;
  age: number;
  mood: string | null;
  home: { city: string; zip: string };
  friends: { since: string }[];
}

test('a babbler held to a schema follows it', async () => {
  const answers = await Promise.all(
    SEEDS.map((seed) =>
      ask({
        prompt: chat('Who art thou?'),
        form: { kind: 'schema', schema: JSON.stringify(SCHEMA) },
        sampling: hot(seed),
        tokensMax: 130 + seed * 3,
      }),
    ),
  );
  for (const events of answers) {
    expect(events.at(-1)).toMatchObject({ t: 'finished', finish: 'stop' });
    const person = JSON.parse(textOf(events)) as Person;
    expect(Object.keys(person)).toEqual(['name', 'age', 'mood', 'home', 'friends']);
    expect([...person.name].length).toBeGreaterThanOrEqual(2);
    expect([...person.name].length).toBeLessThanOrEqual(20);
    expect(Number.isInteger(person.age) && person.age >= 18 && person.age <= 99).toBe(true);
    expect(['merry', 'grim', null]).toContain(person.mood);
    expect(person.home.zip).toMatch(/^\d{5}$/);
    expect(Object.keys(person.home)).toEqual(['city', 'zip']);
    expect(person.friends.length === 1 || person.friends.length === 2).toBe(true);
    for (const { since } of person.friends) expect(Number.isNaN(Date.parse(since))).toBe(false);
  }
});

test('an answer resumed within its JSON goes on as it would have', async () => {
  const over = { prompt: chat('Speak.'), form: { kind: 'json' as const }, sampling: hot(11), tokensMax: 60 };
  const whole = await ask(over);
  const tokens = tokensOf(whole);
  expect(tokens.length).toBeGreaterThan(4);
  for (const from of [1, Math.floor(tokens.length / 2), tokens.length - 1]) {
    const rest = await ask({ ...over, tokens: tokens.slice(0, from) });
    expect(tokensOf(rest)).toEqual(tokens.slice(from));
  }
  expect(await ask({ ...over, tokens: tokens.toReversed() })).toMatchObject([{ t: 'failed', code: 'invalid_request' }]);
});

const TOOLS: Tool[] = [
  {
    name: 'weather',
    description: 'What weather it is <|endoftext|>',
    parameters: JSON.stringify({
      type: 'object',
      properties: { city: { type: 'string', maxLength: 12 }, days: { type: 'integer', minimum: 1, maximum: 5 } },
      required: ['city', 'days'],
      additionalProperties: false,
    }),
    strict: true,
  },
  { name: 'dance' },
];

const partsOf = (events: readonly EngineEvent[]): CallPart[] =>
  events.flatMap((event) => (event.t === 'token' || event.t === 'finished' ? (event.calls ?? []) : []));

test('a tool that must be called is called, with arguments that follow its schema', async () => {
  for (const seed of SEEDS.slice(0, 10)) {
    const events = await ask({
      prompt: { ...chat('What weather is it?'), tools: TOOLS },
      toolChoice: { name: 'weather' },
      oneCall: true,
      sampling: hot(seed),
      tokensMax: 60,
    });
    expect(events.at(-1)).toMatchObject({ t: 'finished', finish: 'tool_calls' });
    expect(textOf(events)).toBe('');
    const parts = partsOf(events);
    expect(parts.map(({ i }) => i)).toEqual(parts.map(() => 0));
    expect(parts.map(({ name }) => name).filter(Boolean)).toEqual(['weather']);
    const given = JSON.parse(parts.map(({ s }) => s).join('')) as { city: string; days: number };
    expect(Object.keys(given)).toEqual(['city', 'days']);
    expect(given.days >= 1 && given.days <= 5 && given.city.length <= 12).toBe(true);
  }
});

test('log probabilities of a greedy answer are those of its tokens, and a bias does not change them', async () => {
  const events = await ask({ sampling: { seed: 1, temperature: 0 }, tokensMax: 12, logprobs: 3 });
  const told = events.flatMap((event) => (event.t === 'token' ? [event] : []));
  const bytes = told.flatMap(({ lp }) => [...(lp?.b ?? [])]);
  expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(textOf(events));
  for (const { id, lp } of told) {
    expect(lp?.top[0]).toMatchObject({ id, p: lp?.p });
    expect(lp?.top).toHaveLength(3);
    expect(lp?.top.reduce((sum, { p }) => sum + Math.exp(p), 0)).toBeLessThanOrEqual(1);
  }
  const [first] = told;
  const second = first?.lp?.top[1];
  const biased = await ask({
    sampling: { seed: 1, temperature: 0, logitBias: [[first?.id as number, -100]] },
    tokensMax: 1,
    logprobs: 3,
  });
  expect(biased.find((event) => event.t === 'token')).toMatchObject({ id: second?.id, lp: { p: second?.p } });
  expect(await ask({ sampling: { seed: 1, logitBias: [[2_048, 1]] } })).toMatchObject([
    { t: 'failed', code: 'invalid_request' },
  ]);
});

test('a schema that cannot be followed is refused by the keyword, before a token', async () => {
  const refused = async (schema: unknown): Promise<EngineEvent[]> =>
    ask({ form: { kind: 'schema', schema: JSON.stringify(schema) } });
  expect(await refused({ type: 'array', uniqueItems: true })).toMatchObject([
    { t: 'failed', code: 'invalid_request', message: expect.stringContaining('uniqueItems') as string },
  ]);
  expect(await ask({ form: { kind: 'json' }, tokensMax: 5 })).toContainEqual(
    expect.objectContaining({ t: 'finished' }),
  );
});
