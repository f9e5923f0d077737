/** Claims about the one document that a hub shows to strangers, over a real server on loopback. */
import { createMemoryBlobStore, idOfKey, VERSIONS, WELL_KNOWN_PATH, wellKnownSchema } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase, type OpenDatabase } from '../../db/open.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets } from '../../identity/secrets.ts';
import { silentLog } from '../../log.ts';
import { aloneAt, testMetrics } from '../../testing/test-door.ts';
import { HUB_VERSION } from '../../version.ts';
import { createHubServer } from '../hub-server.ts';
import type { App } from '../server.ts';

let database: OpenDatabase;
let hub: Hub;
let app: App;
let base: string;
let pin: Uint8Array | undefined;

beforeAll(async () => {
  database = await openDatabase({ file: ':memory:', clock: systemClock });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const metrics = testMetrics(() => hub);
  const ports = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto, log: silentLog };
  hub = await createHub({ ...ports, database, store, secrets: createMemorySecrets(), meter: metrics.meter });
  const address = (): { url: string; pin?: Uint8Array } => ({ url: base, ...(pin === undefined ? {} : { pin }) });
  app = await createHubServer({ ...aloneAt(hub, database, () => base), ...ports, hub, metrics, address });
  base = await app.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await hub.stop();
  await app.close();
  await database.close();
});

const read = async (): Promise<Response> => fetch(base + WELL_KNOWN_PATH);

test('a stranger learns what the hub speaks and whose it is', async () => {
  const response = await read();
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  expect(response.headers.get('cache-control')).toBe('public, max-age=300');
  const told = wellKnownSchema.parse(await response.json());
  const key = Buffer.from(hub.territory.publicKey).toString('base64url');
  expect(told).toMatchObject({
    hub: { id: hub.id, version: HUB_VERSION },
    protocols: VERSIONS,
    territory: { id: hub.territory.id, name: hub.territory.name, key },
    tls: null,
  });
  expect(await idOfKey('ter', Buffer.from(told.territory.key, 'base64url'), nodeCrypto)).toBe(told.territory.id);
});

test('the pin is told where the hub speaks TLS', async () => {
  pin = new Uint8Array(32).fill(7);
  const told = wellKnownSchema.parse(await (await read()).json());
  expect(Buffer.from(told.tls?.spki ?? '', 'base64url')).toEqual(Buffer.from(pin));
  pin = undefined;
});

test('it is the same document whoever asks and whatever goes on, byte for byte', async () => {
  const before = await (await read()).text();
  await hub.keys.create({ territory: hub.territory.id, role: 'caller', actor: 'test' });
  await hub.invites.create({ territory: hub.territory.id, uses: 1, expiresInMs: 60_000, createdBy: 'test' });
  expect(await (await read()).text()).toBe(before);
});

test('every endpoint that it names is there', async () => {
  const { endpoints } = wellKnownSchema.parse(await (await read()).json());
  const status = async (path: string): Promise<number> => (await fetch(base + path)).status;
  // Without a key the hub tells nobody which routes there are, but these answer.
  expect(await status(endpoints.health)).toBe(200);
  expect(await status(endpoints.openapi)).toBe(200);
  const { paths } = (await (await fetch(base + endpoints.openapi)).json()) as { paths: Record<string, unknown> };
  for (const folder of [endpoints.openai, endpoints.api, endpoints.blobs])
    expect(Object.keys(paths).some((path) => path.startsWith(`${folder}/`))).toBe(true);
  expect(paths).toHaveProperty([WELL_KNOWN_PATH]);
});
