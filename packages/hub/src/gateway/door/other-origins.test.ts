/** Claims about web pages of other origins, over a real server on loopback. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HUB_LIMITS } from '../../limits.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';
import { readOrigins } from './other-origins.ts';

const PAGE = 'https://chat.example';
const OTHER = 'https://evil.example';
let closed: TestDoor;
let named: TestDoor;
let any: TestDoor;
beforeAll(async () => {
  [closed, named, any] = await Promise.all([
    openTestDoor('jacobean'),
    openTestDoor('jacobean', { otherOrigins: [PAGE, 'http://localhost:3000'] }),
    openTestDoor('jacobean', { otherOrigins: ['*'] }),
  ]);
  await named.join(() => ({ tokens: ['Well', ' met', '.'] }));
});
afterAll(() => Promise.all([closed, named, any].map((door) => door.close())));

const ask = (door: TestDoor, path: string, headers: Record<string, string>, more: RequestInit = {}) =>
  fetch(door.url + path, { ...more, headers });
const preflight = (door: TestDoor, path: string, origin = PAGE) =>
  ask(door, path, { origin, 'access-control-request-method': 'POST' }, { method: 'OPTIONS' });
const bearer = (door: TestDoor) => ({ authorization: `Bearer ${door.key}` });
const corsOf = ({ headers }: Response) =>
  Object.fromEntries([...headers].filter(([name]) => name.startsWith('access-control-')));

test('unless it is told, a hub lets no page of another origin read anything', async () => {
  for (const origin of [PAGE, 'null']) {
    const asked = await preflight(closed, '/v1/chat/completions', origin);
    expect([asked.status, corsOf(asked)]).toEqual([401, {}]);
    const read = await ask(closed, '/v1/models', { ...bearer(closed), origin });
    expect([read.status, corsOf(read), read.headers.get('vary')]).toEqual([200, {}, null]);
  }
});

test('a page of an origin that was named reads what a key may, refusals too, and no other page does', async () => {
  const told = { 'access-control-allow-origin': PAGE, 'access-control-expose-headers': '*' };
  const read = await ask(named, '/v1/models', { ...bearer(named), origin: PAGE });
  expect([read.status, corsOf(read), read.headers.get('vary')]).toEqual([200, told, 'origin']);
  const refused = await ask(named, '/v1/models', { origin: PAGE, authorization: 'Bearer iw_nobody' });
  expect([refused.status, corsOf(refused)]).toEqual([401, told]);
  expect(corsOf(await ask(named, '/v1/nowhere', { ...bearer(named), origin: PAGE }))).toEqual(told);
  expect(corsOf(await ask(named, '/.well-known/idlewild', { origin: PAGE }))).toEqual(told);
  for (const origin of [OTHER, `${PAGE}:8443`, 'http://chat.example', `${PAGE}.evil.example`, 'null', '*']) {
    const other = await ask(named, '/v1/models', { ...bearer(named), origin });
    expect([origin, other.status, corsOf(other), other.headers.get('vary')]).toEqual([origin, 200, {}, 'origin']);
    const asked = await preflight(named, '/v1/chat/completions', origin);
    expect([origin, asked.status, corsOf(asked)]).toEqual([origin, 401, {}]);
  }
});

test('what a browser asks beforehand is answered without a key, with bounds and never with credentials', async () => {
  const asked = await preflight(named, '/v1/sealed/offers');
  expect([asked.status, await asked.text()]).toEqual([204, '']);
  expect(corsOf(asked)).toEqual({
    'access-control-allow-origin': PAGE,
    'access-control-allow-methods': 'GET, POST',
    'access-control-allow-headers': 'authorization, *',
    'access-control-max-age': String(HUB_LIMITS.preflightSecondsMax),
  });
  expect((await preflight(named, '/api/use')).headers.get('access-control-allow-methods')).toBe('GET');
});

test('no route of stewards, of signing in, of devices or of pages is opened, whatever origins are', async () => {
  const paths = new Set(any.routes.map(({ url }) => url));
  const isOpen = (url: string): boolean =>
    url.startsWith('/v1/') || ['/.well-known/idlewild', '/api/use'].includes(url);
  for (const url of paths) {
    const asked = await preflight(any, url.replaceAll(/:\w+/g, 'x').replace('*', 'x'));
    const { 'access-control-allow-origin': to } = corsOf(asked);
    expect([url, asked.status, to]).toEqual([url, ...(isOpen(url) ? [204, '*'] : [401, undefined])]);
  }
  expect([...paths].filter((url) => !isOpen(url)).length).toBeGreaterThan(100);
  for (const url of ['/v1', '/api/use/', '/api/use/x', '/']) expect(corsOf(await preflight(any, url))).toEqual({});
});

test('a cookie is nothing with a page of another origin, also where the browser sends one', async () => {
  const cookie = await cookieOf(any);
  const own = await ask(any, '/v1/models', { cookie, origin: any.url, 'sec-fetch-site': 'same-origin' });
  expect([own.status, corsOf(own)]).toEqual([200, {}]);
  const foreign = await ask(any, '/v1/models', { cookie, origin: OTHER, 'sec-fetch-site': 'same-site' });
  expect([foreign.status, foreign.headers.get('access-control-allow-origin')]).toEqual([401, '*']);
});

/** Of somebody whom a steward invited, and who signed in. */
async function cookieOf({ hub: { keys, signIn, territory } }: TestDoor): Promise<string> {
  const { id: keyId } = await keys.create({ territory: territory.id, role: 'steward', actor: 'test' });
  const by = { kind: 'key', keyId, territory: territory.id, role: 'steward', name: '', dataClass: 'internal' } as const;
  const { code } = await signIn.links.invite({ by, name: 'Ada', role: 'member', groups: [] });
  const { token } = await signIn.links.redeem(code, { kind: 'browser', label: 'a browser' });
  return `idlewild-${territory.id}-session=${token}`;
}

