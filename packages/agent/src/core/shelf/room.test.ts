/** Claims about a shelf that is too small: what stays, what goes, and that the disk never holds more than was lent. */
import { expect, test } from 'vitest';
import { createMemoryBlobStore, type BlobStore, type DeviceModel, type WantedModel } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import { AGENT_LIMITS } from '../limits.ts';
import { createMemoryModelFolders } from '../model-folders.ts';
import { exampleAnswer, exampleWork } from '../../testing/example-answer.ts';

const QUOTA = 10_000;

interface Setting extends Omit<Fixture, 'states'> {
  /** CIDs of models by name; each has a file of the size that was asked for. */
  readonly cids: Readonly<Record<string, string>>;
  readonly peakBytes: () => number;
  hold(...names: readonly (string | Partial<WantedModel>)[]): Promise<void>;
  states(): Record<string, string>;
  reasonOf(name: string): string | undefined;
  answer(name: string, tokensMax?: number): Promise<void>;
}

async function setUp(
  sizes: Readonly<Record<string, number>>,
  options: Parameters<typeof createFixture>[0] & { quotaBytes?: number } = {},
): Promise<Setting> {
  const { quotaBytes = QUOTA, ...rest } = options;
  const far = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  const cids: Record<string, string> = {};
  for (const [name, bytes] of Object.entries(sizes)) cids[name] = await putModel(far, name[0]?.repeat(bytes) ?? '');
  const inner = options.store ?? createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes });
  let peak = 0;
  const looking = async <Result>(work: Promise<Result>): Promise<Result> => {
    const result = await work;
    peak = Math.max(peak, (await inner.usage()).bytes);
    return result;
  };
  const store: BlobStore = {
    ...inner,
    put: (cid, bytes) => looking(inner.put(cid, bytes)),
    assemble: (layout) => looking(inner.assemble(layout)),
  };
  const fixture = await createFixture({
    sources: () => ({ name: 'hub', fetch: (block) => far.get(block) }),
    ...rest,
    store,
  });
  const nameOf = (cid: string): string => Object.keys(cids).find((name) => cids[name] === cid) ?? cid;
  const find = (name: string): DeviceModel | undefined =>
    fixture.agent.state().models.find(({ cid }) => cid === cids[name]);
  let lease = 0;
  fixture.agent.start();
  await fixture.clock.advance(100);
  return {
    ...fixture,
    cids,
    peakBytes: () => peak,
    async hold(...names) {
      const models = names.map((each) => {
        const { name = '', ...more } = typeof each === 'string' ? { name: each } : each;
        return { cid: cids[name] ?? '', name, bytes: sizes[name] ?? 0, ...more };
      });
      fixture.peer().send({ t: 'hold', models, sources: [] });
      await fixture.clock.advance(200);
    },
    states: () => Object.fromEntries(fixture.agent.state().models.map(({ cid, state }) => [nameOf(cid), state])),
    reasonOf: (name) => find(name)?.reason,
    async answer(name, tokensMax = 1) {
      const message = { lease: `att_${lease++}`, work: exampleWork({ tokensMax }), deadlineMs: 1_000_000 };
      fixture.peer().send(exampleAnswer(cids[name] ?? '', message));
      await fixture.clock.advance(tokensMax === 1 ? 500 : 50);
    },
  };
}

test('what does not fit the quota is not fetched and says what it takes; a smaller one may fit beside it', async () => {
  const { hold, states, reasonOf, peakBytes } = await setUp({ a: 6_000, b: 6_000, c: 2_000 });
  await hold('a', 'b', 'c');
  expect(states()).toEqual({ a: 'warm', b: 'failed', c: 'warm' });
  expect(reasonOf('b')).toMatch(/takes 6001 bytes of disk; \d+ of 10000 lent are free/);
  expect(peakBytes()).toBeLessThanOrEqual(QUOTA);
});

test('a model that is wanted more takes the disk of the least recently used, which says what it costs', async () => {
  const { hold, states, reasonOf, answer, peakBytes } = await setUp({ a: 4_000, b: 4_000, n: 4_000 });
  await hold('a', 'b');
  await answer('b');
  await answer('a');
  await hold('n', 'a', 'b');
  expect(states()).toEqual({ n: 'warm', a: 'warm', b: 'failed' });
  expect(reasonOf('b')).toMatch(/removed to make room; fetching it takes \d+ bytes/);
  expect(peakBytes()).toBeLessThanOrEqual(QUOTA);
});

