import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { messageOf } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { afterEach, describe, expect, test } from 'vitest';
import { SIGN_IN_LIMITS } from '../limits.ts';
import { createGuardedFetch, privatePlace, type Address } from './guarded-fetch.ts';
import { isPublicAddress } from './public-addresses.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://localhost:${(server.address() as AddressInfo).port}`;
}
const get = { method: 'GET', headers: {} };
const addresses = (...all: string[]): Address[] =>
  all.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
const reaching = (...all: string[]) =>
  createGuardedFetch({ clock: systemClock, isOnLoopback: () => false, resolve: async () => addresses(...all) });
const onLoopback = (resolve?: () => Promise<Address[]>) =>
  createGuardedFetch({ clock: systemClock, isOnLoopback: () => true, resolve });

test.each([
  '127.0.0.1',
  '10.0.0.1',
  '172.16.3.4',
  '192.168.1.1',
  '169.254.169.254',
  '100.100.100.200',
  '0.0.0.0',
  '192.0.0.192',
  '198.18.0.1',
  '224.0.0.1',
  '255.255.255.255',
  '::1',
  '::',
  '::ffff:127.0.0.1',
  '::ffff:a9fe:a9fe',
  '64:ff9b::169.254.169.254',
  '64:ff9b:1::1',
  '2002:7f00:1::',
  '2001:0:7f00:1::',
  'fe80::1',
  'fc00::1',
  'fd00:ec2::254',
  'fec0::1',
  'ff02::1',
  '2001:db8::1',
  'not an address',
])('%s is not of the public internet', (address) => {
  expect(isPublicAddress(address)).toBe(false);
});
test.each(['9.9.9.9', '100.63.255.255', '172.32.0.1', '2620:fe::fe', '2a00:1450:4001:80b::200e'])(
  '%s is of the public internet',
  (address) => {
    expect(isPublicAddress(address)).toBe(true);
  },
);

describe('nothing is fetched', () => {
  test.each([
    ['over plain HTTP', 'http://idp.example/'],
    ['from files', 'file:///etc/passwd'],
    ['from a script', 'javascript:alert(1)'],
    ['from data', 'data:application/json,{}'],
    ['with a name and password', 'https://ada:secret@idp.example/'],
    ['from what is no address', 'idp.example'],
    ['from loopback', 'https://127.0.0.1/'],
    ['from loopback, written as one number', 'https://2130706433/'],
    ['from loopback, written in octal', 'https://0177.0.0.1/'],
    ['from loopback in IPv6', 'https://[::1]/'],
    ['from metadata of a cloud', 'https://169.254.169.254/latest/meta-data/'],
    ['from an IPv4 address within an IPv6 one', 'https://[::ffff:10.0.0.1]/'],
  ])('%s', async (_, url) => {
    const fetch = reaching('9.9.9.9');
    await expect(fetch(url, get)).rejects.toMatchObject({ code: 'source_unreachable' });
  });

  test.each([
    ['a private address', ['10.1.2.3']],
    ['a private address besides a public one', ['9.9.9.9', '192.168.0.1']],
    ['a private address in IPv6', ['fd12::1']],
    ['no address', []],
  ])('from a name that has %s', async (_, all) => {
    const fetch = reaching(...all);
    await expect(fetch('https://idp.example/', get)).rejects.toThrow(/idp\.example.*(public internet|no address)/);
  });

  test('from other machines over plain HTTP, also where the hub is on loopback', async () => {
    await expect(onLoopback()('http://10.0.0.1/', get)).rejects.toThrow(/is not https/);
    const renamed = onLoopback(async () => addresses('9.9.9.9'));
    await expect(renamed('http://localhost/', get)).rejects.toThrow(/is not https/);
  });
});

test('the connection goes to the address that was looked at, and a name is asked for once', async () => {
  const url = await serve((request, response) => response.end(request.headers.host));
  let asked = 0;
  const fetch = onLoopback(async () => addresses(asked++ === 0 ? '127.0.0.1' : '10.0.0.1'));
  expect(await (await fetch(url, get)).text()).toBe(new URL(url).host);
  expect(asked).toBe(1);
  await expect(fetch(url, get)).rejects.toThrow(/public internet/);
});

/** What becomes of a fetch that finds nobody there; a connection that was begun does not end by itself. */
async function outcomeWithin(url: string, places: readonly string[], ...found: string[]): Promise<string> {
  const clock = createFakeClock(async () => {});
  const privatePlaces = new Set(places.map(privatePlace));
  const resolve = async (): Promise<Address[]> => addresses(...found);
  const fetched = createGuardedFetch({ clock, isOnLoopback: () => false, privatePlaces, resolve })(url, get);
  let outcome: string | undefined;
  void fetched.then(String, messageOf).then((text) => (outcome = text));
  for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
  await clock.advance(SIGN_IN_LIMITS.providerMsMax);
  await expect.poll(() => outcome).toBeDefined();
  return outcome ?? '';
}

