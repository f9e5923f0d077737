/** Claims about who should hold what, searched for over random communities. */
import { expect, test } from 'vitest';
import { createDemand } from './demand.ts';
import { PLACE_RULES, type PlacedDevice, type PlacedModel } from './community.ts';
import { place } from './place.ts';
import { copiesOf, device, draw, heldOf, model, overBounds, told, warmOf } from './testing/community.ts';

test('where everything fits, everybody holds everything', () => {
  const models = [model('a', 30), model('b', 30)];
  const holds = place([device('d1'), device('d2'), device('d3', { live: false })], models, new Map(), 0);
  for (const id of ['d1', 'd2', 'd3']) expect(warmOf(holds, id)).toEqual(['a', 'b']);
});

test('where not everything fits, every model is warm somewhere before any is warm twice', () => {
  const models = [model('a', 80), model('b', 80), model('c', 80)];
  const devices = ['d1', 'd2', 'd3', 'd4'].map((id) => device(id));
  const holds = place(devices, models, new Map([['a', 50]]), 0);
  expect(['a', 'b', 'c'].map((cid) => copiesOf(holds, cid))).toEqual([2, 1, 1]);
  // There is disk enough for three copies of each.
  expect(['a', 'b', 'c'].map((cid) => heldOf(holds, cid))).toEqual([3, 3, 3]);
});

test('a model is never asked of a device that cannot run it, has failed at it, or takes no work', () => {
  const models = [model('big', 500), model('a', 80), model('b', 80)];
  const devices = [
    device('big', { memoryBytes: 600 }),
    device('failing', { failed: new Set(['a']) }),
    device('paused', { live: false }),
  ];
  const holds = place(devices, models, new Map(), 0);
  expect(warmOf(holds, 'big')).toContain('big');
  expect((holds.get('failing') ?? []).map(({ cid }) => cid)).toEqual(['b']);
  expect(holds.get('paused')).toEqual([]);
});

test('when a device leaves, the models that it alone had warm are warm elsewhere', () => {
  const models = [model('a', 80), model('b', 80), model('c', 80)];
  const devices = ['d1', 'd2', 'd3', 'd4'].map((id) => device(id));
  let now = told(devices, place(devices, models, new Map(), 0));
  const gone = now.find((each) => each.holding.some(({ cid, warm }) => cid === 'c' && warm)) as PlacedDevice;
  now = now.filter((each) => each !== gone);
  const holds = place(now, models, new Map(), 1_000);
  expect(['a', 'b', 'c'].map((cid) => copiesOf(holds, cid))).toEqual([1, 1, 1]);
});

test('a popular model spreads into free room, and stays when the wave is over', () => {
  const models = [model('a', 40), model('b', 80)];
  const devices = Array.from({ length: 8 }, (_, index) => device(`d${index}`));
  const quiet = place(devices, models, new Map(), 0);
  expect(copiesOf(quiet, 'a')).toBe(3);
  const wave = place(told(devices, quiet), models, new Map([['a', 20]]), 1_000);
  expect(copiesOf(wave, 'a')).toBe(5);
  expect(copiesOf(wave, 'b')).toBe(3);
  const after = place(told(devices, wave), models, new Map(), 2_000);
  expect(copiesOf(after, 'a')).toBe(5);
});

test('a model that nobody has warm takes the place of one that is asked for far less, once that has dwelt', () => {
  const models = [model('a', 80), model('b', 80)];
  const first = told([device('d1')], place([device('d1')], models, new Map([['a', 1]]), 0));
  expect(warmOf(place(first, models, new Map([['b', 2]]), 1_000), 'd1')).toEqual(['a']);
  const wanted = new Map([
    ['a', 0.1],
    ['b', 2],
  ]);
  const later = place(first, models, wanted, PLACE_RULES.dwellMs);
  expect(later.get('d1')?.map(({ cid, warm }) => [cid, warm])).toEqual([
    ['b', true],
    ['a', false],
  ]);
  const even = new Map([
    ['a', 1],
    ['b', 2],
  ]);
  expect(warmOf(place(first, models, even, PLACE_RULES.dwellMs), 'd1')).toEqual(['a']);
});

test('demand is requests per minute, and forgets by half', () => {
  const demand = createDemand(600_000);
  for (let atMs = 0; atMs < 7_200_000; atMs += 10_000) demand.asked('a', atMs);
  expect(demand.of('a', 7_200_000)).toBeCloseTo(6, 0);
  expect(demand.of('a', 7_800_000)).toBeCloseTo(3, 0);
  demand.keep(new Set());
  expect(demand.of('a', 7_800_000)).toBe(0);
});

