/** What three replicas write at once: on PostgreSQL at READ COMMITTED, and on SQLite, where it was always so. */
import { joinTokenOf, type DeviceProfile } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { sql } from 'kysely';
import { describe, expect, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { countUsage, readUsage } from '../callers/usage.ts';
import { createDevices, type Device } from '../identity/devices.ts';
import { createInvites } from '../identity/invites.ts';
import { createKeys } from '../identity/keys.ts';
import { testDatabases } from '../testing/databases.ts';
import { inTurn, oneAtATime } from './one-at-a-time.ts';
import { transact } from './transact.ts';

const territory = 'ter_a';
const WRITERS = 20;
const profile: DeviceProfile = {
  platform: 'linux',
  arch: 'x64',
  cores: 2,
  memoryBytes: 1,
  gflops: 1,
  agentVersion: '0',
  engineBuild: 'e',
  fingerprint: 'f',
  providers: [],
};
const device = (n: number) => ({
  publicKey: new Uint8Array(32).fill(n),
  name: `device ${n}`,
  consent: new Uint8Array([n]),
  profile,
});
const isFulfilled = ({ status }: PromiseSettledResult<unknown>): boolean => status === 'fulfilled';

describe.each(await testDatabases())('with $kind', ({ openShared }) => {
  async function setUp() {
    const databases = await openShared(3);
    await databases[0]!.db
      .insertInto('territories')
      .values({ id: territory, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 })
      .execute();
    const replicas = databases.map(({ db, clock }) => {
      const deps = { db, clock, crypto: nodeCrypto, random: nodeRandom };
      const audit = createAudit(deps);
      const devices = createDevices({ ...deps, audit });
      const invites = createInvites({ ...deps, audit, devices });
      return { ...deps, audit, devices, invites, keys: createKeys({ ...deps, audit }) };
    });
    const first = replicas[0]!;
    /** Every writer at once, spread over the replicas. */
    const all = <Result>(act: (replica: typeof first, writer: number) => Promise<Result>) =>
      Promise.allSettled(Array.from({ length: WRITERS }, (_, writer) => act(replicas[writer % 3]!, writer)));
    return { first, replicas, all };
  }

  test('the audit log is one chain without a gap', async () => {
    const { first, all } = await setUp();
    const settled = await all(async ({ keys }, writer) => {
      for (let n = 0; n < 5; n++) await keys.create({ territory, role: 'caller', actor: `writer ${writer}` });
    });
    expect(settled.filter(isFulfilled)).toHaveLength(WRITERS);
    expect(await first.audit.verify(territory)).toMatchObject({ intact: true, entries: 5 * WRITERS });
  });

  test('an invite for five devices lets in five', async () => {
    const { first, all } = await setUp();
    const { secret } = await first.invites.create({ territory, uses: 5, expiresInMs: 60_000, createdBy: 'key_s' });
    const token = joinTokenOf(secret);
    const settled = await all(({ invites }, writer) => invites.redeem(territory, token, device(writer + 1)));
    expect(settled.filter(isFulfilled)).toHaveLength(5);
    expect(await first.devices.list(territory)).toHaveLength(5);
    expect(await first.audit.verify(territory)).toMatchObject({ intact: true, entries: 6 });
  });

  test('one device that joins on every replica at once uses an invite once', async () => {
    const { first, all } = await setUp();
    const order = { territory, uses: 2, expiresInMs: 60_000, createdBy: 'key_s' };
    const token = joinTokenOf((await first.invites.create(order)).secret);
    const settled = await all(({ invites }) => invites.redeem(territory, token, device(1)));
    expect(settled.filter(isFulfilled)).toHaveLength(WRITERS);
    const { uses_left } = await first.db.selectFrom('invites').select('uses_left').executeTakeFirstOrThrow();
    expect(uses_left).toBe(1);
  });

  test('a key and a device that all revoke at once are revoked once', async () => {
    const { first, all } = await setUp();
    const key = await first.keys.create({ territory, role: 'caller', actor: 'hub' });
    const order = { territory, uses: 1, expiresInMs: 60_000, createdBy: 'key_s' };
    const token = joinTokenOf((await first.invites.create(order)).secret);
    const { id } = await first.invites.redeem(territory, token, device(1));
    const settled = await all(async ({ keys, devices }, writer) => {
      await keys.revoke({ territory, id: key.id, actor: `writer ${writer}` });
      await devices.revoke({ territory, id, actor: `writer ${writer}` });
    });
    expect(settled.filter(isFulfilled)).toHaveLength(WRITERS);
    const entries = await first.audit.list({ territory });
    expect(entries.filter(({ action }) => action.startsWith('revoke'))).toHaveLength(2);
  });

  test('devices that join, leave and are seen on all replicas are written without waiting for each other', async () => {
    const { first, all } = await setUp();
    const order = { territory, uses: 9, expiresInMs: 60_000, createdBy: 'key_s' };
    const token = joinTokenOf((await first.invites.create(order)).secret);
    const known: Device[] = [];
    for (let n = 1; n <= 9; n++) known.push(await first.invites.redeem(territory, token, device(n)));
    const settled = await all(async ({ devices, clock }, writer) => {
      for (const each of writer % 2 === 0 ? known : known.toReversed()) {
        const changed = { ...profile, gflops: writer, memoryBytes: clock.now() };
        await devices.describe(each, { name: each.name, consent: each.consent, profile: changed });
        devices.touch(territory, each.id);
      }
      await devices.flush();
    });
    expect(settled.filter(isFulfilled)).toHaveLength(WRITERS);
  });

  test('what requests used adds up to the last token', async () => {
    const { first, all } = await setUp();
    const models = ['cid_a', 'cid_b', 'cid_c'];
    const settled = await all(async ({ db }, writer) => {
      for (let n = 0; n < 5; n++) {
        await transact(db, async (transaction) => {
          const ids = models.map((model) => `req_${writer}_${n}_${model}`);
          await transaction
            .insertInto('requests')
            .values(
              models.map((model, index) => ({
                id: ids[index]!,
                territory_id: territory,
                key_id: 'key_a',
                model_cid: model,
                state: 'done' as const,
                reason: null,
                created_at_ms: 1,
                finished_at_ms: 1,
                prompt_tokens: 2,
                answer_tokens: 3,
                failovers: 0,
                exact: 1 as const,
                owner: null,
                run_id: null,
              })),
            )
            .execute();
          await countUsage(transaction, territory, writer % 2 === 0 ? ids : ids.toReversed());
        });
      }
    });
    expect(settled.filter(isFulfilled)).toHaveLength(WRITERS);
    const usage = await readUsage(first.db, { territory, from: '1970-01-01', to: '1970-01-01' }, 10);
    const sums = { requests: 100, promptTokens: 200, answerTokens: 300 };
    expect(usage).toMatchObject(models.map((model) => ({ model, ...sums })));
  });

  test('what two transactions lock crosswise is done by both', async () => {
    const { replicas } = await setUp();
    const [one, other] = replicas as [(typeof replicas)[0], (typeof replicas)[0]];
    const names = ['left', 'right'];
    await one.db
      .insertInto('secrets')
      .values(names.map((name) => ({ name, value: new Uint8Array(1) })))
      .execute();
    // On SQLite the second begins when the first is over.
    const isAlone = one.db === other.db;
    const met = Promise.withResolvers<void>();
    let waiting = 0;
    const write = (db: typeof one.db, order: readonly string[], value: number) =>
      transact(db, async (transaction) => {
        for (const name of order) {
          const set = transaction.updateTable('secrets').set({ value: new Uint8Array([value]) });
          await set.where('name', '=', name).execute();
          if (++waiting === 2 || isAlone) met.resolve();
          await met.promise;
        }
      });
    await Promise.all([write(one.db, names, 1), write(other.db, names.toReversed(), 2)]);
    const rows = await one.db.selectFrom('secrets').select('value').execute();
    expect(new Set(rows.map(({ value }) => value[0])).size).toBe(1);
  });

  test('turns around several transactions do not overlap, within a process and between them', async () => {
    const { replicas } = await setUp();
    const log: string[] = [];
    await Promise.all(
      replicas.map(({ db }, replica) =>
        inTurn(db, 'test', async (stillMine) => {
          log.push(`${replica} in`);
          await db.transaction().execute((transaction) => oneAtATime(transaction, 'inside'));
          await stillMine();
          log.push(`${replica} out`);
        }),
      ),
    );
    // SQLite's process has its own ways to take turns.
    if (replicas[0]!.db === replicas[1]!.db) return;
    for (let i = 0; i < log.length; i += 2) expect(log[i + 1]).toBe(log[i]!.replace('in', 'out'));
  });

  test('a turn that was lost is noticed before anything is done in it', async () => {
    const { first, replicas } = await setUp();
    if (replicas[0]!.db === replicas[1]!.db) return;
    const end = sql`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted
      and database = (select oid from pg_database where datname = current_database())`;
    const acting = inTurn(first.db, 'test', async (stillMine) => {
      await end.execute(replicas[1]!.db);
      await stillMine();
    });
    await expect(acting).rejects.toMatchObject({ code: 'database_unavailable' });
  });
});