test('a private network is reached where whoever runs the hub says so: that host at that port over HTTPS', async () => {
  const allowed = ['login.example.edu:8443', 'Other.Example.edu', '[fd00::7]:9443'];
  for (const [url, found] of [
    ['https://login.example.edu:8443/realms/main', '10.0.0.7'],
    ['https://login.example.edu:8443/', 'fd12::7'],
    ['https://other.example.edu/', '192.168.1.9'],
    ['https://[fd00::7]:9443/', 'fd00::7'],
  ] as const)
    expect(await outcomeWithin(url, allowed, found), url).toMatch(/does not answer|did not answer/);
  for (const [url, found, ...more] of [
    ['https://login.example.edu/', '10.0.0.7'],
    ['https://other.example.edu:8443/', '10.0.0.7'],
    ['https://evil.example.edu:8443/', '10.0.0.7'],
    ['https://login.example.edu.evil.example:8443/', '10.0.0.7'],
    ['https://login.example.edu:8443/', '127.0.0.1'],
    ['https://login.example.edu:8443/', '169.254.169.254'],
    ['https://login.example.edu:8443/', 'fd00:ec2::254'],
    ['https://login.example.edu:8443/', '100.100.100.200'],
    ['https://login.example.edu:8443/', '10.0.0.7', '127.0.0.1'],
  ] as const)
    expect(await outcomeWithin(url, allowed, found, ...more), `${url} ${found}`).toMatch(/not of the public internet/);
  expect(await outcomeWithin('http://login.example.edu:8443/', allowed, '10.0.0.7')).toMatch(/is not https/);
  expect(await outcomeWithin('https://login.example.edu:8443/', [], '10.0.0.7')).toMatch(
    /up --oidc-private login\.example\.edu:8443$/,
  );
});

test.each(['', 'https://a.example', 'a.example/realms', 'a.example?x', 'ada@a.example', 'a.example:port', 'a b'])(
  'what whoever runs the hub allows is a host and a port, and not %j',
  (text) => {
    expect(() => privatePlace(text)).toThrow(expect.objectContaining({ code: 'usage' }));
  },
);

test('redirects are told and not followed', async () => {
  const seen: string[] = [];
  const url = await serve((request, response) => {
    seen.push(request.url ?? '');
    response.writeHead(302, { location: 'http://169.254.169.254/' }).end();
  });
  expect((await onLoopback()(`${url}/a`, get)).status).toBe(302);
  expect(seen).toEqual(['/a']);
});

test('bodies and heads are bounded, also where their length is not told', async () => {
  const big = await serve((_, response) => {
    const more = (): void => {
      while (response.write(Buffer.alloc(16_384)));
      response.once('drain', more);
    };
    more();
  });
  await expect(onLoopback()(big, get)).rejects.toThrow(/more than 65536 bytes/);
  const head = await serve((_, response) => {
    response.writeHead(200, { 'x-long': 'a'.repeat(SIGN_IN_LIMITS.providerHeaderBytesMax) }).end();
  });
  await expect(onLoopback()(head, get)).rejects.toMatchObject({ code: 'source_unreachable' });
});

test('whoever says nothing, or drips, is given up after ten seconds', async () => {
  for (const begin of [false, true]) {
    const clock = createFakeClock(async () => {});
    const arrived = Promise.withResolvers<void>();
    const url = await serve((_, response) => {
      if (begin) response.write('a');
      arrived.resolve();
    });
    const fetched = createGuardedFetch({ clock, isOnLoopback: () => true })(url, get);
    const outcome = fetched.then(String, messageOf);
    await arrived.promise;
    await clock.advance(SIGN_IN_LIMITS.providerMsMax);
    expect(await outcome).toMatch(/did not answer within 10 s/);
  }
});

test('a resolver that never answers is given up, too', async () => {
  const clock = createFakeClock(async () => {});
  const resolve = (): Promise<Address[]> => new Promise(() => {});
  const fetched = createGuardedFetch({ clock, isOnLoopback: () => false, resolve })('https://idp.example/', get);
  const outcome = fetched.then(String, messageOf);
  await clock.advance(SIGN_IN_LIMITS.providerMsMax);
  expect(await outcome).toMatch(/did not answer/);
});