test('a stream carries it, and under an Idempotency-Key it is of who asks and not of who asked first', async () => {
  const body = JSON.stringify({ model: 'jacobean', messages: [{ role: 'user', content: 'Hail' }], stream: true });
  const post = async (origin: string, more: Record<string, string> = {}) => {
    const headers = { ...bearer(named), origin, 'content-type': 'application/json', ...more };
    const response = await ask(named, '/v1/chat/completions', headers, { method: 'POST', body });
    return { text: await response.text(), cors: corsOf(response), status: response.status };
  };
  const streamed = await post(PAGE);
  expect(streamed).toMatchObject({ status: 200, cors: { 'access-control-allow-origin': PAGE } });
  expect(streamed.text).toContain('[DONE]');
  const name = { 'idempotency-key': 'once' };
  expect((await post(PAGE, name)).cors['access-control-allow-origin']).toBe(PAGE);
  const again = await post('http://localhost:3000', name);
  expect(again).toMatchObject({ status: 200, cors: { 'access-control-allow-origin': 'http://localhost:3000' } });
  expect(await post(OTHER, name)).toMatchObject({ status: 200, cors: {}, text: again.text });
});

test('an origin is written as browsers write it, and there are no more than are quickly found', () => {
  expect(readOrigins([PAGE, 'http://127.0.0.1:3000', '*'])).toHaveLength(3);
  for (const wrong of [`${PAGE}/`, `${PAGE}/chat`, 'chat.example', 'https://Chat.example', `${PAGE}:443`, 'null', ''])
    expect(() => readOrigins([wrong]), wrong).toThrow(/is not the origin of a web page.*like https:\/\/chat\.example/);
  expect(() => readOrigins(['file:///tmp'])).toThrow(/write it as browsers do/);
  expect(() => readOrigins(Array<string>(HUB_LIMITS.otherOriginsMax + 1).fill(PAGE))).toThrow(/at most/);
});
