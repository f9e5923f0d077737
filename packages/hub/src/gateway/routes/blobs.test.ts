import { createMemoryBlobStore, layoutFile } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase, type OpenDatabase } from '../../db/open.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets } from '../../identity/secrets.ts';
import { silentLog } from '../../log.ts';
import { aloneAt, testMetrics } from '../../testing/test-door.ts';
import { createHubServer } from '../hub-server.ts';
import type { App } from '../server.ts';

let database: OpenDatabase;
let hub: Hub;
let key: string;
/** Two doors over one store, as a balancer sees replicas. */
const doors: { app: App; url: string }[] = [];

beforeAll(async () => {
  database = await openDatabase({ file: ':memory:', clock: systemClock });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  const metrics = testMetrics(() => hub);
  const ports = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto, log: silentLog };
  hub = await createHub({ ...ports, database, store, secrets: createMemorySecrets(), meter: metrics.meter });
  ({ key } = await hub.keys.create({ territory: hub.territory.id, role: 'steward', actor: 'test' }));
  for (let door = 0; door < 2; door++) {
    const app = await createHubServer({ ...aloneAt(hub, database, () => ''), ...ports, hub, metrics });
    doors.push({ app, url: await app.listen({ host: '127.0.0.1', port: 0 }) });
  }
});
afterAll(async () => {
  await hub.stop();
  await Promise.all(doors.map(({ app }) => app.close()));
  await database.close();
});

/** Each request goes to the other door than the one before. */
function createSender(): (method: string, path: string, body?: object | Uint8Array) => Promise<Response> {
  let turn = 0;
  return (method, path, body) => {
    const isBytes = body instanceof Uint8Array;
    const type = isBytes ? 'application/octet-stream' : 'application/json';
    return fetch(`${doors[turn++ % doors.length]?.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': type }) },
      ...(body === undefined ? {} : { body: isBytes ? new Uint8Array(body) : JSON.stringify(body) }),
    });
  };
}

test.each([
  ['of several leaves', 2_500_000],
  ['of one leaf', 1_000],
  ['that is empty', 0],
])('a file %s is uploaded whichever replicas its parts come to', async (_, size) => {
  const bytes = nodeRandom.bytes(size);
  const { layout, nodes } = await layoutFile([bytes], nodeCrypto);
  const root = layout.root.toString();
  const send = createSender();
  for (const node of nodes)
    expect((await send('PUT', `/api/blobs/${node.cid.toString()}`, node.bytes)).status).toBe(204);
  const opened = await send('POST', '/api/files', { root, ...(nodes.length === 0 ? { bytes: size } : {}) });
  expect(await opened.json()).toEqual({ missing: layout.leaves.map((_, index) => index) });
  let at = 0;
  for (const [index, leaf] of layout.leaves.entries()) {
    const part = bytes.subarray(at, at + leaf.bytes);
    expect((await send('PUT', `/api/files/${root}/leaves/${index}`, part)).status).toBe(204);
    at += leaf.bytes;
  }
  expect((await send('POST', `/api/files/${root}/finish`)).status).toBe(204);
  for (const { cid } of layout.leaves) expect((await send('GET', `/blobs/${cid.toString()}`)).status).toBe(200);
});

test('a leaf of a file that nobody began is refused, with what to do', async () => {
  const { layout } = await layoutFile([nodeRandom.bytes(10)], nodeCrypto);
  const refused = await createSender()('PUT', `/api/files/${layout.root.toString()}/leaves/0`, nodeRandom.bytes(10));
  expect(refused.status).toBe(404);
  expect(await refused.json()).toMatchObject({ error: { message: expect.stringContaining('POST /api/files') } });
});
