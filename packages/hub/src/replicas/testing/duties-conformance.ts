/**
 * What duties must hold on every database. Each replica has a clock of its own, and the database has one, too: a
 * replica whose clock is not moved stands still, as a process does that was stopped.
 */
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import type { OpenDatabase } from '../../db/open.ts';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { createDuties, type Duties } from '../duties.ts';
import type { Duty } from '../port.ts';
import { databaseAt } from './database-at.ts';

interface Member {
  readonly duties: Duties;
  readonly duty: Duty;
  readonly heard: boolean[];
  /** Moves this replica's clock alone, and lets it do what is due. */
  live(ms: number): Promise<void>;
}

interface Setting {
  readonly database: OpenDatabase;
  readonly databaseClock: FakeClock;
  member(id: string, options?: { readonly exclusive?: boolean }): Promise<Member>;
}

const LEASE_MS = HUB_LIMITS.dutyLeaseMs;
/** Surely a round later, however it was spread. */
const ROUND_MS = HUB_LIMITS.dutyRenewMs * 1.2;

/** Duties on a database whose time stands still until a test moves it. */
function createSetting(opened: OpenDatabase, settle: () => Promise<void>): Setting {
  const databaseClock = createFakeClock(settle);
  const database = databaseAt(opened, databaseClock);
  let seed = 0;
  return {
    database,
    databaseClock,
    async member(id, options = {}) {
      const clock = createFakeClock(settle);
      const random = createSeededRandom(++seed);
      const duties = createDuties({ database, replica: { id }, clock, random, log: silentLog, ...options });
      onTestFinished(() => duties.stop());
      const duty = duties.duty('expiry');
      const heard: boolean[] = [];
      duty.onChange((isMine) => heard.push(isMine));
      await duties.settled();
      return {
        duties,
        duty,
        heard,
        async live(ms) {
          await clock.advance(ms);
          await duties.settled();
        },
      };
    },
  };
}

/** `settle` lets everything run that needs no time to pass. */
export function testDuties(name: string, open: () => Promise<OpenDatabase>, settle: () => Promise<void>): void {
  const claim = (text: string, act: (setting: Setting) => Promise<void>): void => {
    // oxlint-disable-next-line vitest/expect-expect -- the expectations stand in `act`
    test(`${name}: ${text}`, async () => act(createSetting(await open(), settle)));
  };
  holding(claim);
  fencing(claim);
}

type Claim = (text: string, act: (setting: Setting) => Promise<void>) => void;

function holding(claim: Claim): void {
  claim('one of two has it, and keeps it for as long as it renews', async ({ member, databaseClock }) => {
    const [first, second] = [await member('rep_a'), await member('rep_b')];
    expect([first.duty.isMine(), second.duty.isMine()]).toEqual([true, false]);
    expect([first.heard, second.heard]).toEqual([[true], []]);
    for (let spent = 0; spent < 10 * LEASE_MS; spent += ROUND_MS) {
      await databaseClock.advance(ROUND_MS);
      await first.live(ROUND_MS);
      await second.live(ROUND_MS);
    }
    expect([first.duty.isMine(), second.duty.isMine()]).toEqual([true, false]);
    expect(first.duty.epoch()).toBe(1);
    expect(first.heard).toEqual([true]);
  });

  claim('who falls silent loses it after the lease, not before, and the epoch grows', async (setting) => {
    const [first, second] = [await setting.member('rep_a'), await setting.member('rep_b')];
    await setting.databaseClock.advance(LEASE_MS - 1);
    await second.live(ROUND_MS);
    expect(second.duty.isMine()).toBe(false);
    await setting.databaseClock.advance(1);
    await second.live(ROUND_MS);
    expect(second.duty.isMine()).toBe(true);
    expect(second.duty.epoch()).toBe(2);
    // The first one's clock has not moved: this is what it believes, and why there are fences.
    expect(first.duty.isMine()).toBe(true);
    await first.live(ROUND_MS);
    expect(first.duty.isMine()).toBe(false);
    expect(first.heard).toEqual([true, false]);
  });

  claim(
    'a holder whose renewals do not arrive stops believing in it by its own clock',
    async ({ member, database }) => {
      const alone = await member('rep_a');
      const { db } = database;
      await db.schema.alterTable('duties').renameTo('duties_away').execute();
      await alone.live(LEASE_MS - 1);
      expect(alone.duty.isMine()).toBe(true);
      await alone.live(1);
      expect(alone.duty.isMine()).toBe(false);
      expect(alone.heard).toEqual([true, false]);
      await db.schema.alterTable('duties_away').renameTo('duties').execute();
      await alone.live(ROUND_MS);
      expect(alone.heard).toEqual([true, false, true]);
      expect(alone.duty.epoch()).toBe(1);
    },
  );

  claim('a duty that is given back is taken at once', async ({ member }) => {
    const [first, second] = [await member('rep_a'), await member('rep_b')];
    await first.duties.stop();
    expect(first.duty.isMine()).toBe(false);
    expect(first.heard).toEqual([true, false]);
    await second.live(ROUND_MS);
    expect(second.duty.isMine()).toBe(true);
    expect(second.duty.epoch()).toBe(2);
  });

  claim('who has the database to itself takes over at once, and writes no more', async ({ member, database }) => {
    await member('rep_crashed');
    const alone = await member('rep_b', { exclusive: true });
    expect([alone.duty.isMine(), alone.duty.epoch()]).toEqual([true, 2]);
    await database.db.schema.alterTable('duties').renameTo('duties_away').execute();
    await alone.live(100 * LEASE_MS);
    await database.db.schema.alterTable('duties_away').renameTo('duties').execute();
    expect(alone.duty.isMine()).toBe(true);
    expect(alone.heard).toEqual([true]);
  });
}

