/** Claims about how the proxy begins: what cannot work is told at once, and by its name. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { idOfKey, wellKnownKey, type KeyPair } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, onTestFinished, test } from 'vitest';
import { startProxy, type ProxyOptions } from './proxy.ts';

const KEY = 'iw_right';
const pair = nodeCrypto.signingKey(new Uint8Array(32).fill(3)) as KeyPair;

const listening = async (server: Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
};

/** What of a hub is asked before the first prompt. */
async function startHub(): Promise<string> {
  const id = await idOfKey('ter', pair.publicKey, nodeCrypto);
  const hubId = await idOfKey('hub', pair.publicKey, nodeCrypto);
  const known = {
    v: 1,
    hub: { id: hubId, version: '0' },
    protocols: [1],
    territory: { id, name: 'Library', key: wellKnownKey(pair.publicKey) },
    endpoints: { openai: '/v1', api: '/api', openapi: '/o', device: '/d', blobs: '/b', health: '/h' },
    tls: null,
  };
  const server = createServer(({ url, headers }, response) => {
    const isRight = url === '/v1/models' && headers.authorization === `Bearer ${KEY}`;
    const isKnown = url?.startsWith('/.well-known/') === true;
    const error = { message: 'no such key', type: 'x', code: 'unauthenticated' };
    response.writeHead(isRight || isKnown ? 200 : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify(isKnown ? known : isRight ? { object: 'list', data: [] } : { error }));
  });
  return `http://127.0.0.1:${await listening(server)}`;
}
const optionsFor = (hub: string, more: Partial<ProxyOptions> = {}): ProxyOptions => ({
  hub,
  key: KEY,
  fetch,
  stewards: [pair.publicKey],
  host: '127.0.0.1',
  port: 0,
  token: 'let-me-in',
  ...more,
});

test('it listens once the hub and the key are right, and stops', async () => {
  const proxy = await startProxy(optionsFor(await startHub()));
  const ask = (path: string, authorization: string): Promise<Response> =>
    fetch(`${proxy.url}${path}`, { headers: { authorization } });
  expect((await ask('/v1/models', 'Bearer let-me-in')).status).toBe(200);
  expect((await ask('/v1/models', `Bearer ${KEY}`)).status).toBe(401);
  const elsewhere = await ask('/v1/embeddings', 'Bearer let-me-in');
  expect(elsewhere.status).toBe(404);
  expect(await elsewhere.text()).toContain('nothing is passed on in the open');
  await proxy.close();
  await expect(ask('/v1/models', 'Bearer let-me-in')).rejects.toThrow('fetch failed');
});

test('a port that is taken, an unknown key, another community, no hub: each is told by name', async () => {
  const hub = await startHub();
  const port = await listening(createServer());
  await expect(startProxy(optionsFor(hub, { port }))).rejects.toMatchObject({
    code: 'port_in_use',
    message: expect.stringContaining('--port') as string,
  });
  await expect(startProxy(optionsFor(hub, { key: 'iw_wrong' }))).rejects.toMatchObject({
    code: 'unauthenticated',
    message: expect.stringContaining('--key') as string,
  });
  const territory = new Uint8Array(32).fill(9);
  await expect(startProxy(optionsFor(hub, { territory }))).rejects.toMatchObject({ code: 'hub_untrusted' });
  const nobody = createServer();
  const away = await listening(nobody);
  await new Promise((resolve) => nobody.close(resolve));
  await expect(startProxy(optionsFor(`http://127.0.0.1:${away}`))).rejects.toMatchObject({ code: 'hub_unreachable' });
});
