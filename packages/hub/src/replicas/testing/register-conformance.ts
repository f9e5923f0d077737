/** What the register of replicas must hold on every database; clocks as in `duties-conformance.ts`. */
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import type { OpenDatabase } from '../../db/open.ts';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { createRegister, type Register } from '../register.ts';
import { databaseAt, quiet } from './database-at.ts';

interface Member {
  readonly register: Register;
  readonly clock: FakeClock;
  readonly refused: string[];
  readonly counts: { devices: number; answers: number };
}

interface Setting {
  readonly database: OpenDatabase;
  readonly databaseClock: FakeClock;
  member(id: string, hasBus: boolean): Member;
  /** Moves the database's time and that of these replicas together, in small steps, until `act` is over. */
  passing<Result>(members: readonly Member[], act: Promise<Result>): Promise<Result>;
  /** The same for a time. */
  pass(ms: number, ...members: readonly Member[]): Promise<void>;
}

const STEP_MS = 250;
const { replicaLiveMs: LIVE_MS } = HUB_LIMITS;

/** `settle` lets everything run that needs no time to pass. */
export function testRegister(name: string, open: () => Promise<OpenDatabase>, settle: () => Promise<void>): void {
  const claim: Claim = (text, act) => {
    // oxlint-disable-next-line vitest/expect-expect -- the expectations stand in `act`
    test(`${name}: ${text}`, async () => act(createSetting(await open(), settle)));
  };
  entering(claim);
  living(claim);
}

type Claim = (text: string, act: (setting: Setting) => Promise<void>) => void;

function createSetting(opened: OpenDatabase, settle: () => Promise<void>): Setting {
  const databaseClock = createFakeClock(settle);
  const database = databaseAt(opened, databaseClock);
  let seed = 0;
  async function step(members: readonly Member[]): Promise<void> {
    await databaseClock.advance(STEP_MS);
    for (const { clock } of members) await clock.advance(STEP_MS);
    await quiet(database);
  }
  return {
    database,
    databaseClock,
    member(id, hasBus) {
      const clock = createFakeClock(settle);
      const refused: string[] = [];
      const counts = { devices: 0, answers: 0 };
      const register = createRegister({
        database,
        replica: { id, version: '1.0.0', hasBus, address: () => `http://${id}`, counts: () => counts },
        clock,
        random: createSeededRandom(++seed),
        log: silentLog,
        onRefused: (error) => refused.push(error.message),
      });
      onTestFinished(() => register.stop());
      return { register, clock, refused, counts };
    },
    async passing(members, act) {
      let over = false;
      const end = (): void => {
        over = true;
      };
      act.then(end, end);
      await quiet(database);
      for (let steps = 0; !over && steps < 1_000; steps++) await step(members);
      return act;
    },
    async pass(ms, ...members) {
      for (let passed = 0; passed < ms; passed += STEP_MS) await step(members);
    },
  };
}

const rowsOf = async ({ database }: Setting): Promise<string[]> =>
  (await database.db.selectFrom('replicas').select('id').orderBy('id').execute()).map(({ id }) => id);
const idsOf = async ({ register }: Member): Promise<string[]> => (await register.list()).map(({ id }) => id);