test('a pinned model is never removed, nor one that answers', async () => {
  const { hold, states, answer } = await setUp({ a: 4_000, b: 4_000, n: 4_000 });
  await hold('a', 'b');
  await answer('b');
  await hold('n', { name: 'a', pinned: true }, 'b');
  expect(states()).toEqual({ n: 'warm', a: 'warm', b: 'failed' });
  const second = await setUp({ a: 4_000, b: 4_000, n: 4_000 });
  await second.hold('a', 'b');
  await second.answer('b');
  await second.answer('a', 5_000);
  await second.hold('n', 'a', 'b');
  expect(second.states()).toEqual({ n: 'warm', a: 'warm', b: 'failed' });
  const neither = await setUp({ a: 4_000, b: 4_000, n: 4_000 });
  await neither.hold('a', 'b');
  await neither.hold('n', { name: 'a', pinned: true }, { name: 'b', pinned: true });
  expect(neither.states()).toEqual({ n: 'failed', a: 'warm', b: 'warm' });
});

test('the last use survives a restart, and the hub hears of what is there before it says what it wants', async () => {
  const folders = createMemoryModelFolders();
  const inner = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: QUOTA });
  const first = await setUp({ a: 4_000, b: 4_000, n: 4_000 }, { folders, store: inner });
  await first.hold('a', 'b');
  await first.answer('b');
  await first.clock.advance(AGENT_LIMITS.useNotedMs);
  await first.answer('a');
  await first.agent.stop();
  const again = await setUp({ a: 4_000, b: 4_000, n: 4_000 }, { folders, store: inner });
  expect(again.states()).toEqual({ a: 'held', b: 'held' });
  expect(again.got('heartbeat')[0]?.status.models.map(({ state }) => state)).toEqual(['held', 'held']);
  await again.hold('n', 'b', 'a');
  expect(again.states()).toEqual({ n: 'warm', b: 'failed', a: 'warm' });
});

test('a hub that takes a model off and wants it back, for ever, wears out no disk: a day has an end', async () => {
  const far = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  let fetched = 0;
  const fetch = async (block: Parameters<BlobStore['get']>[0]): Promise<Uint8Array | undefined> => {
    const bytes = await far.get(block);
    fetched += bytes?.length ?? 0;
    return bytes;
  };
  const { hold, states, reasonOf, clock } = await setUp(
    { a: 6_000, b: 6_000 },
    { sources: () => ({ name: 'hub', fetch }) },
  );
  for (const letter of ['a', 'b']) await putModel(far, letter.repeat(6_000));
  for (let round = 0; round < 20; round++) {
    // A hub may say that it is small, as well.
    await hold({ name: 'a', bytes: round % 2 === 0 ? 6_000 : 0 });
    await hold();
    await hold('b');
    await hold();
  }
  expect(fetched).toBeGreaterThan(5 * 6_000);
  // The manifests come on top: only they tell that the rest would be too much.
  expect(fetched).toBeLessThan((AGENT_LIMITS.downloadDisksPerDay + 1) * QUOTA);
  await hold('b');
  await clock.advance(AGENT_LIMITS.downloadDayMs / 2);
  expect(states()).toEqual({ b: 'failed' });
  expect(reasonOf('b')).toMatch(/bytes were fetched in a day.*4 times the disk that is lent.*goes on in 24 hours/);
  await clock.advance(AGENT_LIMITS.downloadDayMs / 2);
  expect(states()).toEqual({ b: 'warm' });
});

test('a fetch that was interrupted counts what is there once, not twice', async () => {
  const folders = createMemoryModelFolders();
  const inner = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: QUOTA });
  let cut = true;
  const stop = new Promise<undefined>(() => undefined);
  const far = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  await putModel(far, 'a'.repeat(8_000));
  let blocks = 0;
  const sources = () => ({
    name: 'hub',
    fetch: (block: Parameters<BlobStore['get']>[0]) => (cut && ++blocks > 1 ? stop : far.get(block)),
  });
  const { hold, states, peer, clock } = await setUp({ a: 8_000 }, { folders, store: inner, sources });
  await hold('a');
  expect(states()).toEqual({ a: 'fetching' });
  cut = false;
  peer().link?.cut('a test');
  await clock.advance(5_000);
  await hold('a');
  expect(states()).toEqual({ a: 'warm' });
});

