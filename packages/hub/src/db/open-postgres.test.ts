import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { createFakeClock } from '@idlewild/protocol/testing';
import { systemClock } from '@idlewild/protocol/node';
import { Client } from 'pg';
import { afterAll, describe, expect, test } from 'vitest';
import type { Log } from '../log.ts';
import { silentLog } from '../log.ts';
import { startPostgres } from '../testing/postgres.ts';
import { sharedPostgres } from '../testing/shared-postgres.ts';
import { MIGRATIONS } from './migrate.ts';
import { openPostgres, placeOf } from './open-postgres.ts';

const postgres = await sharedPostgres();
afterAll(() => postgres?.stop());
const fresh = async (): Promise<string> => (await postgres?.createDatabase()) ?? '';
const open = (url: string) => openPostgres({ url, clock: systemClock, waitMs: 0 });
const territory = (id: string) => ({ id, name: 'home', public_key: new Uint8Array(32), created_at_ms: 1 });

async function as(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query(statement);
  await client.end();
}

describe.skipIf(postgres === undefined)('with a server', () => {
  test('three replicas that start at once on an empty database make every table once', async () => {
    const url = await fresh();
    const all = await Promise.all([open(url), open(url), open(url)]);
    expect(all.flatMap(({ migrated }) => migrated).sort()).toEqual(MIGRATIONS.map(({ name }) => name));
    await Promise.all(all.map(({ close }) => close()));
  });

  test('closing waits for the transaction that is open, and for who waits for a connection', async () => {
    const url = await fresh();
    const { db, close } = await open(url);
    const ids = Array.from({ length: 30 }, (_, index) => `ter_${index}`);
    const writing = ids.map((id) =>
      db.transaction().execute((transaction) => transaction.insertInto('territories').values(territory(id)).execute()),
    );
    await close();
    await Promise.all(writing);
    const again = await open(url);
    expect(await again.db.selectFrom('territories').select('id').execute()).toHaveLength(30);
    await again.close();
  });

  test('what was committed is there after an abrupt end, and what was not is gone', async () => {
    const url = await fresh();
    const { db, abandon } = await open(url);
    await db.insertInto('territories').values(territory('ter_a')).execute();
    const dying = db.transaction().execute(async (transaction) => {
      await transaction.insertInto('territories').values(territory('ter_b')).execute();
      abandon();
      await transaction.insertInto('territories').values(territory('ter_c')).execute();
    });
    await expect(dying).rejects.toMatchObject({ code: 'database_unavailable' });
    await expect(db.selectFrom('keys').execute()).rejects.toMatchObject({ code: 'database_unavailable' });
    const after = await open(url);
    expect(await after.db.selectFrom('territories').select('id').execute()).toEqual([{ id: 'ter_a' }]);
    await after.close();
  });

  test('its time is the database’s, however wrong the clock of the machine is', async () => {
    const clock = createFakeClock(async () => {}, Date.now() - 3_600_000);
    const database = await openPostgres({ url: await fresh(), clock });
    const here = database.clock.now();
    expect(Math.abs(here - Date.now())).toBeLessThan(60_000);
    await clock.advance(500);
    expect(database.clock.now()).toBe(here + 500);
    const { now } = await database.db.selectNoFrom(database.nowMs().as('now')).executeTakeFirstOrThrow();
    expect(Math.abs(now - Date.now())).toBeLessThan(60_000);
    await database.close();
  });

  test('a server that restarts is unavailable and then there again, and says what is not known', async () => {
    const own = await startPostgres();
    const database = await open((await own?.createDatabase()) ?? '');
    const { db } = database;
    const inside = db.transaction().execute(async (transaction) => {
      await transaction.insertInto('territories').values(territory('ter_a')).execute();
      await own?.halt('immediate');
      await transaction.insertInto('territories').values(territory('ter_b')).execute();
    });
    await expect(inside).rejects.toMatchObject({ code: 'database_unavailable', details: { committed: 'no' } });
    await expect(db.selectFrom('territories').select('id').execute()).rejects.toMatchObject({
      code: 'database_unavailable',
    });
    await own?.start();
    expect(await db.selectFrom('territories').select('id').execute()).toEqual([]);
    await database.close();
    await own?.stop();
  });

  test('whoever waits for a connection is told at once when none can be made', async () => {
    const own = await startPostgres();
    const database = await open((await own?.createDatabase()) ?? '');
    await own?.halt('immediate');
    const asked = Array.from({ length: 1_000 }, () => database.db.selectFrom('territories').select('id').execute());
    const settled = await Promise.allSettled(asked);
    for (const each of settled) expect(each).toMatchObject({ reason: { code: 'database_unavailable' } });
    await own?.start();
    expect(await database.db.selectFrom('territories').select('id').execute()).toEqual([]);
    await database.close();
    await own?.stop();
  });

  test('a commit whose answer is lost may have happened, and the error says so', async () => {
    const url = await fresh();
    const database = await open(url);
    const { db } = database;
    await as(
      url,
      `create function die() returns trigger language plpgsql as $$
       begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
     create constraint trigger die after insert on territories deferrable initially deferred
       for each row execute function die()`,
    );
    const committing = db
      .transaction()
      .execute((t) => t.insertInto('territories').values(territory('ter_a')).execute());
    await expect(committing).rejects.toMatchObject({
      code: 'database_unavailable',
      details: { committed: 'unknown' },
      message: expect.stringContaining('not known'),
    });
    await database.close();
  });

  test('a transaction that stands still is ended, and keeps nobody waiting', async () => {
    const url = await fresh();
    const impatient = new URL(url);
    impatient.searchParams.set('options', '-c idle_in_transaction_session_timeout=100');
    const stuck = await open(impatient.href);
    const other = await open(url);
    const release = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const standing = stuck.db.transaction().execute(async (transaction) => {
      await transaction.insertInto('territories').values(territory('ter_a')).execute();
      reached.resolve();
      await release.promise;
      await transaction.insertInto('territories').values(territory('ter_b')).execute();
    });
    standing.catch(() => {});
    await reached.promise;
    // Waits for the row of the other, which is not committed.
    await other.db.insertInto('territories').values(territory('ter_a')).execute();
    release.resolve();
    await expect(standing).rejects.toMatchObject({ code: 'database_unavailable', details: { committed: 'no' } });
    await stuck.close();
    await other.close();
  });

  test('a server that may lose what it acknowledged is refused with the way out', async () => {
    const url = await fresh();
    const lax = new URL(url);
    lax.searchParams.set('options', '-c synchronous_commit=off');
    await expect(open(lax.href)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/synchronous_commit is off.*alter system/),
    });
    const own = await startPostgres(['fsync=off']);
    await expect(open(own?.url ?? '')).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('fsync'),
    });
    await own?.stop();
  });

  test('neither a wrong password nor a missing database is waited for, and no password is said', async () => {
    const said: string[] = [];
    const warn: Log['warn'] = (fields, message) => said.push(JSON.stringify(fields), message);
    const wrong = (postgres?.url ?? '').replace('not-a-secret', 'wrong-secret');
    const missing = (postgres?.url ?? '').replace(/\/postgres$/, '/nowhere');
    for (const url of [wrong, missing, `${missing}?sslmode=require`, `${missing}?sslmode=verify-ca`]) {
      const error: unknown = await openPostgres({ url, clock: systemClock, log: { ...silentLog, warn } }).catch(
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({ code: 'usage' });
      said.push((error as Error).message, (error as Error).stack ?? '', JSON.stringify(error));
    }
    expect(said.join('\n')).not.toMatch(/not-a-secret|wrong-secret/);
    // Each says once what is the matter, and what to write.
    expect(said.join('\n')).toMatch(/createdb nowhere/);
    expect(said.join('\n')).not.toMatch(/cannot be opened: the database/);
  });
});

