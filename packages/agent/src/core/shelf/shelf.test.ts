import { expect, test } from 'vitest';
import { IdlewildError, createMemoryBlobStore, type BlobSource, type BlobStore } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import type { NamedModel } from '../agent-port.ts';
import { AGENT_LIMITS } from '../limits.ts';
import { createMemoryModelFolders } from '../model-folders.ts';

const newStore = (): BlobStore => createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });

const stateOf = ({ agent }: Fixture, cid: string): NamedModel | undefined =>
  agent.state().models.find((model) => model.cid === cid);

/** A fixture whose only source is what `fetch` says. */
async function fixtureWith(
  fetch: BlobSource['fetch'],
  options: Parameters<typeof createFixture>[0] = {},
): Promise<Fixture> {
  return createFixture({ ...options, sources: (baseUrl, ticket) => ({ name: `${baseUrl} with ${ticket}`, fetch }) });
}

test("a model that the hub wants is fetched with the session's ticket, verified, loaded and told of", async () => {
  const far = newStore();
  const cid = await putModel(far, 'weights');
  const asked: string[] = [];
  const fixture = await createFixture({
    sources: (baseUrl, ticket) => {
      asked.push(`${baseUrl} ${ticket}`);
      return { name: 'hub', fetch: (block) => far.get(block) };
    },
  });
  await fixture.startWith(cid);
  expect(asked).toEqual(['/ ticket']);
  expect(stateOf(fixture, cid)).toMatchObject({ name: 'small', state: 'warm', fraction: 1, tokensPerSecond: 100 });
  expect(stateOf(fixture, cid)?.numericClass).toMatch(/^[0-9a-f]{32}$/);
  expect(fixture.got('heartbeat').at(-1)?.status).toMatchObject({ slots: 2, models: [{ cid, state: 'warm' }] });
  expect((await fixture.store.usage()).bytes).toBeGreaterThan(0);
});

test('what the hub calls a model is told to the lender, by its last word, and is not sent back', async () => {
  const far = newStore();
  const cid = await putModel(far, 'weights');
  const fixture = await fixtureWith((block) => far.get(block));
  await fixture.startWith(cid);
  fixture.peer().send({ t: 'hold', models: [{ cid, name: 'renamed', bytes: 1 }], sources: ['/'] });
  await fixture.clock.advance(100);
  expect(fixture.agent.state().models).toMatchObject([{ cid, name: 'renamed' }]);
  const [told] = fixture.got('heartbeat').at(-1)?.status.models ?? [];
  expect(told).toMatchObject({ cid, state: 'warm' });
  expect(told).not.toHaveProperty('name');
});

test('a session that outlives its ticket is given another, and fetches with that', async () => {
  const far = newStore();
  const [first, second] = [await putModel(far, 'weights'), await putModel(far, 'other weights')];
  const asked: string[] = [];
  const fixture = await createFixture({
    sources: (baseUrl, ticket) => {
      asked.push(ticket);
      return { name: baseUrl, fetch: (block) => far.get(block) };
    },
  });
  await fixture.startWith(first);
  fixture.peer().send({ t: 'heartbeat.ack', n: 0, ticket: 'another' });
  fixture.peer().send({ t: 'hold', models: [{ cid: second, name: 'small', bytes: 1 }], sources: ['/'] });
  await fixture.clock.advance(1_000);
  expect(stateOf(fixture, second)?.state).toBe('warm');
  expect(new Set(asked)).toEqual(new Set(['ticket', 'another']));
  expect(asked.at(-1)).toBe('another');
});

test('a source whose bytes do not match is passed over and blamed', async () => {
  const far = newStore();
  const cid = await putModel(far, 'weights');
  const fixture = await createFixture({
    sources: (baseUrl) => ({
      name: baseUrl,
      fetch: async (block) => (baseUrl === 'liar' ? new Uint8Array(9) : far.get(block)),
    }),
  });
  fixture.agent.start();
  await fixture.clock.advance(100);
  fixture.peer().send({ t: 'hold', models: [{ cid, name: 'small', bytes: 1 }], sources: ['liar', 'honest'] });
  await fixture.clock.advance(500);
  expect(stateOf(fixture, cid)?.state).toBe('warm');
  expect(fixture.logged.some((line) => line.includes('hash to something else'))).toBe(true);
});

test('a model that cannot be fetched is failed with the reason, and tried again until it can', async () => {
  const far = newStore();
  const cid = await putModel(far, 'weights');
  let works = false;
  const fixture = await fixtureWith(async (block) => (works ? far.get(block) : undefined));
  await fixture.startWith(cid);
  expect(stateOf(fixture, cid)).toMatchObject({
    state: 'failed',
    reason: expect.stringContaining('no source gave') as string,
  });
  works = true;
  await fixture.clock.advance(AGENT_LIMITS.retryMsMax);
  expect(stateOf(fixture, cid)?.state).toBe('warm');
});

test('a fetch goes on where it stopped when the session comes back, and pauses with the device', async () => {
  const far = newStore();
  const cid = await putModel(far, 'weights');
  let blocks = 0;
  let release = (): void => undefined;
  const fixture = await fixtureWith(async (block) => {
    blocks += 1;
    if (blocks === 2)
      await new Promise<void>((resolve) => {
        release = resolve;
      });
    return far.get(block);
  });
  await fixture.startWith(cid);
  expect(stateOf(fixture, cid)?.state).toBe('fetching');
  fixture.peer().link?.cut('a test');
  await fixture.clock.advance(1);
  fixture.agent.pause('lunch');
  await fixture.clock.advance(5_000);
  expect(blocks).toBe(2);
  fixture.agent.resume('lunch');
  await fixture.clock.advance(100);
  release();
  // The manifest was there already; the file's one block was asked for again.
  expect(blocks).toBe(3);
  expect(stateOf(fixture, cid)?.state).toBe('warm');
});

