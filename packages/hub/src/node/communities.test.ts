/** Claims about a process that serves many communities, through its real door. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { lookup } from 'node:dns/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VERSIONS, decodeInvite, encodeFrame, parseToDevice, wellKnownKey } from '@idlewild/protocol';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocket } from 'ws';
import { HUB_LIMITS } from '../limits.ts';
import { SIGN_IN_LIMITS } from '../sign-in/limits.ts';
import { startHub, type RunningHub } from './start-hub.ts';

interface Told {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

interface Community {
  readonly id: string;
  readonly address: string;
  readonly stewardKey: string;
  /** Ed25519. */
  readonly key: Uint8Array;
}

function folder(): string {
  const data = mkdtempSync(join(tmpdir(), 'idlewild-communities-'));
  onTestFinished(() => rmSync(data, { recursive: true, force: true }));
  return data;
}

async function start(data = folder(), name?: string): Promise<RunningHub> {
  const hub = await startHub({ data, name, host: '127.0.0.1', port: 0 });
  onTestFinished(() => hub.stop());
  return hub;
}

async function ask(url: string, key?: string, body?: object, method?: string): Promise<Told> {
  const response = await fetch(url, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? {} : (JSON.parse(text) as Told['body']) };
}

async function make({ url, stewardKey }: RunningHub, name: string): Promise<Community> {
  const { status, body } = await ask(`${url}/api/territories`, stewardKey, { name });
  expect(status).toBe(201);
  const { id, address, key, stewardKey: first } = body as Record<string, string>;
  return { id, address, stewardKey: first, key: new Uint8Array(Buffer.from(key as string, 'base64url')) } as Community;
}

const territoryOf = async (url: string, key?: string): Promise<unknown> =>
  ((await ask(`${url}/api/status`, key)).body['territory'] as { id: string } | undefined)?.id;

test('who signs in to a community is known by its address and by the session, and in no other', async () => {
  const hub = await start();
  const { id, address, stewardKey } = await make(hub, 'library');
  const { body: invited } = await ask(`${address}/api/people/invitations`, stewardKey, { name: 'Ada' });
  expect(invited['url']).toBe(`${address}/sign-in#code=${String(invited['code'])}`);
  const code = { code: invited['code'] };
  expect((await ask(`${hub.url}/api/sign-in/code`, undefined, code)).status).toBe(401);
  const { status, body } = await ask(`${address}/api/sign-in/code`, undefined, code);
  expect(status).toBe(201);
  const token = String(body['token']);
  expect(await territoryOf(address, token)).toBe(id);
  // Without its address, too: the session says whose it is.
  expect(await territoryOf(hub.url, token)).toBe(id);
  expect((await ask(`${hub.url}/t/${hub.territory.id}/api/status`, token)).status).toBe(401);
  const page = await (await fetch(`${address}/sign-in`)).text();
  expect(page).toContain(`data-base="/t/${id}"`);
  expect(page).toContain('Sign in to library');
});

test('a community that was made is reached by its address and by its key, and the first one as before', async () => {
  const hub = await start();
  const library = await make(hub, 'The library');
  expect(library.address).toBe(`${hub.url}/t/${library.id}`);
  expect(await territoryOf(library.address, library.stewardKey)).toBe(library.id);
  expect(await territoryOf(hub.url, library.stewardKey)).toBe(library.id);
  expect(await territoryOf(hub.url, hub.stewardKey)).toBe(hub.territory.id);
  expect(await territoryOf(`${hub.url}/t/${hub.territory.id}`, hub.stewardKey)).toBe(hub.territory.id);
  const known = await ask(`${library.address}/.well-known/idlewild`);
  expect(known.body['territory']).toEqual({ id: library.id, name: 'The library', key: wellKnownKey(library.key) });
  expect(known.body['endpoints']).toMatchObject({ openai: `/t/${library.id}/v1`, device: `/t/${library.id}/device` });
  const first = await ask(`${hub.url}/.well-known/idlewild`, library.stewardKey);
  expect(first.body['territory']).toMatchObject({ id: library.id });
  expect((await ask(`${hub.url}/.well-known/idlewild`)).body['territory']).toMatchObject({ id: hub.territory.id });
});

