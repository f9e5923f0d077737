/** Claims about `kill -9` at any time, of the hub, of an uploader, of a device: nothing committed is lost. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { createEventReader } from '@idlewild/client';
import { hear, LONG, untilReady } from './answers.ts';
import { auditFaults } from './audit-log.ts';
import { startRelay, type Relay } from './relay.ts';
import { createWorld, MODEL, MODEL_FOLDER, type HubProcess, type World } from './world.ts';

/** 30 s of grace for a caller to come again, and the rounds of the chores. */
const ABANDONED_MS_MAX = 60_000;
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
  const consent = { tokensPerSecondMax: 40 };
  await Promise.all([
    world.startDevice(hub, 'ada', { consent, url: hub.url }),
    world.startDevice(hub, 'bea', { consent }),
  ]);
  const whole = await hear(hub.client);
  let created: Promise<{ key: string }> | undefined;
  const told = await hearOnce(hub, async (count) => {
    if (count === 60) created = hub.client.keys.create({ role: 'caller' });
    if (count !== 80) return;
    await created;
    await hub.kill();
  });

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
  expect(await auditFaults(hub.client)).toEqual([]);
  expect((await hear(hub.client)).text).toBe(whole.text);
});

test('an answer whose hub is killed again and again, at any moment, is the one that nobody disturbed', async () => {
  const whole = await hear(hub.client);
  const kills = [0, 1, 2].map((kill) => 1 + kill * 45 + Math.floor(Math.random() * 40));
  // A device goes on without its hub, so pieces come many at a time after a kill: one kill after the other.
  let killing = Promise.resolve();
  const heard = await hear(hub.client, LONG, (count) => {
    if (!kills.includes(count)) return undefined;
    killing = killing.then(async () => {
      await hub.kill();
      hub = await world.startHub({ data: hub.data, port: hub.port });
    });
    return killing;
  });
  expect(heard.text, `killed at pieces ${kills.join(', ')}`).toBe(whole.text);
  expect(heard.pieces).toEqual(whole.pieces);
  expect(heard.end).toMatchObject({ usage: whole.end.usage, idlewild: { exact: true } });
  await untilReady(hub.client, 2, REUNITED_MS_MAX);
  const states = (await hub.client.requests.list()).map((record) => record.state);
  expect(states.filter((state) => state === 'failed')).toHaveLength(1);
  expect(states).not.toContain('open');
  // Its caller may have had all of it when the hub was killed, and does not come back: then it is kept for a while.
  await expect.poll(() => journalRows(hub), { timeout: ABANDONED_MS_MAX }).toBe(0);
});

/** As a caller that does not come back: without a name, until the stream breaks. How many tokens it was told. */
async function hearOnce({ url, key }: HubProcess, onToken: (count: number) => Promise<void>): Promise<number> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ...LONG, stream: true }),
  });
  const events = createEventReader();
  const acts: Promise<void>[] = [];
  let count = 0;
  try {
    for await (const bytes of response.body ?? []) {
      for (const _ of events.push(bytes)) acts.push(onToken(++count));
    }
  } catch {
    await Promise.all(acts);
    return count;
  }
  throw new Error('the stream did not break');
}

function journalRows({ data }: HubProcess): number {
  const database = new DatabaseSync(join(data, 'hub.db'), { readOnly: true });
  try {
    return Number(database.prepare('select count(*) as count from journal').get()?.count);
  } finally {
    database.close();
  }
}