test('a server that is not there yet is waited for, and then is unavailable', async () => {
  const listener = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const said: string[] = [];
  const log: Log = { ...silentLog, warn: (_, message) => said.push(message) };
  const opening = openPostgres({
    url: `postgres://ada:hidden@127.0.0.1:${port}/hub`,
    clock: systemClock,
    waitMs: 300,
    log,
  });
  await expect(opening).rejects.toMatchObject({ code: 'database_unavailable' });
  expect(said).toEqual([`waiting for the database postgres://127.0.0.1:${port}/hub`]);
  listener.close();
});

test.each([
  ['postgres://ada:secret@db.example:5433/hub?sslmode=require', 'postgres://db.example:5433/hub'],
  ['postgresql://ada:secret@[::1]/hub', 'postgres://[::1]/hub'],
  ['postgres://ada:secret@/hub?host=/run/postgresql', 'postgres:///run/postgresql/hub'],
])('%s is named without its password', (url, place) => {
  expect(placeOf(url)).toBe(place);
});

test.each(['mysql://ada:secret@db/hub', 'not an address secret', 'postgres://ada:secret@db/hub?sslmode=prefer'])(
  '%s is refused without repeating it',
  (url) => {
    const refusal = (): string => placeOf(url);
    expect(refusal).toThrow(expect.objectContaining({ code: 'usage' }));
    expect(refusal).not.toThrow(/secret/);
  },
);