test('a hub on localhost listens on each of its addresses, for all its communities', async () => {
  const hub = await startHub({ data: folder(), host: 'localhost', port: 0 });
  onTestFinished(() => hub.stop());
  const { port } = new URL(hub.url);
  const { address } = await make(hub, 'The library');
  const { pathname } = new URL(address);
  for (const { address: host, family } of await lookup('localhost', { all: true })) {
    const at = `http://${family === 6 ? `[${host}]` : host}:${port}${pathname}`;
    expect((await ask(`${at}/healthz`)).body, at).toEqual({ ok: true });
  }
});

test('an address and a key that disagree are told what a key that nobody ever had is told', async () => {
  const hub = await start();
  const library = await make(hub, 'The library');
  const unknown = await ask(`${hub.url}/api/status`, `iw_${'a'.repeat(52)}`);
  expect(unknown.status).toBe(401);
  const withoutId = ({ status, body }: Told): unknown => ({ status, error: body['error'] });
  for (const path of ['/api/status', '/api/keys', '/v1/models', '/metrics', '/api/nothing']) {
    expect(withoutId(await ask(library.address + path, hub.stewardKey)), path).toEqual(withoutId(unknown));
    const other = `${hub.url}/t/${hub.territory.id}${path}`;
    expect(withoutId(await ask(other, library.stewardKey)), path).toEqual(withoutId(unknown));
  }
  const nowhere = await ask(`${hub.url}/t/ter_${'a'.repeat(26)}/api/status`, library.stewardKey);
  expect(withoutId(nowhere)).toEqual(withoutId(unknown));
  expect((await ask(`${hub.url}/t/ter_${'a'.repeat(26)}/api/status`)).status).toBe(401);
});

test('neither is a steward of one in the other, and only those of the first host', async () => {
  const hub = await start();
  const [library, choir] = [await make(hub, 'The library'), await make(hub, 'The choir')];
  expect((await ask(`${library.address}/api/territories`, library.stewardKey)).status).toBe(404);
  const made = await ask(`${library.address}/api/keys`, library.stewardKey, { role: 'caller', name: 'reader' });
  expect(made.status).toBe(201);
  const listed = async (address: string, key: string): Promise<unknown[]> =>
    (await ask(`${address}/api/keys`, key)).body as unknown as unknown[];
  expect(await listed(library.address, library.stewardKey)).toHaveLength(2);
  expect(await listed(choir.address, choir.stewardKey)).toHaveLength(1);
  const id = made.body['id'] as string;
  const stolen = await ask(`${choir.address}/api/keys/${id}`, choir.stewardKey, undefined, 'DELETE');
  expect(stolen.status).toBe(404);
  expect(await territoryOf(library.address, made.body['key'] as string)).toBe(library.id);
  const caller = await ask(`${hub.url}/api/keys`, hub.stewardKey, { role: 'caller' });
  expect((await ask(`${hub.url}/api/territories`, caller.body['key'] as string)).status).toBe(403);
  const all = (await ask(`${hub.url}/api/territories`, hub.stewardKey)).body as unknown as { name: string }[];
  expect(all.map(({ name }) => name)).toEqual(['home', 'The library', 'The choir']);
});

