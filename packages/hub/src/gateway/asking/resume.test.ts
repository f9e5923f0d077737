/** Claims about streams that break and are gone on with, over real doors of two replicas of one hub. */
import { digestTokens, newId, signStatement, type AnswerWork } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createLocalBusHub, type LocalBusMember } from '../../bus/local-bus.ts';
import { openDatabase, type OpenDatabase } from '../../db/open.ts';
import { createMemorySecrets } from '../../identity/secrets.ts';
import { silentLog } from '../../log.ts';
import type { ScriptedDevice } from '../../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

/** One of several hubs over one database. */
interface Member {
  readonly door: TestDoor;
  readonly bus: LocalBusMember;
}
let database: OpenDatabase;
let bus: ReturnType<typeof createLocalBusHub>;
let secrets: ReturnType<typeof createMemorySecrets>;
const members: Member[] = [];

async function join(key?: string): Promise<Member> {
  const member = bus.connect();
  const shared: OpenDatabase = { ...database, close: () => Promise.resolve() };
  const replica = { id: newId('rep', nodeRandom), bus: member, isAlone: false };
  const door = await openTestDoor('jacobean', {
    database: shared,
    secrets,
    replica,
    ...(key === undefined ? {} : { key }),
  });
  const joined = { door, bus: member };
  members.push(joined);
  return joined;
}
beforeAll(async () => {
  database = await openDatabase({ file: ':memory:', clock: systemClock });
  bus = createLocalBusHub({ clock: systemClock, log: silentLog });
  secrets = createMemorySecrets();
});
afterAll(async () => {
  for (const { door } of members) await door.close();
  await database.close();
});

let a: Member;
let b: Member;
beforeEach(async () => {
  for (const { door } of members.splice(0)) await door.close();
  a = await join(a?.door.key);
  b = await join(a.door.key);
  asked.length = 0;
});

const WORDS = ['To ', 'be', ', or', '', ' not ☕', ' to', ' be', ': that'];
const asked: AnswerWork[] = [];

interface Hand {
  /** Sends the next `count` tokens of each order, or of those from the `first`; at the end the end. */
  give(count: number, first?: number): void;
  orders(): number;
}
/** Gives every order its words when it is told to, from where the order begins. */
function byHand(device: ScriptedDevice, words = WORDS): Hand {
  const orders: { give(count: number): void }[] = [];
  device.onMessage = (message) => {
    if (message.t !== 'answer') return;
    const { lease, epoch, model, work } = message;
    asked.push(work);
    const from = work.tokens.length;
    let next = from;
    device.send({ t: 'answer.started', lease, epoch, promptTokens: 7 });
    const finish = async (): Promise<void> => {
      const ids = words.map((_, i) => i).slice(from);
      const tokens = { firstToken: from, tokens: ids.length, tokensDigest: await digestTokens(ids, nodeCrypto) };
      const facts = { v: 1 as const, device: device.key.publicKey, lease, epoch, model, numericClass: 'class-a' };
      const receipt = await signStatement(
        'receipt',
        { ...facts, ...tokens, promptTokens: 7, prefillMs: 1, decodeMs: 1 },
        device.key,
        nodeCrypto,
      );
      const counts = { promptTokens: 7, answerTokens: words.length };
      device.send({ t: 'answer.finished', lease, epoch, finish: 'stop', s: '!', ...counts, receipt });
    };
    orders.push({
      give(count) {
        for (const until = Math.min(words.length, next + count); next < until; next++)
          device.send({ t: 'answer.token', lease, epoch, i: next, id: next, s: words[next] as string });
        if (next === words.length) void finish();
      },
    });
  };
  return {
    orders: () => orders.length,
    give(count, first = 0) {
      for (const order of orders.slice(first)) order.give(count);
    },
  };
}

