/** Claims about where leaves come from, with devices that do what a test says, on a virtual clock. */
import {
  LIMITS,
  createMemoryBlobStore,
  encodeManifest,
  storeFile,
  type BlobStore,
  type DeviceModel,
  type Lent,
  type Manifest,
  type ToHub,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { CID } from 'multiformats/cid';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { BlobWish } from '../session/port.ts';
import { createBlobDesk, type BlobDesk, type Served } from './blob-desk.ts';

type Part = Extract<ToHub, { t: 'blob.have' }>;
/** What a device says to a wish; nothing at all with `undefined`. */
type Answer = (wish: BlobWish) => Promise<Omit<Part, 't' | 'id'> | undefined>;

interface Setting {
  readonly clock: FakeClock;
  readonly store: BlobStore;
  readonly desk: BlobDesk;
  readonly leaves: readonly CID[];
  readonly bytes: Uint8Array;
  readonly served: { store: number; peer: number };
  /** Wishes by device. */
  readonly asked: Record<string, number>;
  readonly warned: string[];
  join(id: string, state: DeviceModel['state'], answer?: Answer, over?: object): ConnectedDevice;
  leave(device: ConnectedDevice): void;
  /** Fetches a leaf for a device, as the gateway does. */
  get(device: string, leaf?: number): Promise<Served | undefined>;
}

const LEAVES = 3;

async function setUp(): Promise<Setting> {
  const clock = createFakeClock(yieldToNode);
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 26 });
  const bytes = createSeededRandom(1).bytes(LEAVES * LIMITS.leafBytes);
  const layout = await storeFile(store, () => [bytes], nodeCrypto);
  const manifest: Manifest = {
    v: 1,
    kind: 'decoder',
    graph: 'g',
    files: [{ path: 'g', file: layout.root, bytes: bytes.length }],
    tensors: [],
    contextTokens: 1,
    vocabularyTokens: 1,
    layers: 1,
    card: {},
  };
  const model = (await encodeManifest(manifest, nodeCrypto)).cid.toString();
  const devices = new Map<string, ConnectedDevice>();
  const answers = new Map<string, Answer>();
  const asked: Record<string, number> = {};
  const warned: string[] = [];
  const served = { store: 0, peer: 0 };
  const desk: BlobDesk = createBlobDesk({
    clock,
    store,
    reread: async () => {},
    crypto: nodeCrypto,
    log: { ...silentLog, warn: (_fields, message) => warned.push(message) },
    onServed: (origin, size) => {
      served[origin] += size;
    },
    sessions: {
      list: () => devices.values(),
      get: (id) => devices.get(id),
      want(device, wish) {
        asked[device.id] = (asked[device.id] ?? 0) + 1;
        void answers
          .get(device.id)?.(wish)
          .then((part) => {
            if (part !== undefined) desk.onPart(device, { t: 'blob.have', id: wish.id, ...part });
          });
      },
    },
  });
  await desk.update([{ cid: model, manifest }]);
  const honest: Answer = async ({ cid, offset, length }) => {
    const block = (await store.get(CID.parse(cid))) as Uint8Array;
    return { total: block.length, bytes: block.subarray(offset, offset + length) };
  };
  return {
    clock,
    store,
    desk,
    bytes,
    served,
    asked,
    warned,
    leaves: layout.leaves.map(({ cid }) => cid),
    join(id, state, answer = honest, over = {}) {
      const lent: Lent = { memoryBytes: 1, diskBytes: 1, uploadBytesPerSecond: 1 };
      const models = [{ cid: model, state, fraction: 1 }];
      const device = {
        id,
        features: ['relay'],
        status: { state: 'ready', pauseReasons: [], slots: 1, active: 0, models, lent },
        draining: false,
        leases: new Set<string>(),
        ...over,
      } as unknown as ConnectedDevice;
      devices.set(id, device);
      answers.set(id, answer);
      return device;
    },
    leave(device) {
      devices.delete(device.id);
      desk.onGone(device);
    },
    async get(device, leaf = 0) {
      const found = await desk.fetch(layout.leaves[leaf]?.cid as CID, device);
      found?.ended(true);
      return found;
    },
  };
}

