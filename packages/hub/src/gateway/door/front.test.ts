/** Claims about the one door of many territories: whom a request and a device are handed to. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { LIMITS, VERSIONS, encodeFrame, hex, newId, utf8, type Channel } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createTickets } from '../../identity/tickets.ts';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { testDatabases } from '../../testing/databases.ts';
import { createFront, type Behind } from './front.ts';

const [{ open }] = (await testDatabases()) as [Awaited<ReturnType<typeof testDatabases>>[0]];
const IDS = ['first', 'library', 'choir'].map((name) => `ter_${name.padEnd(26, 'a')}`);
const [FIRST, LIBRARY, CHOIR] = IDS as [string, string, string];

async function setUp(ids = IDS, refused: readonly string[] = []) {
  const database = await open();
  const { db } = database;
  const clock = createFakeClock(async () => {});
  const served: string[] = [];
  const met: { id: string; frames: Uint8Array[]; closed: boolean }[] = [];
  const all = ids.map((id): Behind => ({
    territory: { id, publicKey: utf8(id.padEnd(32, '7')) },
    serve: (request) => void served.push(`${id} ${request.url}`),
    accept(channel) {
      const one: (typeof met)[0] = { id, frames: [], closed: false };
      met.push(one);
      channel.listen({ onFrame: (frame) => void one.frames.push(frame), onClose: () => void (one.closed = true) });
    },
  }));
  for (const { territory } of all) {
    const row = { id: territory.id, name: territory.id, public_key: territory.publicKey, created_at_ms: 0 };
    await db.insertInto('territories').values(row).execute();
  }
  const logged: string[] = [];
  const front = createFront({
    db,
    clock,
    log: { ...silentLog, error: (_facts, message) => logged.push(message) },
    behind: () => all,
    find: (id) => all.find(({ territory }) => territory.id === id),
    guesses: { ofAll: { isRefused: ({ secret }) => refused.includes(secret) }, isBehindBalancer: false },
  });
  const first: RequestListener = (request) => void served.push(`${FIRST} ${request.url}`);
  const options = { keepAliveTimeout: 1, requestTimeout: 0, connectionTimeout: 0 };
  const server = front.listener(first, options);
  const [listener] = server.listeners('request') as [RequestListener];
  return {
    db,
    clock,
    met,
    served,
    listener,
    logged,
    front,
    /** Who got it, and what it saw. */
    async give(url: string, authorization?: string): Promise<string | undefined> {
      const before = served.length;
      const headers = authorization === undefined ? {} : { authorization };
      listener({ url, headers, socket: {} } as IncomingMessage, {} as ServerResponse);
      await expect.poll(() => served.length).toBe(before + 1);
      return served.at(-1);
    },
    async keyOf(territory: string): Promise<string> {
      const key = `iw_${'b'.repeat(52)}`;
      const hash = hex(await nodeCrypto.sha256(utf8(key)));
      const row = { id: newId('key', nodeRandom), territory_id: territory, role: 'caller', name: '', hash };
      const rest = { created_at_ms: 0, expires_at_ms: null, revoked_at_ms: null };
      await db
        .insertInto('keys')
        .values({ ...row, ...rest, requests_per_minute: null, tokens_per_minute: null })
        .execute();
      return `Bearer ${key}`;
    },
    dial(territory?: string) {
      let handlers: Parameters<Channel['listen']>[0] | undefined;
      const closed: string[] = [];
      front.accept(
        {
          binding: { kind: 'loopback' },
          send: () => {},
          bufferedBytes: () => 0,
          close: (reason) => void closed.push(reason),
          listen: (given) => void (handlers = given),
        },
        territory,
      );
      return { closed, say: (frame: Uint8Array) => handlers?.onFrame(frame), hangUp: () => handlers?.onClose('gone') };
    },
    hello: (territory: number) => {
      const bytes = new Uint8Array(32);
      const pinned = all[territory]?.territory.publicKey ?? bytes;
      return encodeFrame({ t: 'hello', versions: [...VERSIONS], device: bytes, territory: pinned, nonce: bytes });
    },
  };
}

test('a prefix names the territory, which sees the rest; one of nobody is the first to refuse', async () => {
  const { give } = await setUp();
  expect(await give(`/t/${LIBRARY}/v1/models?a=/t/${CHOIR}/`)).toBe(`${LIBRARY} /v1/models?a=/t/${CHOIR}/`);
  for (const path of ['/t/ter_nobody/v1/models', `/t/${LIBRARY}`, `/t/${LIBRARY}?/x`, '/t/', '/tt', '/'])
    expect(await give(path), path).toBe(`${FIRST} ${path}`);
});

