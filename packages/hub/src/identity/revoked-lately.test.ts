/** Claims about devices that were revoked through another replica. */
import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { silentLog } from '../log.ts';
import { FLEET_LIMITS } from '../replicas/limits.ts';
import { watchRevoked } from './revoked-lately.ts';

async function setUp() {
  const clock = createFakeClock(yieldToNode);
  const database = await openDatabase({ file: ':memory:', clock });
  onTestFinished(() => database.close());
  const row = { name: 'home', public_key: new Uint8Array(32), created_at_ms: 0 };
  await database.db
    .insertInto('territories')
    .values({ id: 'ter_a', ...row })
    .execute();
  let isDown = false;
  const reached: Pick<OpenDatabase, 'db' | 'clock'> = {
    clock: database.clock,
    get db() {
      if (isDown) throw new Error('the database does not answer');
      return database.db;
    },
  };
  const dropped: string[] = [];
  const drop = (id: string): boolean => dropped.push(id) > 0;
  const watching = watchRevoked({ database: reached, clock, log: silentLog }, 'ter_a', { drop, count: () => 1 });
  onTestFinished(() => watching.stop());
  return {
    clock,
    dropped,
    setDown: (down: boolean) => (isDown = down),
    async revoke(id: string) {
      const device = { id, territory_id: 'ter_a', name: id, public_key: new TextEncoder().encode(id) };
      const times = { enrolled_at_ms: 0, last_seen_at_ms: 0, revoked_at_ms: clock.now() };
      await database.db
        .insertInto('devices')
        .values({ ...device, ...times, consent: new Uint8Array(), profile_json: '{}' })
        .execute();
    },
  };
}

test('a device that is revoked elsewhere is dropped at the next look', async () => {
  const { clock, dropped, revoke } = await setUp();
  await revoke('dev_a');
  await clock.advance(FLEET_LIMITS.revokedReadMs);
  expect(dropped).toContain('dev_a');
});

test('one that is revoked while the database is out of reach for long is dropped once that answers again', async () => {
  const { clock, dropped, revoke, setDown } = await setUp();
  setDown(true);
  await clock.advance(1_000);
  await revoke('dev_a');
  await clock.advance(120_000);
  expect(dropped).toEqual([]);
  setDown(false);
  await clock.advance(FLEET_LIMITS.revokedReadMs);
  expect(dropped).toContain('dev_a');
});