const chat = { model: 'jacobean', stream: true, messages: [{ role: 'user' as const, content: 'Speak.' }] };
let names = 0;
const freshName = (): string => `name-${++names}`;
const post = (
  { door }: Member,
  headers: Record<string, string>,
  body: object = chat,
  path = '/v1/chat/completions',
): Promise<Response> =>
  fetch(`${door.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${door.key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
const under = (name: string, lastId?: string): Record<string, string> => ({
  'idempotency-key': name,
  ...(lastId === undefined ? {} : { 'last-event-id': lastId }),
});

/** A caller that reads event by event and counts nothing that came after the last id. */
class Caller {
  text = '';
  lastId: string | undefined;
  #pending = '';
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #decoder = new TextDecoder();

  start(response: Response): void {
    if (response.status !== 200) throw new Error(`refused with ${response.status}`);
    this.#pending = '';
    this.#reader = (response.body as ReadableStream<Uint8Array>).getReader();
  }
  /** Until an id ends with `end`, or to the end of the stream. */
  async read(end?: string): Promise<void> {
    for (;;) {
      const { done, value } = (await this.#reader?.read()) ?? { done: true };
      if (done) break;
      this.#pending += this.#decoder.decode(value, { stream: true });
      for (let at = this.#pending.search(/\nid: .*\n\n/); at >= 0; at = this.#pending.search(/\nid: .*\n\n/)) {
        const to = this.#pending.indexOf('\n\n', at) + 2;
        this.lastId = this.#pending.slice(at + 5, to - 2);
        this.text += this.#pending.slice(0, to);
        this.#pending = this.#pending.slice(to);
        if (end !== undefined && this.lastId.endsWith(end)) return;
      }
    }
    this.text += this.#pending;
  }
  async hangUp(): Promise<void> {
    await this.#reader?.cancel().catch(() => {});
  }
}
/** The data of all events without what is told of how it was made. */
const eventsOf = (text: string): unknown[] =>
  [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => {
    if (data === '[DONE]') return data;
    const { idlewild: _, ...event } = JSON.parse(data as string) as Record<string, unknown>;
    return event;
  });

test('a stream under a name has ids; its caller goes on after its last, on either replica and afterwards', async () => {
  const hand = byHand(await a.door.join());
  const name = freshName();
  const caller = new Caller();
  caller.start(await post(a, under(name)));
  hand.give(2);
  await caller.read(':1');
  await caller.hangUp();
  const [id] = (caller.lastId ?? '').split(':');
  expect(id).toMatch(/^req_/);
  // To the other, while it runs.
  caller.start(await post(b, under(name, caller.lastId)));
  hand.give(3);
  await caller.read(':4');
  await caller.hangUp();
  // And back.
  caller.start(await post(a, under(name, caller.lastId)));
  hand.give(9);
  await caller.read(':6');
  await caller.hangUp();
  caller.start(await post(b, under(name, caller.lastId)));
  await caller.read();
  const whole = await (await post(b, under(name))).text();
  expect(caller.text).toBe(whole);
  expect(asked).toHaveLength(1);
  // A token without a text has no event, and so no id.
  const ids = [...whole.matchAll(/^id: .*:(.*)$/gm)].map(([, place]) => place);
  expect(ids).toEqual(['-', '0', '1', '2', '4', '5', '6', '7', 'end']);
  // What was kept goes on from any of them.
  for (const place of ids) {
    const at = whole.indexOf(`id: ${id}:${place}\n\n`) + `id: ${id}:${place}\n\n`.length;
    expect(await (await post(b, under(name, `${id}:${place}`))).text()).toBe(whole.slice(at));
  }
});

test('replica and device die: the caller goes on elsewhere, and nothing is changed, twice or lost', async () => {
  const hand = byHand(await a.door.join());
  const name = freshName();
  const caller = new Caller();
  caller.start(await post(a, under(name)));
  hand.give(3);
  await caller.read(':2');
  // Nothing it says is heard any more; it goes on for itself, as a partition leaves it.
  a.bus.setUp(false);
  const other = byHand(await b.door.join());
  caller.start(await post(b, under(name, caller.lastId)));
  await expect.poll(() => other.orders()).toBe(1);
  other.give(9);
  await caller.read();
  // The same work, from what was written down by then.
  expect(asked).toHaveLength(2);
  expect(asked[1]).toEqual({ ...asked[0], tokens: [0, 1, 2].slice(0, asked[1]?.tokens.length) });
  const whole = await (await post(b, under(name))).text();
  expect(caller.text).toBe(whole);
  expect(
    eventsOf(whole)
      .map((event) => (event as { choices?: { delta: { content?: string } }[] }).choices?.[0]?.delta.content ?? '')
      .join(''),
  ).toBe(`${WORDS.join('')}!`);
  // The former owner changes nothing any more.
  hand.give(9);
  await expect.poll(() => a.door.hub.answers.counts().open).toBe(0);
  expect(await (await post(b, under(name))).text()).toBe(whole);
  const rows = await database.db.selectFrom('requests').select('state').where('state', '!=', 'failed').execute();
  expect(rows.at(-1)).toEqual({ state: 'done' });
});

test('of two choices each goes on after its own last token, in whatever order they are made again', async () => {
  const device = await a.door.join();
  const words = ['a', 'b', 'c', 'd'];
  const hand = byHand(device, words);
  const name = freshName();
  const body = { ...chat, n: 2, stream_options: { include_usage: true } };
  const caller = new Caller();
  caller.start(await post(a, under(name), body));
  await expect.poll(() => hand.orders()).toBe(2);
  hand.give(3);
  await caller.read(':2.1');
  await caller.hangUp();
  a.bus.setUp(false);
  const other = byHand(await b.door.join(), words);
  caller.start(await post(b, under(name, caller.lastId), body));
  await expect.poll(() => other.orders()).toBe(2);
  other.give(9);
  await caller.read();
  const whole = eventsOf(await (await post(b, under(name), body)).text());
  const of = (events: unknown[], index: number): unknown[] =>
    events.filter((event) => (event as { choices?: { index: number }[] }).choices?.[0]?.index === index);
  const had = eventsOf(caller.text);
  for (const index of [0, 1]) expect(of(had, index)).toEqual(of(whole, index));
  expect(had).toHaveLength(whole.length);
  expect(had.slice(-2)).toEqual(whole.slice(-2));
});

test('events of a response go on, too, numbered as they were', async () => {
  const hand = byHand(await a.door.join());
  const name = freshName();
  const body = { model: 'jacobean', input: 'Speak.', stream: true };
  const caller = new Caller();
  caller.start(await post(a, under(name), body, '/v1/responses'));
  hand.give(3);
  await caller.read(':2');
  await caller.hangUp();
  a.bus.setUp(false);
  const other = byHand(await b.door.join());
  caller.start(await post(b, under(name, caller.lastId), body, '/v1/responses'));
  await expect.poll(() => other.orders()).toBe(1);
  other.give(9);
  await caller.read();
  expect(caller.text).toBe(await (await post(b, under(name), body, '/v1/responses')).text());
  const numbers = [...caller.text.matchAll(/"sequence_number":(\d+)/g)].map(([, number]) => Number(number));
  expect(numbers).toEqual(numbers.map((_, index) => index));
});

test('a whole answer whose replica is lost is made by the next, with the same id, time and seed', async () => {
  const hand = byHand(await a.door.join());
  const name = freshName();
  const body = { ...chat, stream: false };
  const first = post(a, under(name), body);
  await expect.poll(() => hand.orders()).toBe(1);
  hand.give(2);
  const [run] = await database.db.selectFrom('runs').selectAll().where('owner', '=', a.door.hub.replica.id).execute();
  a.bus.setUp(false);
  const other = byHand(await b.door.join());
  const second = post(b, under(name), body);
  await expect.poll(() => other.orders()).toBe(1);
  other.give(9);
  const answer = (await (await second).json()) as { id: string; created: number; idlewild: { seed: number } };
  expect(answer.id).toBe(`chatcmpl-${run?.request_id}`);
  expect(answer.created).toBe(Math.floor((run?.created_at_ms ?? 0) / 1_000));
  expect(answer.idlewild.seed).toBe(asked[0]?.sampling.seed);
  hand.give(9);
  expect([200, 503]).toContain((await first).status);
});

test('a replica that stops cuts its stream off, and the caller goes on with the other', async () => {
  // One that keeps nothing gets a new attempt.
  const hand = byHand(await b.door.join(undefined, { features: ['tools'] }));
  await expect.poll(() => [...a.door.hub.sessions.list()].map(({ status }) => status.models.length)).toEqual([1]);
  const name = freshName();
  const caller = new Caller();
  caller.start(await post(a, under(name)));
  hand.give(3);
  await caller.read(':2');
  const broken = caller.read();
  const stopped = a.door.hub.stop();
  await expect(broken).rejects.toThrow('terminated');
  await stopped;
  caller.start(await post(b, under(name, caller.lastId)));
  await expect.poll(() => hand.orders()).toBe(2);
  hand.give(9);
  await caller.read();
  expect(caller.text).toBe(await (await post(b, under(name))).text());
});

test('a place that is none, of another request, of no stream or without its name is refused', async () => {
  byHand(await a.door.join());
  const place = `${newId('req', nodeRandom)}:3`;
  const cases: [Record<string, string>, object, RegExp][] = [
    [under(freshName(), 'three'), chat, /must be the id of an event/],
    [under(freshName(), place), chat, /is not here any more/],
    [under(freshName(), place), { ...chat, stream: false }, /asks for none/],
    [{ 'last-event-id': place }, chat, /needs the Idempotency-Key/],
  ];
  for (const [headers, body, message] of cases) {
    const refused = await post(b, headers, body);
    expect(refused.status).toBe(400);
    const { error } = (await refused.json()) as { error: { message: string } };
    expect(error).toMatchObject({ code: 'invalid_request', param: 'Last-Event-ID' });
    expect(error.message).toMatch(message);
    expect(refused.headers.get('x-should-retry')).toBe('false');
  }
  expect(asked).toEqual([]);
});

test('a run that is taken over takes nothing of the limit of its key', async () => {
  const limits = { requestsPerMinute: 10, tokensPerMinute: 10_000 };
  const order = { territory: a.door.hub.territory.id, role: 'caller', actor: 'test', limits } as const;
  const { key } = await a.door.hub.keys.create(order);
  const headers = { ...under(freshName()), authorization: `Bearer ${key}` };
  const hand = byHand(await a.door.join());
  const first = await post(a, headers);
  expect(first.headers.get('x-ratelimit-remaining-requests')).toBe('9');
  a.bus.setUp(false);
  const other = byHand(await b.door.join());
  const before = (await post(b, { ...headers, 'idempotency-key': '' })).headers.get('x-ratelimit-remaining-requests');
  const second = post(b, headers);
  await expect.poll(() => other.orders()).toBe(1);
  other.give(9);
  expect((await second).headers.get('x-ratelimit-remaining-requests')).toBe(before);
  await (await second).text();
  hand.give(9);
  await first.text().catch(() => 'cut off');
});

test('who comes back to an answer gets it, made or in the making, though a cap is used up by then', async () => {
  const { hub } = a.door;
  const { key, id } = await hub.keys.create({ territory: hub.territory.id, role: 'caller', actor: 'test' });
  const authorization = `Bearer ${key}`;
  const [open, done] = [freshName(), freshName()].map((name) => ({ ...under(name), authorization }));
  const hand = byHand(await a.door.join());
  const early = await post(a, open ?? {});
  await expect.poll(() => hand.orders()).toBe(1);
  // Of seven tokens and eight, of which nothing is left; a moment later everybody knows of it.
  const caps = { tokensPerDay: 15 };
  await hub.spendRules.setCaps({ kind: 'key', subject: id, caps, actor: 'test' });
  await expect.poll(async () => (await hub.spendRules.known()).capsOf('key', id)).toMatchObject(caps);
  // Its end is told and written; that of its run is not.
  await sql`create temp trigger stuck before delete on runs begin select raise(abort, 'stuck'); end`.execute(hub.db);
  const whole = post(a, done ?? {}).then((response) => response.text());
  await expect.poll(() => hand.orders()).toBe(2);
  hand.give(9, 1);
  const text = await whole;
  expect(eventsOf(text).at(-1)).toBe('[DONE]');
  const spent = () =>
    hub.db.selectFrom('spend_days').select(['tokens', 'held', 'requests']).where('subject_id', '=', id).execute();
  await expect.poll(spent).toEqual([{ tokens: 15, held: 0, requests: 1 }]);
  expect(await hub.db.selectFrom('spend_holds').select('id').execute()).toEqual([]);
  const refused = await post(b, { authorization });
  expect(await refused.json()).toMatchObject({ error: { code: 'spend_cap' } });
  a.bus.setUp(false);
  const again = await post(b, done ?? {});
  expect([again.status, await again.text()]).toEqual([200, text]);
  expect(await spent()).toEqual([{ tokens: 15, held: 0, requests: 1 }]);
  const other = byHand(await b.door.join());
  const second = post(b, open ?? {});
  await expect.poll(() => other.orders()).toBe(1);
  other.give(9);
  expect(eventsOf(await (await second).text()).at(-1)).toBe('[DONE]');
  expect(asked).toHaveLength(3);
  // What was begun without a hold is charged all the same, once.
  expect(await spent()).toEqual([{ tokens: 30, held: 0, requests: 2 }]);
  await sql`drop trigger stuck`.execute(hub.db);
  hand.give(9);
  await early.text().catch(() => 'cut off');
});