const LEAF = LIMITS.leafBytes;

test('a leaf comes from a device that holds its model, in parts, and is what it should be', async () => {
  const { join, get, bytes, served, asked } = await setUp();
  join('ada', 'warm');
  const given = await get('bea', 1);
  expect(given?.origin).toBe('peer');
  expect(Buffer.compare(given?.bytes ?? new Uint8Array(), bytes.subarray(LEAF, 2 * LEAF))).toBe(0);
  expect(asked).toEqual({ ada: LEAF / LIMITS.relayBytesMax });
  expect(served).toEqual({ store: 0, peer: LEAF });
});

test('ten devices that want one leaf at once cost the store one, and one device one upload', async () => {
  const { join, get, served, asked, clock } = await setUp();
  const ids = Array.from({ length: 10 }, (_, index) => `d${index}`);
  for (const id of ids) join(id, 'fetching');
  const all = Promise.all(ids.map((id) => get(id)));
  await clock.advance(100);
  expect((await all).map((one) => one?.origin)).toEqual(['store', ...Array.from({ length: 9 }, () => 'peer')]);
  expect(served).toEqual({ store: LEAF, peer: 9 * LEAF });
  expect(asked).toEqual({ d0: LEAF / LIMITS.relayBytesMax });
});

test('who has been given a leaf gives it on at once, before it has the whole model', async () => {
  const { join, get } = await setUp();
  join('ada', 'fetching');
  join('bea', 'fetching');
  expect((await get('ada'))?.origin).toBe('store');
  expect((await get('bea'))?.origin).toBe('peer');
  expect((await get('bea', 1))?.origin).toBe('store');
});

test('a device that answers, is paused, drains, gives nothing, or is too old is not asked', async () => {
  const { join, get, asked } = await setUp();
  join('answers', 'warm', undefined, { leases: new Set(['att_1']) });
  const status = { state: 'paused', pauseReasons: ['lunch'], slots: 1, active: 0, models: [] };
  join('paused', 'warm', undefined, { status });
  join('drains', 'warm', undefined, { draining: true });
  join('old', 'warm', undefined, { features: [] });
  const { status: mean } = join('mean', 'warm');
  Object.assign(mean, { lent: { memoryBytes: 1, diskBytes: 1, uploadBytesPerSecond: 0 } });
  expect((await get('bea'))?.origin).toBe('store');
  expect(asked).toEqual({});
});

test('whoever is no device gets everything from the store, and what nobody has is nowhere', async () => {
  const { join, desk, leaves, asked } = await setUp();
  join('ada', 'warm');
  expect((await desk.fetch(leaves[0] as CID))?.origin).toBe('store');
  const other = CID.parse('bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua');
  expect(await desk.fetch(other, 'bea')).toBeUndefined();
  expect(asked).toEqual({});
});

test('a device that is silent costs one deadline, and the next is asked', async () => {
  const { join, get, clock, asked } = await setUp();
  join('ada', 'warm', async () => undefined);
  join('bea', 'warm', async () => undefined);
  const given = get('cyd');
  await clock.advance(2 * HUB_LIMITS.relayPartMs);
  expect((await given)?.origin).toBe('store');
  expect(asked).toEqual({ ada: 1, bea: 1 });
  expect((await get('cyd', 1))?.origin).toBe('store');
  expect(asked).toEqual({ ada: 1, bea: 1 });
});

test('a device that dies while it gives is let go at once', async () => {
  const { join, get, leave, clock } = await setUp();
  const ada = join('ada', 'warm', async ({ offset }) =>
    offset === 0 ? { total: LEAF, bytes: new Uint8Array(LIMITS.relayBytesMax) } : undefined,
  );
  const given = get('bea');
  await clock.advance(10);
  leave(ada);
  await clock.advance(10);
  expect((await given)?.origin).toBe('store');
});

