/** Claims about who is served by a process with many territories, and when. */
import { createFakeClock } from '@idlewild/protocol/testing';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createLocalBusHub } from '../bus/local-bus.ts';
import type { Hub } from '../hub.ts';
import { silentLog } from '../log.ts';
import { testDatabases } from '../testing/databases.ts';
import { openHouse, type House, type Served } from './house.ts';
import { HOUSE_LIMITS } from './limits.ts';

describe.each(await testDatabases())('with $kind', ({ openShared }) => {
  async function setUp(replicas: number) {
    const databases = await openShared(replicas);
    const { db } = databases[0] as (typeof databases)[0];
    const clock = createFakeClock(async () => {});
    const faults = { dropRate: 0 };
    const bus = createLocalBusHub({
      clock,
      log: silentLog,
      faults,
      random: { unit: () => 0.5, bytes: (n) => new Uint8Array(n) },
    });
    const broken = new Set<string>();
    const served: Set<string>[] = [];
    const names = new Map<string, string>();
    const ends: string[] = [];
    const add = (id: string, name = id) =>
      db
        .insertInto('territories')
        .values({ id, name, public_key: new Uint8Array(32), created_at_ms: 0 })
        .execute();
    const close = (id: string, at: number | null) =>
      db.updateTable('territories').set({ closed_at_ms: at }).where('id', '=', id).execute();
    await add('ter_first');
    const open = async (index: number): Promise<House<Served>> => {
      const here = (served[index] = new Set());
      const serve = (id: string): Served => {
        here.add(id);
        const stop = async (why?: string): Promise<void> => {
          here.delete(id);
          ends.push(`${id} at ${index}: ${why ?? 'as usual'}`);
        };
        const territory = { id, name: id, publicKey: new Uint8Array(32) };
        const naming: Pick<Hub['naming'], 'heard'> = { heard: (name) => void names.set(`${id} at ${index}`, name) };
        return { hub: { territory, naming } as Hub, stop };
      };
      const house = await openHouse(serve('ter_first'), {
        db: (databases[index] as (typeof databases)[0]).db,
        bus: bus.connect(),
        isAlone: false,
        clock,
        log: silentLog,
        async open(id) {
          if (broken.has(id)) throw new Error('its key is missing');
          return serve(id);
        },
      });
      onTestFinished(() => house.stop());
      return house;
    };
    return { db, open, add, close, served, names, ends, clock, faults, broken };
  }
  const ids = (house: House<Served>): string[] =>
    house
      .list()
      .map(({ hub }) => hub.territory.id)
      .sort();

  test('a start opens every territory of the database that is not closed, the first one first', async () => {
    const { open, add, close } = await setUp(1);
    await add('ter_b');
    await add('ter_c');
    await close('ter_c', 1);
    const house = await open(0);
    expect(house.list().map(({ hub }) => hub.territory.id)).toEqual(['ter_first', 'ter_b']);
    expect(house.get('ter_b')?.hub.territory.id).toBe('ter_b');
    expect(house.get('ter_c')).toBeUndefined();
  });

  test('what one replica opens or closes every other does, at once by the bus, within a second without', async () => {
    const { open, add, close, served, clock, faults, ends } = await setUp(2);
    const [one, other] = [await open(0), await open(1)];
    await add('ter_b');
    await one.changed();
    await expect.poll(() => ids(other)).toEqual(['ter_b', 'ter_first']);
    faults.dropRate = 1;
    await close('ter_b', 1);
    await one.changed();
    expect(ids(one)).toEqual(['ter_first']);
    expect(served[0]).toEqual(new Set(['ter_first']));
    expect(ids(other)).toEqual(['ter_b', 'ter_first']);
    await clock.advance(HOUSE_LIMITS.lookMs);
    await expect.poll(() => served[1]).toEqual(new Set(['ter_first']));
    // Devices that are connected hear why.
    expect(ends).toEqual([0, 1].map((at) => expect.stringMatching(`^ter_b at ${at}: this community was closed`)));
    await close('ter_b', null);
    await clock.advance(HOUSE_LIMITS.lookMs);
    await expect.poll(() => [...ids(one), ...ids(other)]).toEqual(['ter_b', 'ter_first', 'ter_b', 'ter_first']);
  });

  test('a name that was given elsewhere is heard within a second, of the first and of others', async () => {
    const { db, open, add, names, clock } = await setUp(2);
    await add('ter_b');
    for (const index of [0, 1]) await open(index);
    await db.updateTable('territories').set({ name: 'Renamed' }).execute();
    await clock.advance(HOUSE_LIMITS.lookMs);
    const known = ['ter_first at 0', 'ter_b at 0', 'ter_first at 1', 'ter_b at 1'];
    await expect.poll(() => known.map((each) => names.get(each))).toEqual(known.map(() => 'Renamed'));
  });

  test('one that cannot be opened keeps no other from being served, and is tried again', async () => {
    const { open, add, broken, clock } = await setUp(1);
    for (const id of ['ter_b', 'ter_c', 'ter_d']) await add(id);
    broken.add('ter_c');
    const house = await open(0);
    expect(ids(house)).toEqual(['ter_b', 'ter_d', 'ter_first']);
    broken.clear();
    await clock.advance(HOUSE_LIMITS.lookMs);
    await expect.poll(() => ids(house)).toContain('ter_c');
  });

  test('the first is served whatever the database says, and stopping stops all', async () => {
    const { open, add, close, served, clock } = await setUp(1);
    await add('ter_b');
    const house = await open(0);
    await close('ter_first', 1);
    await house.changed();
    expect(ids(house)).toEqual(['ter_b', 'ter_first']);
    await house.stop();
    expect(served[0]).toEqual(new Set());
    await add('ter_c');
    await clock.advance(2 * HOUSE_LIMITS.lookMs);
    expect(served[0]).toEqual(new Set());
  });
});