function entering(claim: Claim): void {
  claim('replicas with a bus share a database, and each sees all with what they carry', async ({ member, pass }) => {
    const [first, second] = [member('rep_a', true), member('rep_b', true)];
    await first.register.admit();
    await second.register.admit();
    second.counts.devices = 7;
    await pass(3_000, first, second);
    const seen = await first.register.list();
    expect(seen).toMatchObject([
      { id: 'rep_a', address: 'http://rep_a', isSelf: true, isLive: true, state: 'live' },
      { id: 'rep_b', version: '1.0.0', hasBus: true, devices: 7, isSelf: false, isLive: true },
    ]);
    expect(first.register.live().map(({ devices }) => devices)).toEqual([0, 7]);
  });

  claim('without a bus nobody shares a database with a live hub, and is told with whom', async (setting) => {
    const { member, passing } = setting;
    for (const [older, newer] of [
      [false, false],
      [true, false],
      [false, true],
    ] as const) {
      const [first, second] = [member('rep_a', older), member('rep_b', newer)];
      await first.register.admit();
      const trying = passing([first, second], second.register.admit());
      await expect(trying, `${older} ${newer}`).rejects.toMatchObject({
        code: 'conflict',
        message: expect.stringMatching(/rep_a at http:\/\/rep_a, version 1\.0\.0, seen \d\.\d s ago.* --bus/),
      });
      expect(await idsOf(first)).toEqual(['rep_a']);
      await first.register.stop();
      await second.register.stop();
    }
  });

  claim('of two without a bus that start at once, one comes in', async ({ member, passing }) => {
    const members = [member('rep_a', false), member('rep_b', false)];
    const tried = await passing(members, Promise.allSettled(members.map(({ register }) => register.admit())));
    expect(tried.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
  });

  claim(
    'one that was killed is in nobody’s way for longer than its row lives',
    async ({ member, passing, databaseClock }) => {
      const [killed, next] = [member('rep_a', false), member('rep_b', false)];
      await killed.register.admit();
      const beganAtMs = databaseClock.monotonic();
      // The clock of the first one stands still.
      await passing([next], next.register.admit());
      expect(databaseClock.monotonic() - beganAtMs).toBeLessThanOrEqual(LIVE_MS + 2_000);
      expect((await next.register.list()).map(({ id, isLive }) => [id, isLive])).toEqual([
        ['rep_a', false],
        ['rep_b', true],
      ]);
    },
  );

  claim('one that is stopped leaves at once', async ({ member }) => {
    const [first, second] = [member('rep_a', false), member('rep_b', false)];
    await first.register.admit();
    await first.register.stop();
    await second.register.admit();
    expect(await idsOf(second)).toEqual(['rep_b']);
  });
}

function living(claim: Claim): void {
  claim('one that was paused and comes back enters anew', async ({ member, pass, database }) => {
    const [paused, other] = [member('rep_a', true), member('rep_b', true)];
    await paused.register.admit();
    await other.register.admit();
    await pass(LIVE_MS + 3_000, other);
    expect(other.register.live().map(({ id }) => id)).toEqual(['rep_b']);
    await database.db.deleteFrom('replicas').where('id', '=', 'rep_a').execute();
    await pass(6_000, paused, other);
    expect(other.register.live().map(({ id }) => id)).toEqual(['rep_a', 'rep_b']);
    expect(paused.register.isEntered()).toBe(true);
    expect(paused.refused).toEqual([]);
  });

  claim('one that was paused and found its place taken has to stop', async ({ member, pass, passing }) => {
    const [paused, next] = [member('rep_a', false), member('rep_b', false)];
    await paused.register.admit();
    await passing([next], next.register.admit());
    await pass(6_000, paused, next);
    expect(paused.refused).toEqual([expect.stringMatching(/another hub uses this database: rep_b/)]);
    expect(paused.register.isEntered()).toBe(false);
    expect([next.refused, next.register.isEntered()]).toEqual([[], true]);
  });

  claim('whose beats do not arrive knows that others take it for dead', async ({ member, pass, database }) => {
    const alone = member('rep_a', true);
    await alone.register.admit();
    await database.db.schema.alterTable('replicas').renameTo('away').execute();
    await alone.clock.advance(LIVE_MS - 1);
    expect(alone.register.isEntered()).toBe(true);
    await alone.clock.advance(1);
    expect(alone.register.isEntered()).toBe(false);
    await database.db.schema.alterTable('away').renameTo('replicas').execute();
    await pass(3_000, alone);
    expect(alone.register.isEntered()).toBe(true);
  });

  claim('a drain is seen at once', async ({ member }) => {
    const [first, second] = [member('rep_a', true), member('rep_b', true)];
    await first.register.admit();
    await second.register.admit();
    await first.register.draining();
    expect((await second.register.list()).map(({ state }) => state)).toEqual(['draining', 'live']);
  });

  claim(
    'the dead are seen for three minutes, and their rows go when the next one enters after that',
    async (setting) => {
      const { member, databaseClock } = setting;
      const [killed, second, third] = [member('rep_a', true), member('rep_b', true), member('rep_c', true)];
      await killed.register.admit();
      await databaseClock.advance(HUB_LIMITS.replicaForgottenMs);
      await second.register.admit();
      expect(await idsOf(second)).toEqual(['rep_a', 'rep_b']);
      await databaseClock.advance(1);
      expect(await idsOf(second)).toEqual(['rep_b']);
      expect(await rowsOf(setting)).toContain('rep_a');
      await third.register.admit();
      expect(await idsOf(third)).toEqual(['rep_b', 'rep_c']);
      expect(await rowsOf(setting)).toEqual(['rep_b', 'rep_c']);
    },
  );
}