test.each([
  ['wrong bytes', async () => ({ total: LEAF, bytes: new Uint8Array(LIMITS.relayBytesMax) })],
  ['parts of a wrong size', async () => ({ total: LEAF, bytes: new Uint8Array(5) })],
  ['nothing of a block without end', async () => ({ total: 0, bytes: new Uint8Array() })],
] as const)('a device that gives %s is found out and not asked for an hour', async (_, answer) => {
  const { join, leave, get, clock, asked, warned } = await setUp();
  const liar = join('mallory', 'warm', answer);
  const given = get('bea');
  await clock.advance(100);
  expect((await given)?.origin).toBe('store');
  expect(warned).toHaveLength(1);
  const before = asked['mallory'];
  leave(liar);
  join('mallory', 'warm', answer);
  await get('cyd', 1);
  expect(asked['mallory']).toBe(before);
});

test('a device that says it is busy is left alone for as long, and the store gives meanwhile', async () => {
  const { join, get, clock, asked } = await setUp();
  let busy = true;
  const { store } = await setUp();
  join('ada', 'warm', async ({ cid, offset, length }) => {
    if (busy) return { busyMs: 1_000 };
    const block = (await store.get(CID.parse(cid))) as Uint8Array;
    return { total: block.length, bytes: block.subarray(offset, offset + length) };
  });
  expect((await get('bea'))?.origin).toBe('store');
  busy = false;
  expect((await get('bea', 1))?.origin).toBe('store');
  expect(asked).toEqual({ ada: 1 });
  await clock.advance(1_000);
  expect((await get('bea', 2))?.origin).toBe('peer');
});

test('no device is asked for more than a few leaves at a time, and nobody waits for it for long', async () => {
  const { join, get, clock, asked } = await setUp();
  const release = Promise.withResolvers<undefined>();
  join('ada', 'warm', () => release.promise);
  const all = [get('bea', 0), get('bea', 1), get('bea', 2)];
  await clock.advance(HUB_LIMITS.relayPatienceMs + 10);
  expect(asked).toEqual({ ada: HUB_LIMITS.relaysPerDeviceMax });
  expect((await (all[2] as Promise<Served>)).origin).toBe('store');
  await clock.advance(HUB_LIMITS.relayPartMs);
  expect((await Promise.all(all)).map((one) => one?.origin)).toEqual(['store', 'store', 'store']);
});

test('a device whose connection broke before it had the leaf does not count as having it', async () => {
  const { join, desk, leaves, get, asked, clock } = await setUp();
  join('ada', 'fetching');
  const cut = await desk.fetch(leaves[0] as CID, 'ada');
  const second = get('bea');
  await clock.advance(10);
  cut?.ended(false);
  await clock.advance(10);
  expect((await second)?.origin).toBe('store');
  expect(asked).toEqual({});
});

test('on a slow line the parts become small, so that an answer that begins has little to wait behind', async () => {
  const { join, get, clock } = await setUp();
  const { store } = await setUp();
  const lengths: number[] = [];
  // 500 kB/s: what is asked for together comes one after the other.
  let lineFreeMs = 0;
  join('ada', 'warm', async ({ cid, offset, length }) => {
    lengths.push(length);
    lineFreeMs = Math.max(lineFreeMs, clock.monotonic()) + length / 500;
    const waitMs = lineFreeMs - clock.monotonic();
    await new Promise<void>((resolve) => {
      clock.after(waitMs, resolve);
    });
    const block = (await store.get(CID.parse(cid))) as Uint8Array;
    return { total: block.length, bytes: block.subarray(offset, offset + length) };
  });
  const given = get('bea');
  await clock.advance(4_000);
  expect((await given)?.origin).toBe('peer');
  expect(lengths[0]).toBe(LIMITS.relayBytesMax);
  expect(lengths.at(-2)).toBe(HUB_LIMITS.relayPartBytesMin);
});