test('names are checked, taken ones refused, and both logs tell of what was done', async () => {
  const hub = await start();
  const library = await make(hub, 'The library');
  for (const name of ['', ' x', 'a\nb', 'a\u202eb']) {
    expect((await ask(`${hub.url}/api/territories`, hub.stewardKey, { name })).status, name).toBe(400);
  }
  expect((await ask(`${hub.url}/api/territories`, hub.stewardKey, { name: 'The library' })).status).toBe(409);
  const actions = async (address: string, key: string | undefined): Promise<string[]> => {
    const { body } = await ask(`${address}/api/audit`, key);
    return JSON.stringify(body).match(/(?:host|create|close|open)Territory/g) ?? [];
  };
  expect(await actions(hub.url, hub.stewardKey)).toEqual(['hostTerritory', 'createTerritory']);
  expect(await actions(library.address, library.stewardKey)).toEqual(['createTerritory']);
});

test('a community has the name that its first start was given, until its own steward gives it another', async () => {
  const data = folder();
  await expect(start(folder(), 'a\nb')).rejects.toMatchObject({ code: 'invalid_request' });
  const hub = await start(data, 'City library');
  const choir = await make(hub, 'The choir');
  const heard: string[] = [];
  hub.onRenamed((name) => heard.push(name));
  const rename = (address: string, key: string | undefined, name: string): Promise<Told> =>
    ask(`${address}/api/territory`, key, { name }, 'PATCH');
  const named = async (address: string): Promise<unknown> =>
    ((await ask(`${address}/.well-known/idlewild`)).body['territory'] as { name: string }).name;
  expect([hub.territory.name, await named(hub.url), await named(choir.address)]).toEqual([
    'City library',
    'City library',
    'The choir',
  ]);
  const caller = await ask(`${hub.url}/api/keys`, hub.stewardKey, { role: 'caller' });
  expect((await rename(hub.url, caller.body['key'] as string, 'Mine')).status).toBe(403);
  expect((await rename(choir.address, hub.stewardKey, 'Mine')).status).toBe(401);
  for (const name of ['', ' x', 'a\u202eb', 'x'.repeat(65)])
    expect((await rename(hub.url, hub.stewardKey, name)).status, name).toBe(400);
  expect((await rename(choir.address, choir.stewardKey, 'City choir')).body).toEqual({
    id: choir.id,
    name: 'City choir',
  });
  expect((await rename(hub.url, hub.stewardKey, 'Town library')).status).toBe(200);
  // The same again is no act.
  expect((await rename(hub.url, hub.stewardKey, 'Town library')).status).toBe(200);
  expect([hub.territory.name, await named(hub.url), await named(choir.address)]).toEqual([
    'Town library',
    'Town library',
    'City choir',
  ]);
  expect(heard).toEqual(['Town library']);
  expect((await ask(`${hub.url}/api/me`, hub.stewardKey)).body['territory']).toMatchObject({ name: 'Town library' });
  expect(await (await fetch(`${choir.address}/sign-in`)).text()).toContain('Sign in to City choir');
  const { body } = await ask(`${hub.url}/api/audit`, hub.stewardKey);
  const acts = (body['entries'] as { action: string; details: unknown }[]).filter(({ action }) =>
    /rename/.test(action),
  );
  expect(acts).toMatchObject([{ details: { name: 'Town library', before: 'City library' } }]);
  await hub.stop();
  expect((await start(data, 'City library')).territory.name).toBe('Town library');
});

test('what whoever runs the hub lets it reach in a private network is a host, or there is no start', async () => {
  const privateProviders = ['https://login.example.edu/realms'];
  const starting = startHub({ data: folder(), host: '127.0.0.1', port: 0, privateProviders });
  await expect(starting).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('HOST:PORT') });
});

