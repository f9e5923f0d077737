import type { CID } from 'multiformats/cid';
import { expect, test } from 'vitest';
import { codeOf } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { BlobSource, BlobStore, FileLayout } from '../ports.ts';
import { createFakeClock, type FakeClock } from '../testing/fake-clock.ts';
import { createSeededRandom } from '../testing/seeded-random.ts';
import { createMemoryBlobStore } from './memory-blob-store.ts';
import { fetchBlock, fetchFile, sourceOfStore, storeFile, type Blame, type TransferProgress } from './transfer.ts';
import { yieldToNode } from '../testing/yield-to-node.ts';

const MIB = LIMITS.leafBytes;
const newClock = (): FakeClock => createFakeClock(yieldToNode);
const newStore = (quotaBytes = 64 * MIB): BlobStore => createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes });

interface Origin {
  readonly layout: FileLayout;
  readonly bytes: Uint8Array;
  readonly source: BlobSource;
}
async function makeOrigin(leaves: number, seed = 1): Promise<Origin> {
  const bytes = createSeededRandom(seed).bytes((leaves - 1) * MIB + 100);
  const store = newStore();
  const layout = await storeFile(store, () => [bytes], nodeCrypto);
  return { layout, bytes, source: sourceOfStore('origin', store) };
}

/** A source that does to each answer what `change` says, and remembers what it was asked. */
function changed(
  name: string,
  source: BlobSource,
  change: (cid: CID, asked: number) => Promise<'pass' | 'garble' | 'absent'>,
): BlobSource & { asked: string[] } {
  const asked: string[] = [];
  return {
    name,
    asked,
    async fetch(cid, signal) {
      asked.push(cid.toString());
      const what = await change(cid, asked.length);
      const block = what === 'absent' ? undefined : await source.fetch(cid, signal);
      if (what === 'garble' && block !== undefined) block[0] = (block[0] as number) ^ 1;
      return block;
    },
  };
}

const never = new AbortController().signal;

test('a file is fetched leaf by leaf, with progress, and only once', async () => {
  const origin = await makeOrigin(5);
  const store = newStore();
  const source = changed('origin', origin.source, async () => 'pass');
  const progress: TransferProgress[] = [];
  const transfer = { root: origin.layout.root, store, sources: [source], clock: newClock(), signal: never };
  expect(await fetchFile({ ...transfer, onProgress: (step) => progress.push(step) })).toEqual(origin.layout);
  expect(await store.read(origin.layout.root, 0, origin.bytes.length)).toEqual(origin.bytes);
  const steps = progress.map(({ bytes }) => bytes);
  expect(steps).toEqual(steps.toSorted((left, right) => left - right));
  expect(progress[0]).toEqual({ bytes: 0, bytesTotal: origin.bytes.length });
  expect(progress.at(-1)).toEqual({ bytes: origin.bytes.length, bytesTotal: origin.bytes.length });
  await fetchFile(transfer);
  expect(source.asked).toHaveLength(6);
});

test('a fetch may begin anywhere in a file, and its leaves can be read before it is finished', async () => {
  const origin = await makeOrigin(5);
  const store = newStore();
  const source = changed('origin', origin.source, async () => 'pass');
  const read: (boolean | undefined)[] = [];
  await fetchFile({
    root: origin.layout.root,
    store,
    sources: [source],
    clock: newClock(),
    signal: never,
    concurrency: 1,
    beginAt: 0.5,
    onOpened(layout, assembly) {
      const { write } = assembly;
      Object.assign(assembly, {
        async write(index: number, bytes: Uint8Array) {
          await write(index, bytes);
          read.push((await assembly.read(index))?.length === layout.leaves[index]?.bytes);
        },
      });
    },
  });
  const leaves = origin.layout.leaves.map(({ cid }) => cid.toString());
  expect(source.asked.slice(1).map((cid) => leaves.indexOf(cid))).toEqual([2, 3, 4, 0, 1]);
  expect(read).toEqual([true, true, true, true, true]);
  expect(await store.read(origin.layout.root, 0, origin.bytes.length)).toEqual(origin.bytes);
});

test('a file of one leaf, an empty file and a file of one leaf many times over are fetched', async () => {
  for (const bytes of [new Uint8Array(), createSeededRandom(2).bytes(7), new Uint8Array(6 * MIB)]) {
    const held = newStore();
    const { root } = await storeFile(held, () => [bytes], nodeCrypto);
    const source = changed('origin', sourceOfStore('origin', held), async () => 'pass');
    const store = newStore();
    await fetchFile({ root, store, sources: [source], clock: newClock(), signal: never });
    expect(await store.read(root, 0, bytes.length)).toEqual(bytes);
    expect(source.asked.length).toBeLessThanOrEqual(2);
    expect((await store.usage()).bytes).toBe((await held.usage()).bytes);
  }
});