test('without one it is that of the key or the ticket, and else the first', async () => {
  const { give, keyOf, db } = await setUp();
  const key = await keyOf(CHOIR);
  expect(await give('/v1/models', key)).toBe(`${CHOIR} /v1/models`);
  // What is remembered needs no database, and whatever nobody knows goes to the first.
  await db.schema.alterTable('keys').renameTo('keys_away').execute();
  expect(await give('/v1/models', key)).toBe(`${CHOIR} /v1/models`);
  await db.schema.alterTable('keys_away').renameTo('keys').execute();
  const clock = { now: () => 0 };
  const tickets = createTickets({ key: new Uint8Array(32), crypto: nodeCrypto, clock });
  const ids = { device: newId('dev', nodeRandom), session: newId('ses', nodeRandom), territory: LIBRARY };
  expect(await give('/blobs/x', `Bearer ${await tickets.issue(ids)}`)).toBe(`${LIBRARY} /blobs/x`);
  for (const other of [undefined, 'Basic x', `Bearer iw_${'c'.repeat(52)}`, `Bearer ${'x'.repeat(9_000)}`, 'Bearer x'])
    expect(await give('/v1/models', other)).toBe(`${FIRST} /v1/models`);
});

test('what came over a connection that had to go meanwhile is not begun', async () => {
  const { listener, served } = await setUp();
  listener({ url: '/v1/models', headers: {}, socket: { destroyed: true } } as IncomingMessage, {} as ServerResponse);
  listener({ url: '/v1/models', headers: {}, socket: {} } as IncomingMessage, {} as ServerResponse);
  expect(served).toEqual([`${FIRST} /v1/models`]);
});

test('whose a guess is that is refused anyway is not looked up', async () => {
  const guessed = `iw_${'c'.repeat(52)}`;
  const { give, db, logged } = await setUp(IDS, [guessed]);
  await db.schema.alterTable('keys').renameTo('keys_away').execute();
  expect(await give('/v1/models', `Bearer ${guessed}`)).toBe(`${FIRST} /v1/models`);
  expect(logged).toEqual([]);
  expect(await give('/v1/models', `Bearer iw_${'d'.repeat(52)}`)).toBe(`${FIRST} /v1/models`);
  expect(logged).toHaveLength(1);
});

test('a database that does not answer is told of by the first, and a territory alone never asks it', async () => {
  const { give, keyOf, db, logged } = await setUp();
  const key = await keyOf(CHOIR);
  await db.schema.alterTable('keys').renameTo('keys_away').execute();
  expect(await give('/v1/models', key)).toBe(`${FIRST} /v1/models`);
  expect(logged).toHaveLength(1);
  const alone = await setUp([FIRST]);
  await alone.db.schema.alterTable('keys').renameTo('keys_away').execute();
  expect(await alone.give('/v1/models', key)).toBe(`${FIRST} /v1/models`);
  expect(alone.logged).toEqual([]);
});

test('a device is handed on with its hello to the territory that it names, and all that follows', async () => {
  const { dial, met, hello } = await setUp();
  const device = dial();
  expect(met).toEqual([]);
  device.say(hello(2));
  expect(met).toMatchObject([{ id: CHOIR, frames: [hello(2)] }]);
  device.say(utf8('next'));
  device.hangUp();
  expect(met[0]).toMatchObject({ frames: [hello(2), utf8('next')], closed: true });
  dial(LIBRARY);
  expect(met[1]).toMatchObject({ id: LIBRARY, frames: [] });
  expect(dial('ter_nobody').closed).toHaveLength(1);
  const garbage = dial();
  garbage.say(utf8('garbage'));
  expect(met[2]).toMatchObject({ id: FIRST, frames: [utf8('garbage')] });
});

test('who says nothing is let go in time, and so many at once and no more are listened to', async () => {
  const { dial, clock, met, hello } = await setUp();
  const silent = Array.from({ length: HUB_LIMITS.handshakesMax }, () => dial());
  expect(dial().closed).toHaveLength(1);
  silent[0]?.hangUp();
  const late = dial();
  expect(late.closed).toEqual([]);
  await clock.advance(LIMITS.handshakeMs);
  expect(silent[1]?.closed).toHaveLength(1);
  silent[1]?.say(hello(1));
  expect(met).toEqual([]);
  const next = dial();
  next.say(hello(1));
  expect(met).toMatchObject([{ id: LIBRARY }]);
});