test('a closed community is served nowhere until it is opened, with all it had, also after a restart', async () => {
  const data = folder();
  const hub = await start(data);
  const [library, choir] = [await make(hub, 'The library'), await make(hub, 'The choir')];
  expect(existsSync(join(data, 'territories', library.id, 'territory.key'))).toBe(true);
  const turn = (id: string, how: string): Promise<Told> =>
    ask(`${hub.url}/api/territories/${id}/${how}`, hub.stewardKey, {});
  expect((await turn(hub.territory.id, 'close')).status).toBe(409);
  expect((await turn(library.id, 'close')).body).toMatchObject({ served: false, closedAt: expect.any(String) });
  const closed = { status: 403, body: { error: { code: 'community_closed' } } };
  expect(await ask(`${library.address}/api/status`, library.stewardKey)).toMatchObject(closed);
  expect(await ask(`${hub.url}/api/status`, library.stewardKey)).toMatchObject(closed);
  await hub.stop();
  const again = await start(data);
  expect(await ask(`${again.url}/api/status`, library.stewardKey)).toMatchObject(closed);
  expect(await territoryOf(again.url, choir.stewardKey)).toBe(choir.id);
  const opened = await ask(`${again.url}/api/territories/${library.id}/open`, hub.stewardKey, {});
  expect(opened.body).toMatchObject({ served: true, stewardKey: null });
  expect(await territoryOf(again.url, library.stewardKey)).toBe(library.id);
});

test('who belongs to a closed community is told that it is closed, and nobody else hears of it', async () => {
  const hub = await start();
  const library = await make(hub, 'The library');
  const post = (path: string, body: object): Promise<Told> => ask(library.address + path, library.stewardKey, body);
  const joined = async (name: string) => {
    const { body } = await post('/api/people/invitations', { name });
    const { body: session } = await ask(`${library.address}/api/sign-in/code`, undefined, { code: body['code'] });
    return { token: String(session['token']), person: String(session['person']) };
  };
  const [ada, ben] = [await joined('Ada'), await joined('Ben')];
  expect(
    await ask(`${library.address}/api/members/${ben.person}/suspend`, library.stewardKey, undefined, 'POST'),
  ).toMatchObject({ status: 200 });
  const made = async (more: object) => (await post('/api/keys', { role: 'caller', ...more })).body;
  const [key, revoked] = [await made({}), await made({})];
  await ask(`${library.address}/api/keys/${String(revoked['id'])}`, library.stewardKey, undefined, 'DELETE');
  const before = (await ask(`${hub.url}/api/status`, `iw_${'a'.repeat(52)}`)).body;
  await ask(`${hub.url}/api/territories/${library.id}/close`, hub.stewardKey, {});

  const told = async (url: string, init: RequestInit): Promise<[number, string]> => {
    const response = await fetch(url, init);
    return [response.status, await response.text()];
  };
  const bearer = (secret: string) => ({ headers: { authorization: `Bearer ${secret}` } });
  const cookie = (secret: string) => ({ headers: { cookie: `idlewild-${library.id}-session=${secret}` } });
  const ways = [
    ['a key', bearer(String(key['key']))],
    ['a session', bearer(ada.token)],
    ['a browser', cookie(ada.token)],
  ] as const;
  for (const [what, init] of ways) {
    const [status, text] = await told(`${library.address}/v1/models`, init);
    expect([what, status, text]).toEqual([what, 403, expect.stringContaining('community_closed')]);
    expect(text).toMatch(/The library.* is closed on this hub since 2.*ask whoever runs the hub to open it again/);
  }
  const strangers = [
    ['a made-up key', bearer(`iw_${'a'.repeat(52)}`)],
    ['a made-up session', bearer(`iws_${'a'.repeat(52)}`)],
    ['a made-up cookie', cookie(`iws_${'a'.repeat(52)}`)],
    ['nothing', {}],
    ['a revoked key', bearer(String(revoked['key']))],
    ['who is suspended', bearer(ben.token)],
  ] as const;
  for (const [what, init] of strangers) {
    for (const url of [hub.url, library.address]) {
      const [status, text] = await told(`${url}/api/status`, init);
      expect([what, status, text]).toEqual([what, 401, expect.not.stringMatching(/closed|library/i)]);
    }
  }
  expect((await ask(`${library.address}/api/status`, `iw_${'a'.repeat(52)}`)).body).toEqual(before);
  // Of what was shown nothing is in the log of the community that is open.
  const log = JSON.stringify((await ask(`${hub.url}/api/audit`, hub.stewardKey)).body);
  for (const id of [ada.person, ben.person, String(key['id'])]) expect(log).not.toContain(id);
});

