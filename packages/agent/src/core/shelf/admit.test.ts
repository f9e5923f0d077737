/** Claims about room: what makes it, what never does, and how often. */
import { expect, test } from 'vitest';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { AGENT_LIMITS } from '../limits.ts';
import { admitLoad, chooseEvictions, type LoadAsk, type OnDisk, type Resident } from './admit.ts';

const resident = (cid: string, over: Partial<Resident> = {}): Resident => ({
  cid,
  bytes: 600,
  demand: 0,
  inUse: false,
  ...over,
});
const ask = (over: Partial<LoadAsk> = {}): LoadAsk => ({
  bytes: 600,
  demand: 0,
  keptBytes: 0,
  lesser: [],
  memoryBytesMax: 1_000,
  freeBytes: undefined,
  sinceSwapMs: undefined,
  ...over,
});

test('what fits is loaded, and nothing goes for it', () => {
  expect(admitLoad(ask({ bytes: 400, lesser: [resident('b')] }))).toEqual({ t: 'load', unload: [] });
});

test('only as many go as must, the least wanted first, and never one that answers', () => {
  const lesser = [
    resident('least', { bytes: 300 }),
    resident('middle', { bytes: 300 }),
    resident('more', { bytes: 300 }),
  ];
  expect(admitLoad(ask({ bytes: 200, lesser }))).toEqual({ t: 'load', unload: ['least'] });
  expect(admitLoad(ask({ bytes: 700, lesser }))).toEqual({ t: 'load', unload: ['least', 'middle'] });
  const busy = [resident('least', { bytes: 300, inUse: true }), ...lesser.slice(1)];
  expect(admitLoad(ask({ bytes: 200, lesser: busy }))).toEqual({ t: 'load', unload: ['middle'] });
});

test('what cannot fit says how much is missing, and whether answers under way are in the way', () => {
  const wait = (over: Partial<LoadAsk>): unknown => admitLoad(ask(over));
  expect(wait({ keptBytes: 600 })).toEqual({
    t: 'wait',
    why: 'it needs about 600 bytes of memory; 400 of 1000 lent are free',
  });
  expect(wait({ lesser: [resident('b', { inUse: true })] })).toMatchObject({
    why: expect.stringContaining('when the answers under way have ended') as string,
  });
});

test('a machine without free memory loads nothing, whatever was lent, and is looked at again', () => {
  const freeBytes = AGENT_LIMITS.machineFreeBytesMin + 599;
  expect(admitLoad(ask({ freeBytes }))).toMatchObject({ t: 'wait', afterMs: AGENT_LIMITS.machineFullMs });
  expect(admitLoad(ask({ freeBytes: freeBytes + 1 }))).toMatchObject({ t: 'load' });
});

test('after a swap there is none for a cool-down, and a shorter one for a model that is clearly asked for more', () => {
  const lesser = [resident('b', { demand: 1 })];
  const at = (sinceSwapMs: number, demand: number): unknown => admitLoad(ask({ lesser, demand, sinceSwapMs }));
  expect(at(0, 2)).toMatchObject({ t: 'wait', afterMs: AGENT_LIMITS.swapMs });
  expect(at(AGENT_LIMITS.swapMs, 0)).toMatchObject({ t: 'load' });
  expect(at(0, 10)).toMatchObject({ t: 'wait', afterMs: AGENT_LIMITS.swapClearMs });
  expect(at(AGENT_LIMITS.swapClearMs, 10)).toMatchObject({ t: 'load' });
});

/**
 * Two models that do not fit together, asked for by turns; the hub's demand is an average that forgets by half in ten
 * minutes, and the one asked for more is wanted more.
 */
function swapsUnder(seed: number, periodMs: number, minutes: number): number[] {
  const random = createSeededRandom(seed);
  const demand = { a: 1, b: 1 };
  const swaps: number[] = [];
  let warm: 'a' | 'b' = 'a';
  for (let nowMs = 0; nowMs < minutes * 60_000; nowMs += 500) {
    const asked = Math.floor(nowMs / periodMs) % 2 === 0 ? 'a' : 'b';
    for (const each of ['a', 'b'] as const) {
      demand[each] *= 0.5 ** (500 / 600_000);
      if (each === asked && random.unit() < 0.3) demand[each] += 0.07;
    }
    const wanted = demand.a >= demand.b ? 'a' : 'b';
    if (wanted === warm) continue;
    const sinceSwapMs = swaps.length === 0 ? undefined : nowMs - (swaps.at(-1) as number);
    const lesser = [resident(warm, { demand: demand[warm] })];
    if (admitLoad(ask({ demand: demand[wanted], lesser, sinceSwapMs })).t !== 'load') continue;
    swaps.push(nowMs);
    warm = wanted;
  }
  return swaps;
}

test('two models that do not fit together swap at most once in a cool-down, however demand alternates', () => {
  let most = 0;
  for (let seed = 1; seed <= 20; seed++) {
    for (const periodMs of [1_000, 5_000, 30_000, 90_000, 300_000]) {
      const swaps = swapsUnder(seed, periodMs, 60);
      for (const [index, atMs] of swaps.slice(1).entries()) {
        expect(atMs - (swaps[index] as number), `seed ${seed}, period ${periodMs}`).toBeGreaterThanOrEqual(
          AGENT_LIMITS.swapMs,
        );
      }
      most = Math.max(most, swaps.length);
    }
  }
  expect(most).toBeGreaterThan(1);
});

const onDisk = (cid: string, usedAtMs: number, files: Readonly<Record<string, number>>, mayGo = true): OnDisk => ({
  cid,
  usedAtMs,
  mayGo,
  files: new Map(Object.entries(files)),
});

test('the least recently used goes first, what may not go stays, and nothing goes in vain', () => {
  const models = [
    onDisk('wanted', 9, {}, false),
    onDisk('pinned', 1, { p: 50 }, false),
    onDisk('old', 2, { o: 50 }),
    onDisk('new', 3, { n: 50 }),
  ];
  expect(chooseEvictions(10, 10, models)).toEqual([]);
  expect(chooseEvictions(40, 0, models)).toEqual(['old']);
  expect(chooseEvictions(60, 0, models)).toEqual(['old', 'new']);
  expect(chooseEvictions(101, 0, models)).toBeUndefined();
});

test('a file that two models share is freed with the last of them', () => {
  const shared = { s: 80 };
  const kept = [onDisk('a', 1, { ...shared, a: 5 }), onDisk('kept', 2, shared, false)];
  expect(chooseEvictions(10, 0, kept)).toBeUndefined();
  const both = [onDisk('a', 1, { ...shared, a: 5 }), onDisk('b', 2, shared)];
  expect(chooseEvictions(10, 0, both)).toEqual(['a', 'b']);
  expect(chooseEvictions(5, 0, both)).toEqual(['a']);
});
