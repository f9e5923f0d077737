/** Claims about `kill -9` at any time, of the hub, of an uploader, of a device: nothing committed is lost. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { hear, LONG, untilReady } from './answers.ts';
import { startRelay, type Relay } from './relay.ts';
import { createWorld, MODEL, MODEL_FOLDER, type HubProcess, type World } from './world.ts';

const REUNITED_MS_MAX = 5_000;
/** Leaves in flight at once, in an upload as in a fetch. */
const AT_ONCE = 4;

let world: World;
let hub: HubProcess;

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
});
afterAll(() => world.end());

async function relayTo(target: HubProcess): Promise<Relay> {
  const relay = await startRelay(target);
  onTestFinished(() => relay.close());
  return relay;
}

/** Waits until all that may be in flight at once stands at the hold: what was let through before is over then. */
async function holdFrom(relay: Relay, passes: (request: string) => boolean): Promise<void> {
  const before = relay.held.length;
  relay.hold(passes);
  await expect.poll(() => relay.held.length, { timeout: 10_000 }).toBe(before + AT_ONCE);
}

const leafOf = (request: string): number => Number(/^PUT .*\/leaves\/(\d+)$/.exec(request)?.[1] ?? -1);
const isNode = (request: string): boolean => request.startsWith('GET /blobs/bafybei');
const isLeaf = (request: string): boolean => request.startsWith('GET /blobs/bafkrei');

test('an upload that is killed on either side goes on where it stopped', async () => {
  const relay = await relayTo(hub);
  const through = { url: relay.url, key: hub.key };
  const add = ['models', 'add', MODEL_FOLDER];
  const uploader = world.idlewild(through, add);
  await holdFrom(relay, (request) => leafOf(request) >= 4);
  await uploader.kill();

  const second = world.idlewild(through, add);
  await holdFrom(relay, (request) => leafOf(request) >= 8);
  await hub.kill();
  hub = await world.startHub({ data: hub.data, port: hub.port });
  await second.kill();

  relay.hold(() => false);
  const third = world.idlewild(through, add);
  expect(await third.ended).toMatchObject({ code: 0 });
  expect(third.lines.at(-1)).toMatchObject({ name: MODEL });
  const leaves = relay.seen.filter((request) => leafOf(request) >= 0);
  expect(leaves.length).toBeGreaterThan(12);
  expect(new Set(leaves).size).toBe(leaves.length);
});

test('a device that is killed while it fetches goes on where it stopped', async () => {
  const relay = await relayTo(hub);
  const cut = await world.startDevice(hub, 'ada', { url: relay.url, atOnce: true });
  // The node above the leaves of the weights, the only file that has several, and four of them.
  await holdFrom(
    relay,
    () => relay.seen.slice(relay.seen.findIndex(isNode)).filter(isLeaf).length >= 4 && relay.seen.some(isNode),
  );
  await cut.kill();
  relay.hold(() => false);
  const again = await world.startDevice(hub, 'ada', { url: relay.url });
  expect(relay.seen.length).toBeGreaterThan(12);
  const leaves = relay.seen.filter(isLeaf);
  expect(new Set(leaves).size).toBe(leaves.length);
  await again.stop();
});

test('a hub that is killed in mid-answer accounts for it, and devices and hub find each other again', async () => {
  const consent = { tokensPerSecondMax: 160 };
  await Promise.all([
    world.startDevice(hub, 'ada', { consent, url: hub.url }),
    world.startDevice(hub, 'bea', { consent }),
  ]);
  const whole = await hear(hub.client);
  let created: Promise<{ key: string }> | undefined;
  let told = 0;
  const heard = hear(hub.client, LONG, async (count) => {
    told = count;
    if (count === 60) created = hub.client.keys.create({ role: 'caller' });
    if (count !== 80) return;
    await created;
    await hub.kill();
  });
  await expect(heard).rejects.toMatchObject({ code: 'disconnected' });

  hub = await world.startHub({ data: hub.data, port: hub.port });
  await untilReady(hub.client, 2, REUNITED_MS_MAX);
  const [record] = await hub.client.requests.list();
  expect(record).toMatchObject({ state: 'failed', reason: 'hub_restarted' });
  // Tokens are committed within 20 ms of being told.
  expect(record?.answerTokens).toBeGreaterThan(told - 20);
  expect(journalRows(hub)).toBe(0);
  const { key } = await (created as Promise<{ key: string }>);
  const models = await fetch(`${hub.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
  expect(models.status).toBe(200);
  const audit = await fetch(`${hub.url}/api/audit`, { headers: { authorization: `Bearer ${hub.key}` } });
  expect(await audit.json()).toMatchObject({ intact: true });
  expect((await hear(hub.client)).text).toBe(whole.text);
});

test('a hub that is killed again and again, at any moment, always starts again', async () => {
  for (let kill = 0; kill < 3; kill++) {
    const at = 1 + Math.floor(Math.random() * 60);
    const heard = hear(hub.client, LONG, async (count) => {
      if (count === at) await hub.kill();
    });
    await expect(heard, `killed at piece ${at}`).rejects.toMatchObject({ code: 'disconnected' });
    hub = await world.startHub({ data: hub.data, port: hub.port });
    await untilReady(hub.client, 2, REUNITED_MS_MAX);
  }
  const states = (await hub.client.requests.list()).map((record) => record.state);
  expect(states.filter((state) => state === 'failed')).toHaveLength(4);
  expect(states).not.toContain('open');
  expect((await hear(hub.client, { ...LONG, max_tokens: 5 })).end.usage.completion_tokens).toBe(5);
});

function journalRows({ data }: HubProcess): number {
  const database = new DatabaseSync(join(data, 'hub.db'), { readOnly: true });
  try {
    return Number(database.prepare('select count(*) as count from journal').get()?.count);
  } finally {
    database.close();
  }
}