function fencing(claim: Claim): void {
  claim('what is done under it is kept, and holds it meanwhile', async ({ member, databaseClock }) => {
    const [first, second] = [await member('rep_a'), await member('rep_b')];
    await databaseClock.advance(LEASE_MS - 1);
    expect(await first.duty.fenced((transaction) => note(transaction, 'by a'))).toBe('by a');
    await databaseClock.advance(LEASE_MS - 1);
    await second.live(ROUND_MS);
    expect(second.duty.isMine()).toBe(false);
  });

  claim('a holder that stood still for a minute changes nothing', async ({ member, databaseClock, database }) => {
    const [paused, second] = [await member('rep_a'), await member('rep_b')];
    await databaseClock.advance(60_000);
    await second.live(ROUND_MS);
    await second.duty.fenced((transaction) => note(transaction, 'by b'));
    expect(paused.duty.isMine()).toBe(true);
    await expect(paused.duty.fenced((transaction) => note(transaction, 'by a'))).rejects.toMatchObject({
      code: 'duty_lost',
    });
    expect(paused.duty.isMine()).toBe(false);
    expect(paused.heard).toEqual([true, false]);
    expect(await database.db.selectFrom('secrets').select('name').execute()).toEqual([{ name: 'by b' }]);
  });

  claim('it stays lost when it went away and came back: the epoch is another', async ({ member, databaseClock }) => {
    const [first, second] = [await member('rep_a'), await member('rep_b')];
    const epoch = first.duty.epoch();
    await databaseClock.advance(60_000);
    await second.live(ROUND_MS);
    await databaseClock.advance(60_000);
    await first.live(ROUND_MS);
    expect(first.duty.isMine()).toBe(true);
    expect(first.duty.epoch()).toBe(epoch + 2);
  });

  claim('who never had it, or gave it back, may do nothing', async ({ member }) => {
    const [first, second] = [await member('rep_a'), await member('rep_b')];
    await expect(second.duty.fenced(async () => 1)).rejects.toMatchObject({ code: 'duty_lost' });
    await first.duties.stop();
    await expect(first.duty.fenced(async () => 1)).rejects.toMatchObject({ code: 'duty_lost' });
  });

  claim('an act that throws leaves nothing, and the duty where it was', async ({ member, database }) => {
    const alone = await member('rep_a');
    const failing = alone.duty.fenced(async (transaction) => {
      await note(transaction, 'half');
      throw new Error('on purpose');
    });
    await expect(failing).rejects.toThrow('on purpose');
    expect(await database.db.selectFrom('secrets').select('name').execute()).toEqual([]);
    expect(alone.duty.isMine()).toBe(true);
  });
}

async function note(transaction: OpenDatabase['db'], name: string): Promise<string> {
  await transaction
    .insertInto('secrets')
    .values({ name, value: new Uint8Array(0) })
    .execute();
  return name;
}