test('an interrupted transfer goes on where it stopped', async () => {
  const origin = await makeOrigin(6);
  const store = newStore();
  const stop = new AbortController();
  const first = changed('origin', origin.source, async (_cid, asked) => {
    if (asked === 4) stop.abort();
    return 'pass';
  });
  const transfer = { root: origin.layout.root, store, clock: newClock(), concurrency: 1 };
  const interrupted = fetchFile({ ...transfer, sources: [first], signal: stop.signal });
  await expect(interrupted).rejects.toMatchObject({ code: 'cancelled' });
  const second = changed('origin', origin.source, async () => 'pass');
  await fetchFile({ ...transfer, sources: [second], signal: never });
  expect(await store.hasFile(origin.layout.root)).toBe(true);
  expect(second.asked.some((cid) => first.asked.slice(0, 3).includes(cid))).toBe(false);
});

test('a source whose bytes do not match is blamed once and not asked again, and the file arrives', async () => {
  const origin = await makeOrigin(6);
  const store = newStore();
  const liar = changed('liar', origin.source, async (_cid, asked) => (asked > 2 ? 'garble' : 'pass'));
  const blames: Blame[] = [];
  await fetchFile({
    root: origin.layout.root,
    store,
    sources: [liar, origin.source],
    clock: newClock(),
    signal: never,
    concurrency: 1,
    onBlame: (blame) => blames.push(blame),
  });
  expect(blames.map(({ source }) => source)).toEqual(['liar']);
  expect(liar.asked).toHaveLength(3);
  expect(blames[0]?.cid.toString()).toBe(liar.asked[2]);
  expect(await store.read(origin.layout.root, 0, origin.bytes.length)).toEqual(origin.bytes);
});

test('a source that fails is asked after the others, and again after a pause when it is the last hope', async () => {
  const origin = await makeOrigin(2);
  const clock = newClock();
  const flaky = changed('flaky', origin.source, async (_cid, asked) => {
    if (asked <= 2) throw new Error('connection reset');
    return 'pass';
  });
  const stranger = changed('stranger', origin.source, async () => 'absent');
  const store = newStore();
  const fetching = fetchBlock(origin.layout.root, [flaky, stranger], store, { clock, signal: never });
  await clock.settle();
  expect([flaky.asked.length, stranger.asked.length]).toEqual([1, 1]);
  expect(clock.nextInMs()).toBe(LIMITS.sourceBackoffMsMin);
  await clock.advance(LIMITS.sourceBackoffMsMin);
  expect(flaky.asked.length).toBe(2);
  await clock.advance(2 * LIMITS.sourceBackoffMsMin - 1);
  expect(flaky.asked.length).toBe(2);
  await clock.advance(1);
  await fetching;
  expect(await store.has(origin.layout.root)).toBe(true);
  expect(stranger.asked).toHaveLength(1);
});

test('when nobody is left the error names the block and what each source said', async () => {
  const origin = await makeOrigin(3);
  const clock = newClock();
  const sources = [
    changed('liar', origin.source, async () => 'garble'),
    changed('stranger', origin.source, async () => 'absent'),
    changed('broken', origin.source, async () => {
      throw new Error('connection refused');
    }),
  ];
  const failed = fetchFile({ root: origin.layout.root, store: newStore(), sources, clock, signal: never }).catch(
    (error: unknown) => error,
  );
  await clock.advance(60_000);
  const error = (await failed) as Error;
  expect(codeOf(error)).toBe('blob_not_found');
  expect(error.message).toContain(origin.layout.root.toString());
  expect(error.message).toContain('liar sent bytes that do not match');
  expect(error.message).toContain('stranger does not hold it; broken failed 4 times, last: connection refused');
  const lonely = fetchBlock(origin.layout.root, [], newStore(), { clock, signal: never });
  await expect(lonely).rejects.toThrow('nobody to ask');
});

test('a source that never answers is given up at its deadline, one that ignores its signal too', async () => {
  const origin = await makeOrigin(2);
  const clock = newClock();
  const mute = changed('mute', origin.source, () => new Promise(() => undefined));
  const store = newStore();
  const fetching = fetchBlock(origin.layout.root, [mute, origin.source], store, { clock, signal: never });
  await clock.advance(LIMITS.blockFetchMs);
  await fetching;
  const stop = new AbortController();
  const cancelled = fetchBlock(origin.layout.root, [mute], newStore(), { clock, signal: stop.signal }).catch(codeOf);
  await clock.settle();
  stop.abort();
  expect(await cancelled).toBe('cancelled');
  expect(clock.nextInMs()).toBeUndefined();
});

test('no more leaves are in flight than the transfer may hold', async () => {
  const origin = await makeOrigin(9);
  let flying = 0;
  let most = 0;
  const source = changed('origin', origin.source, async () => {
    most = Math.max(most, ++flying);
    await yieldToNode();
    flying -= 1;
    return 'pass';
  });
  const transfer = { root: origin.layout.root, store: newStore(), sources: [source], clock: newClock(), signal: never };
  await fetchFile({ ...transfer, concurrency: 3 });
  expect(most).toBe(3);
});

test('a failing store ends the transfer with its own error and blames nobody', async () => {
  const origin = await makeOrigin(4);
  const blames: Blame[] = [];
  const transfer = fetchFile({
    root: origin.layout.root,
    store: newStore(2 * MIB),
    sources: [origin.source],
    clock: newClock(),
    signal: never,
    onBlame: (blame) => blames.push(blame),
  });
  await expect(transfer).rejects.toMatchObject({ code: 'quota_exceeded' });
  expect(blames).toEqual([]);
});