const SEEDS = Array.from({ length: 400 }, (_, index) => index + 1);

test('nobody is asked for more than it lends, and a model with room anywhere free is warm somewhere', () => {
  expect.hasAssertions();
  for (const seed of SEEDS) {
    const community = draw(seed);
    const { devices, models, demand } = community;
    const holds = place(devices, models, demand, 0);
    expect(overBounds(community, holds), `seed ${seed}`).toEqual([]);
    for (const each of models) {
      const couldHave = devices.some(({ id, live, failed, memoryBytes, diskBytes }) => {
        const used = (holds.get(id) ?? []).map(({ cid, warm }) => ({ held: models.find((m) => m.cid === cid), warm }));
        const freeMemory = used.reduce(
          (sum, { held, warm }) => sum - (warm ? (held?.memoryBytes ?? 0) : 0),
          memoryBytes,
        );
        const freeDisk = used.reduce((sum, { held }) => sum - (held?.bytes ?? 0) - 1, diskBytes);
        return live && !failed.has(each.cid) && freeMemory >= each.memoryBytes && freeDisk > each.bytes * 1.01;
      });
      if (couldHave) expect(copiesOf(holds, each.cid), `seed ${seed}, ${each.cid}`).toBeGreaterThan(0);
    }
  }
});

test('it comes to rest, and under demand that only wavers changes next to nothing in hours', () => {
  for (const seed of SEEDS.slice(0, 150)) {
    const community = draw(seed);
    const { models, demand, random } = community;
    let { devices } = community;
    let text = '';
    let changes = 0;
    for (let minute = 0; minute < 300; minute++) {
      const wavering = new Map([...demand].map(([cid, rate]) => [cid, rate * (0.8 + 0.4 * random.unit())]));
      const holds = place(devices, models, wavering, minute * 60_000);
      if (minute % 60 === 0) expect(overBounds(community, holds), `seed ${seed}`).toEqual([]);
      const next = JSON.stringify([...holds].map(([id, all]) => [id, all.map(({ cid, warm }) => [cid, warm])]));
      if (minute > 120 && next !== text) changes += 1;
      text = next;
      devices = told(devices, holds);
    }
    expect(changes, `seed ${seed}`).toBeLessThanOrEqual(1);
  }
});

test('the same question has the same answer, in whatever order it is put', () => {
  for (const seed of SEEDS) {
    const { devices, models, demand } = draw(seed);
    const one = place(devices, models, demand, 0);
    const other = place(devices.toReversed(), models.toReversed(), demand, 0);
    expect([...other.keys()].toSorted()).toEqual([...one.keys()].toSorted());
    for (const [id, holding] of one) expect(other.get(id), `seed ${seed}, ${id}`).toEqual(holding);
  }
});

test('while devices come and go, a model is left cold only where nobody has a copy to spare for it', () => {
  let cold = 0;
  for (const seed of SEEDS) {
    const { devices: all, models, demand, random } = draw(seed);
    let devices = all;
    for (let minute = 0; minute < 60; minute++) {
      devices = devices.map((each) => (random.unit() < 0.05 ? { ...each, live: !each.live } : each));
      devices = told(devices, place(devices, models, demand, minute * 60_000));
    }
    const holds = place(devices, models, demand, 3_600_000);
    const live = devices.filter((each) => each.live);
    const counted = (each: PlacedModel, warm: boolean): number =>
      live.filter(
        ({ id, failed }) =>
          !failed.has(each.cid) && holds.get(id)?.some(({ cid, warm: is }) => cid === each.cid && (is || !warm)),
      ).length;
    for (const each of models.filter((one) => counted(one, true) === 0)) {
      cold += 1;
      for (const { id, failed, memoryBytes, diskBytes } of live.filter((one) => !one.failed.has(each.cid))) {
        expect(failed.has(each.cid)).toBe(false);
        const kept = (holds.get(id) ?? []).flatMap(({ cid, warm }) => {
          const held = models.find((one) => one.cid === cid) as PlacedModel;
          const isSpare = !held.pinned && counted(held, warm) > 1;
          return isSpare || cid === each.cid ? [] : [{ ...held, memoryBytes: warm ? held.memoryBytes : 0 }];
        });
        const memory = kept.reduce((sum, one) => sum - one.memoryBytes, memoryBytes);
        const disk = kept.reduce((sum, one) => sum - one.bytes - 1, diskBytes);
        expect(memory >= each.memoryBytes && disk > each.bytes + 1, `seed ${seed}: ${each.cid} on ${id}`).toBe(false);
      }
    }
  }
  expect(cold).toBeGreaterThan(0);
});