test('a device is met by the community that it pins, at whichever address, and proved to by it', async () => {
  const hub = await start();
  const library = await make(hub, 'The library');
  const { body } = await ask(`${library.address}/api/invites`, library.stewardKey, {});
  const invite = decodeInvite(body['token'] as string);
  expect(invite).toMatchObject({ url: library.address, territory: library.key });
  /** What the hub says to a device that says hello. */
  const greeted = (address: string, territory: Uint8Array): Promise<ReturnType<typeof parseToDevice>> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`${address.replace(/^http/, 'ws')}/device`);
      socket.binaryType = 'nodebuffer';
      socket.once('error', reject);
      socket.once('close', (_code, reason) => reject(new Error(`closed: ${reason.toString()}`)));
      socket.once('open', () => {
        const hello = {
          t: 'hello',
          versions: [...VERSIONS],
          device: new Uint8Array(32),
          territory,
          nonce: new Uint8Array(32),
        };
        socket.send(encodeFrame(hello as never));
      });
      socket.once('message', (frame: Buffer) => {
        resolve(parseToDevice(new Uint8Array(frame)));
        socket.close();
      });
    });
  for (const address of [hub.url, library.address])
    expect(await greeted(address, library.key), address).toMatchObject({ t: 'challenge' });
  for (const address of [hub.url, `${hub.url}/t/${hub.territory.id}`])
    expect(await greeted(address, hub.territory.publicKey), address).toMatchObject({ t: 'challenge' });
  const wrong = await greeted(library.address, hub.territory.publicKey);
  expect(wrong).toMatchObject({ t: 'refused', code: 'handshake_refused' });
  await expect(greeted(`${hub.url}/t/ter_nobody`, library.key)).rejects.toThrow('no such community');
});

test('who guesses keys or codes at many communities of a hub has the tries of one', async () => {
  const hub = await start();
  const [library, choir] = [await make(hub, 'The library'), await make(hub, 'The choir')];
  const stewards = (): Promise<Told[]> =>
    Promise.all([library, choir].map(({ address, stewardKey }) => ask(`${address}/api/status`, stewardKey)));
  expect((await stewards()).map(({ status }) => status)).toEqual([200, 200]);
  const places = [hub.url, library.address, choir.address];
  const at = (index: number): string => places[index % places.length] as string;
  const secret = (index: number): string =>
    [...String(index)]
      .map((digit) => 'abcdefghij'[Number(digit)])
      .join('')
      .padEnd(52, 'z');
  const tried = async (count: number, one: (index: number) => Promise<Told>): Promise<Record<string, number>> => {
    const all = await Promise.all(Array.from({ length: count }, (_, index) => one(index)));
    return Object.fromEntries([...Map.groupBy(all, ({ status }) => status)].map(([code, told]) => [code, told.length]));
  };
  const { wrongSecretsPerMinute } = HUB_LIMITS;
  const keys = await tried(6 * wrongSecretsPerMinute, (index) => ask(`${at(index)}/v1/models`, `iw_${secret(index)}`));
  expect(keys[429]).toBeGreaterThan(4 * wrongSecretsPerMinute);
  const { triesPerMinute } = SIGN_IN_LIMITS;
  const codes = await tried(6 * triesPerMinute, (index) =>
    ask(`${at(index)}/api/sign-in/code/look`, undefined, { code: `iwl_${secret(index)}`, sessions: [] }),
  );
  expect(codes[429]).toBeGreaterThan(4 * triesPerMinute);
  // Whose key worked goes on, in each of them.
  expect((await stewards()).map(({ status }) => status)).toEqual([200, 200]);
});