test('a model that was taken off keeps its engine until its last answer has ended', async () => {
  const { hold, answer, engineHost, cids, clock, store, got } = await setUp({ a: 4_000 });
  await hold('a');
  await answer('a', 200);
  await hold();
  expect([...engineHost.engines.keys()]).toEqual([cids['a']]);
  await clock.advance(10_000);
  expect(got('answer.failed')).toEqual([]);
  expect(got('answer.finished')).toHaveLength(1);
  expect(engineHost.engines.size).toBe(0);
  expect((await store.usage()).bytes).toBe(0);
});

const MEMORY = { engine: { memoryBytes: 600 }, limits: { threads: 1, slotsMax: 2, memoryBytesMax: 1_000 } };

test('two models that do not fit the memory together swap once in a cool-down, and never under an answer', async () => {
  const { hold, states, clock, answer } = await setUp({ a: 400, b: 400 }, MEMORY);
  await hold('a', 'b');
  expect(states()).toEqual({ a: 'warm', b: 'held' });
  await hold('b', 'a');
  expect(states()).toEqual({ b: 'warm', a: 'held' });
  await hold('a', 'b');
  expect(states()).toEqual({ a: 'held', b: 'warm' });
  await clock.advance(AGENT_LIMITS.swapMs);
  expect(states()).toEqual({ a: 'warm', b: 'held' });
  await clock.advance(AGENT_LIMITS.swapMs);
  await answer('a', 300);
  await hold('b', 'a');
  expect(states()).toEqual({ a: 'warm', b: 'held' });
  await clock.advance(5_000);
  expect(states()).toEqual({ b: 'warm', a: 'held' });
});

test('an engine that takes more than was lent is unloaded again, and not tried again', async () => {
  const { hold, states, reasonOf, engineHost, clock } = await setUp(
    { a: 10 },
    { ...MEMORY, engine: { memoryBytes: 2_000 } },
  );
  await hold('a');
  expect(states()).toEqual({ a: 'held' });
  expect(reasonOf('a')).toMatch(/needs about 2000 bytes of memory/);
  await clock.advance(100_000);
  expect(engineHost.engines.size).toBe(0);
});

test('a machine whose owner needs its memory is not filled, and looked at again', async () => {
  let free = 0;
  const { hold, states, reasonOf, clock } = await setUp({ a: 10 }, { freeMemoryBytes: () => free });
  await hold('a');
  expect(states()).toEqual({ a: 'held' });
  expect(reasonOf('a')).toMatch(/this machine has only 0 free/);
  free = 2 ** 32;
  await clock.advance(AGENT_LIMITS.machineFullMs + 100);
  expect(states()).toEqual({ a: 'warm' });
});

test('leaves of models that are wanted are given, and nothing else that lies in the store', async () => {
  const { hold, peer, cids, clock, got, store } = await setUp({ a: 4_000, b: 4_000 });
  await hold('a', 'b');
  const { decodeManifest } = await import('@idlewild/protocol');
  const { CID } = await import('multiformats/cid');
  const leafOf = async (name: string): Promise<string> =>
    (decodeManifest((await store.get(CID.parse(cids[name] ?? ''))) as Uint8Array).files[0]?.file ?? '').toString();
  const [a, b] = [await leafOf('a'), await leafOf('b')];
  const want = (id: number, cid: string): void => peer().send({ t: 'blob.want', id, cid, offset: 0, length: 65_536 });
  want(1, a);
  want(2, cids['a'] ?? '');
  await clock.advance(100);
  await hold('b');
  want(3, a);
  want(4, b);
  await clock.advance(100);
  expect(got('blob.have').map(({ id, bytes }) => [id, bytes?.length])).toEqual([
    [1, 4_000],
    [2, undefined],
    [3, undefined],
    [4, 4_000],
  ]);
});
