/** Claims about giving blobs: what goes, when, how fast, and what answers have to do with it. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { LIMITS, type ToHub } from '@idlewild/protocol';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { createGiver, type Giver, type GiverPorts } from './give-blobs.ts';
import { AGENT_LIMITS } from './limits.ts';

const LEAF = createSeededRandom(1).bytes(LIMITS.leafBytes);
const PART = LIMITS.relayBytesMax;

interface Setting {
  readonly giver: Giver;
  readonly clock: FakeClock;
  readonly sent: Extract<ToHub, { t: 'blob.have' }>[];
  want(id: number, offset?: number, cid?: string): Promise<void>;
}

function setUp(over: Partial<GiverPorts> = {}): Setting {
  const clock = createFakeClock(() => nextTurn());
  const sent: Setting['sent'] = [];
  const giver = createGiver({
    clock,
    uploadBytesPerSecondMax: 5_000_000,
    mayGive: () => true,
    leaf: async (cid) => (cid === 'leaf' ? LEAF : undefined),
    send: (message) => sent.push(message as Setting['sent'][number]),
    ...over,
  });
  return {
    giver,
    clock,
    sent,
    want: (id, offset = 0, cid = 'leaf') => giver.want({ t: 'blob.want', id, cid, offset, length: PART }),
  };
}

test('a leaf goes in parts, and is read once for all of them', async () => {
  let reads = 0;
  const { want, sent } = setUp({
    leaf: async () => {
      reads += 1;
      return LEAF;
    },
  });
  for (let offset = 0; offset < LEAF.length; offset += PART) await want(offset, offset);
  expect(sent.map(({ id, total }) => [id, total])).toEqual(
    Array.from({ length: LEAF.length / PART }, (_, part) => [part * PART, LEAF.length]),
  );
  expect(Buffer.concat(sent.map(({ bytes }) => bytes as Uint8Array)).equals(LEAF)).toBe(true);
  expect(reads).toBe(1);
});

test('what is not held, and what lies past the end, is said to be absent', async () => {
  const { want, sent } = setUp();
  await want(1, 0, 'other');
  await want(2, LEAF.length);
  expect(sent).toEqual([
    { t: 'blob.have', id: 1 },
    { t: 'blob.have', id: 2 },
  ]);
});

test('nothing is given while an answer runs, also when it began while the leaf was read', async () => {
  let answering = true;
  const reading = Promise.withResolvers<Uint8Array>();
  const { want, sent } = setUp({ mayGive: () => !answering, leaf: () => reading.promise });
  await want(1);
  answering = false;
  const second = want(2);
  answering = true;
  reading.resolve(LEAF);
  await second;
  expect(sent).toEqual([1, 2].map((id) => ({ t: 'blob.have', id, busyMs: AGENT_LIMITS.givingBusyMs })));
});

test("the lender's bound holds over any time: a burst at first, then what it says", async () => {
  const rate = 1_000_000;
  const { want, sent, clock } = setUp({ uploadBytesPerSecondMax: rate });
  let given = 0;
  for (let atMs = 0; atMs < 10_000; atMs += 20) {
    await want(atMs);
    given += sent.at(-1)?.bytes?.length ?? 0;
    await clock.advance(20);
  }
  const bound = (rate * (10_000 + AGENT_LIMITS.uploadBurstMs)) / 1_000;
  expect(given).toBeLessThanOrEqual(bound);
  expect(given).toBeGreaterThan(bound - 2 * PART);
  expect(sent.some(({ busyMs }) => busyMs !== undefined && busyMs <= 70)).toBe(true);
});

test('a lender who gives nothing is asked in vain', async () => {
  const { want, sent } = setUp({ uploadBytesPerSecondMax: 0 });
  await want(1);
  expect(sent[0]?.bytes).toBeUndefined();
});

test('a leaf that is on its way here is waited for, but not for ever', async () => {
  let there = false;
  const { want, sent, clock } = setUp({ leaf: async () => (there ? LEAF : 'soon') });
  const first = want(1);
  await clock.advance(AGENT_LIMITS.comingMs * 2);
  there = true;
  await clock.advance(AGENT_LIMITS.comingMs);
  await first;
  expect(sent[0]?.total).toBe(LEAF.length);
  await clock.advance(AGENT_LIMITS.givenKeptMs);
  there = false;
  const second = want(2);
  await clock.advance(AGENT_LIMITS.comingMs * AGENT_LIMITS.comingTries);
  await second;
  expect(sent[1]).toEqual({ t: 'blob.have', id: 2 });
});

test('a disk that fails is told to the owner, and the hub asks elsewhere at once', async () => {
  const { want, sent } = setUp({ leaf: () => Promise.reject(new Error('the disk is gone')) });
  await expect(want(1)).rejects.toThrow('the disk is gone');
  expect(sent).toEqual([{ t: 'blob.have', id: 1 }]);
});
