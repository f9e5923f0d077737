/** Claims about every route there is: what another site makes a browser send, and bodies that are too large. */
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { openSignInDoor, type SignInTestDoor } from '../sign-in/testing/door.ts';
import { everyRoute, type Route } from '../testing/every-route.ts';
import { openTestDoor } from '../testing/test-door.ts';

let door: SignInTestDoor;
let routes: readonly Route[];
let steward = '';
beforeAll(async () => {
  door = await openSignInDoor(openTestDoor, fetch);
  routes = await everyRoute(door.url, fetch);
  const { hub } = door;
  steward = (await hub.keys.create({ territory: hub.territory.id, role: 'steward', actor: 'test' })).key;
});
afterAll(() => door.close());

const placed = (path: string): string => path.replace(/\{\w+\}/g, 'x');

test('no route that changes anything does it for a cookie that another site made a browser send', async () => {
  const browser = await door.signedIn('Bess');
  const changing = routes.filter(({ method }) => method !== 'GET');
  expect(changing.length).toBeGreaterThan(50);
  for (const { method, path } of changing) {
    for (const [who, headers] of [
      ['a form', { origin: 'https://evil.test', 'sec-fetch-site': 'cross-site' }],
      ['a script', { origin: 'https://evil.test', 'sec-fetch-site': 'cross-site', 'x-idlewild-request': '1' }],
      ['nothing that says where from', { 'x-idlewild-request': '1' }],
    ] as const) {
      const answer = await browser.raw(method, placed(path), headers);
      const told = await answer.text();
      // Where people come who are nobody yet, no cookie says who they are: what is malformed is told.
      const isWayIn = path.startsWith('/api/sign-in/') && answer.status === 400;
      if (!isWayIn) expect(`${method} ${path} by ${who}: ${told}`).toMatch(/does not come from a page of this hub/);
      expect(answer.headers.getSetCookie(), path).toEqual([]);
    }
  }
  expect((await browser.get('/api/sessions')).status).toBe(200);
});

test('what is answered to somebody is kept by nothing between, and taken for a page by no browser', async () => {
  const browser = await door.signedIn('Cess');
  for (const { method, path } of routes) {
    const answers = [await fetch(`${door.url}${placed(path)}`, { method, redirect: 'manual' })];
    if (method === 'GET') answers.push(await browser.get(placed(path)));
    for (const { headers, body, status } of answers) {
      await body?.cancel();
      const said = `${headers.get('cache-control')}, ${headers.get('x-content-type-options')}`;
      // Who the hub is anybody may keep for a while.
      const kept = path === '/.well-known/idlewild' ? 'public, max-age=300' : 'no-store';
      expect(`${method} ${path} ${status}: ${said}`).toBe(`${method} ${path} ${status}: ${kept}, nosniff`);
    }
  }
});

/** What is answered to a request of which nothing but its head is ever sent. */
function headOnly(head: string): Promise<string> {
  const { hostname, port } = new URL(door.url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(head));
    let heard = '';
    socket.setTimeout(5_000, () => socket.destroy(new Error(`nothing is said to ${head}`)));
    socket.on('data', (bytes) => {
      heard += bytes.toString('latin1');
      socket.destroy();
      resolve(heard.slice(9, 12));
    });
    socket.on('error', reject);
  });
}

test('a body over the limit is refused by its length on every route, before any of it is read', async () => {
  const wrong: string[] = [];
  for (const { method, path } of routes) {
    for (const type of ['application/json', 'application/octet-stream']) {
      const head =
        `${method} ${placed(path)} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer ${steward}\r\n` +
        `content-type: ${type}\r\ncontent-length: ${HUB_LIMITS.bodyBytesMax + 1}\r\n\r\n`;
      const status = await headOnly(head);
      // Of GET nothing is read at all; of others it may be no type that the route has.
      if (!(method === 'GET' || ['413', '415', '429'].includes(status)))
        wrong.push(`${method} ${path} ${type}: ${status}`);
    }
  }
  expect(wrong).toEqual([]);
}, 30_000);

test('headers over the limit are refused, and so is what could hide a second request', async () => {
  const begin = 'GET /v1/models HTTP/1.1\r\nhost: hub\r\n';
  expect(await headOnly(`${begin}x: ${'y'.repeat(20_000)}\r\n\r\n`)).toBe('431');
  expect(await headOnly(`${begin}x: y\rset-cookie: stolen=1\r\n\r\n`)).toBe('400');
  expect(await headOnly(`${begin}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n`)).toBe('400');
  expect(await headOnly(`${begin}content-length: 5\r\ncontent-length: 6\r\n\r\n`)).toBe('400');
});