test('models are loaded in the order of preference while memory lasts', async () => {
  const limits = { threads: 1, slotsMax: 2, memoryBytesMax: 1_000 };
  const fixture = await createFixture({ engine: { memoryBytes: 600 }, limits });
  const first = await putModel(fixture.store, 'first');
  const second = await putModel(fixture.store, 'second '.repeat(50));
  await fixture.startWith(first, second);
  expect(stateOf(fixture, first)?.state).toBe('warm');
  expect(stateOf(fixture, second)).toMatchObject({
    state: 'held',
    reason: expect.stringContaining('400 of 1000 lent are free') as string,
  });
});

test('a model that is wanted more takes the memory of one that is wanted less', async () => {
  const limits = { threads: 1, slotsMax: 2, memoryBytesMax: 1_000 };
  const fixture = await createFixture({ engine: { memoryBytes: 600 }, limits });
  const first = await putModel(fixture.store, 'first '.repeat(50));
  const second = await putModel(fixture.store, 'second');
  await fixture.startWith(second);
  expect(stateOf(fixture, second)?.state).toBe('warm');
  const models = [first, second].map((cid) => ({ cid, name: 'x', bytes: 1 }));
  fixture.peer().send({ t: 'hold', models, sources: [] });
  await fixture.clock.advance(100);
  expect([stateOf(fixture, first)?.state, stateOf(fixture, second)?.state]).toEqual(['warm', 'held']);
  expect([...fixture.engineHost.engines.keys()]).toEqual([first]);
});

test('what is no longer wanted is unloaded and removed, but not the files that others share', async () => {
  const fixture = await createFixture();
  const { store } = fixture;
  const old = await putModel(store, 'shared', 1_024);
  const other = await putModel(store, 'shared', 2_048);
  const alone = await putModel(store, 'alone');
  await fixture.startWith(old, other, alone);
  expect(fixture.engineHost.engines.size).toBe(3);
  fixture.peer().send({ t: 'hold', models: [{ cid: other, name: 'x', bytes: 1 }], sources: [] });
  await fixture.clock.advance(100);
  expect([...fixture.engineHost.engines.keys()]).toEqual([other]);
  expect(fixture.agent.state().models.map(({ cid }) => cid)).toEqual([other]);
  const usedBytes = (await store.usage()).bytes;
  fixture.peer().send({ t: 'hold', models: [], sources: [] });
  await fixture.clock.advance(100);
  expect(usedBytes).toBeGreaterThan(0);
  expect((await store.usage()).bytes).toBe(0);
});

test('what an earlier process fetched and nobody wants any more is removed at the first hold', async () => {
  const folders = createMemoryModelFolders();
  const fixture = await createFixture({ folders });
  const left = await putModel(fixture.store, 'left over');
  await folders.note(left);
  await fixture.startWith();
  expect(await folders.list()).toEqual([]);
  expect((await fixture.store.usage()).bytes).toBe(0);
});

test('a load that hangs is given up at its deadline and tried again', async () => {
  const fixture = await createFixture();
  fixture.engineHost.setLoading('hangs');
  const cid = await putModel(fixture.store, 'weights');
  await fixture.startWith(cid);
  expect(stateOf(fixture, cid)?.state).toBe('loading');
  await fixture.clock.advance(AGENT_LIMITS.loadMsMax - 900);
  expect(stateOf(fixture, cid)).toMatchObject({
    state: 'failed',
    reason: expect.stringContaining('did not load within') as string,
  });
  fixture.engineHost.setLoading({ ms: 10 });
  await fixture.clock.advance(AGENT_LIMITS.retryMsMax);
  expect(stateOf(fixture, cid)?.state).toBe('warm');
});

test('a model that the engine refuses is not tried again', async () => {
  const fixture = await createFixture();
  fixture.engineHost.setLoading({ fails: new IdlewildError('model_refused', 'it wants to read a file outside') });
  const cid = await putModel(fixture.store, 'weights');
  await fixture.startWith(cid);
  fixture.engineHost.setLoading({ ms: 0 });
  await fixture.clock.advance(10 * AGENT_LIMITS.retryMsMax);
  expect(stateOf(fixture, cid)).toMatchObject({ state: 'failed', reason: 'it wants to read a file outside' });
});

test('a text that is no CID fails alone', async () => {
  const fixture = await createFixture();
  const cid = await putModel(fixture.store, 'weights');
  await fixture.startWith('../../etc/passwd', cid);
  expect(stateOf(fixture, '../../etc/passwd')?.state).toBe('failed');
  expect(stateOf(fixture, cid)?.state).toBe('warm');
});

test('a device that is paused while it loads keeps its hands off until it is resumed', async () => {
  const fixture = await createFixture({ engine: { loadMs: 5_000 } });
  const cid = await putModel(fixture.store, 'weights');
  await fixture.startWith(cid);
  fixture.agent.pause('lunch');
  await fixture.clock.advance(20_000);
  expect(stateOf(fixture, cid)?.state).toBe('held');
  expect(fixture.engineHost.engines.size).toBe(0);
  fixture.agent.resume('lunch');
  await fixture.clock.advance(6_000);
  expect(stateOf(fixture, cid)?.state).toBe('warm');
});

test('a stop in the middle of a load does not wait for it', async () => {
  const fixture = await createFixture();
  fixture.engineHost.setLoading('hangs');
  await fixture.startWith(await putModel(fixture.store, 'weights'));
  const stopped = fixture.agent.stop();
  await fixture.clock.advance(50);
  await stopped;
  expect(fixture.clock.nextInMs()).toBeUndefined();
});
