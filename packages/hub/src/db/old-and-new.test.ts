/**
 * While replicas are replaced one after the other, those of the version before work on the tables of the new one.
 *
 * `testing/version-0003.json` holds every statement that the rooms of version 0003 issued for a territory's life, with
 * what came back; it was recorded from that version and is replayed as it is: half of it before the tables are brought
 * to this version's and half after, with rooms of this version writing in between. A replica of before that is at work
 * at that moment goes on; since 0006 none can start beside.
 */
import { readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { createMemoryBlobStore, joinTokenOf, type DeviceProfile } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { CompiledQuery, Kysely } from 'kysely';
import { Pool } from 'pg';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { readUsage } from '../callers/usage.ts';
import { createDevices } from '../identity/devices.ts';
import { createInvites } from '../identity/invites.ts';
import { createKeys } from '../identity/keys.ts';
import { createModels } from '../models/registry.ts';
import { sharedPostgres } from '../testing/shared-postgres.ts';
import { POSTGRES_COLUMNS, SQLITE_COLUMNS, type ColumnTypes } from './column-types.ts';
import { MIGRATIONS, migrate, type Migration } from './migrate.ts';
import { POSTGRES_TYPES, createPostgresDialect } from './postgres-dialect.ts';
import type { Database, Schema } from './schema.ts';
import { createSqliteDialect } from './sqlite-dialect.ts';

type Recorded = string | number | null | { readonly hex: string };
interface Statement {
  readonly sql: string;
  readonly parameters: readonly Recorded[];
  readonly rows: readonly Readonly<Record<string, Recorded>>[];
}

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const recorded = read('testing/version-0003.json') as (Statement | { readonly upgrade: true })[];
const upgradeAt = recorded.findIndex((entry) => 'upgrade' in entry);
const [before, after] = [recorded.slice(0, upgradeAt), recorded.slice(upgradeAt + 1)] as [Statement[], Statement[]];
const until = (version: string): readonly Migration[] => MIGRATIONS.filter(({ name }) => name <= `${version}~`);
const valueOf = (value: Recorded): unknown =>
  value !== null && typeof value === 'object' ? new Uint8Array(Buffer.from(value.hex, 'hex')) : value;
const rowOf = (row: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(row).map(([name, value]) => [name, valueOf(value as Recorded)]));

const server = await sharedPostgres();
afterAll(() => server?.stop());

interface Place {
  readonly kind: 'SQLite' | 'PostgreSQL';
  readonly columns: ColumnTypes;
  open(): Promise<Kysely<Schema>>;
}
const sqlite: Place = {
  kind: 'SQLite',
  columns: SQLITE_COLUMNS,
  open: async () => new Kysely({ dialect: createSqliteDialect(new DatabaseSync(':memory:')) }),
};
const postgres: Place = {
  kind: 'PostgreSQL',
  columns: POSTGRES_COLUMNS,
  async open() {
    const pool = new Pool({ connectionString: await server?.createDatabase(), types: POSTGRES_TYPES });
    return new Kysely({ dialect: createPostgresDialect(pool, 'test').dialect });
  },
};

/** What the version before asked, answered as it was then; columns that it does not know do not count. */
async function replay(db: Database, kind: Place['kind'], { sql, parameters, rows }: Statement): Promise<void> {
  let count = 0;
  const text = kind === 'SQLite' ? sql : sql.replaceAll('?', () => `$${++count}`);
  // Version 0003 said "before any seq" by a number that PostgreSQL's integers, which it did not know, do not hold.
  const bound = (value: unknown): unknown =>
    kind === 'PostgreSQL' && value === Number.MAX_SAFE_INTEGER ? 2 ** 31 - 1 : value;
  const query = CompiledQuery.raw(
    text,
    parameters.map((value) => bound(valueOf(value))),
  );
  const { rows: found } = await db.executeQuery<object>(query);
  expect(found, sql).toHaveLength(rows.length);
  for (const row of rows) expect(found, sql).toContainEqual(expect.objectContaining(rowOf(row)));
}

function newRooms(db: Database) {
  const deps = { db, clock: systemClock, crypto: nodeCrypto, random: nodeRandom };
  const audit = createAudit(deps);
  const devices = createDevices({ ...deps, audit });
  const invites = createInvites({ ...deps, audit, devices });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 1_024 });
  return {
    audit,
    devices,
    invites,
    keys: createKeys({ ...deps, audit }),
    models: createModels({ ...deps, audit, store }),
  };
}

const profile: DeviceProfile = {
  ...{ platform: 'linux', arch: 'x64', cores: 2, memoryBytes: 1, gflops: 1, agentVersion: '1', engineBuild: 'e' },
  ...{ fingerprint: 'f', providers: [] },
};

/** Something that a hub of this version does, in a territory of its own. */
async function workBeside({ keys, invites }: ReturnType<typeof newRooms>, n: number): Promise<void> {
  const territory = 'ter_new';
  const { key, id } = await keys.create({ territory, role: 'caller', name: `new ${n}`, actor: 'hub' });
  await keys.authenticate(key);
  const { secret } = await invites.create({ territory, uses: 1, expiresInMs: 60_000, createdBy: id });
  const publicKey = new Uint8Array(32).fill(n + 1);
  const device = { publicKey, name: `device ${n}`, consent: new Uint8Array([n]), profile };
  await invites.redeem(territory, joinTokenOf(secret), device);
}

describe.each(server === undefined ? [sqlite] : [sqlite, postgres])('with $kind', ({ kind, columns, open }) => {
  async function setUp(): Promise<Kysely<Schema>> {
    const db = await open();
    onTestFinished(() => db.destroy());
    await migrate(db as never, { clock: systemClock, columns, migrations: until('0003') });
    return db;
  }

  test('hubs of version 0003 go on beside those of this one, and each reads what the other wrote', async () => {
    const db = await setUp();
    for (const statement of before) await replay(db, kind, statement);
    const later = MIGRATIONS.map(({ name }) => name).filter((name) => name > '0004');
    expect(await migrate(db as never, { clock: systemClock, columns })).toEqual(later);
    const rooms = newRooms(db);
    const { id: territory } = await db.selectFrom('territories').select('id').executeTakeFirstOrThrow();
    for (const [n, statement] of after.slice(0, -1).entries()) {
      await replay(db, kind, statement);
      if (n === 0) {
        const row = { id: 'ter_new', name: 'new', public_key: new Uint8Array(32), created_at_ms: 0 };
        await db.insertInto('territories').values(row).execute();
      }
      if (n % 8 === 0) await workBeside(rooms, n);
    }
    for (const each of [territory, 'ter_new']) expect(await rooms.audit.verify(each)).toMatchObject({ intact: true });
    expect((await rooms.keys.list(territory)).map(({ name }) => name).sort()).toEqual(['ada', 'bob', 'cleo', 'first']);
    expect((await rooms.devices.list(territory)).filter((device) => device.revokedAtMs === undefined)).toHaveLength(2);
    expect((await rooms.models.list(territory)).map(({ name, pinned }) => [name, pinned])).toEqual([['alpha', true]]);
    const usage = await readUsage(db, { territory, from: '2020-01-01', to: '2030-01-01' }, 10);
    expect(usage).toMatchObject([{ requests: 4, failed: 3, promptTokens: 20 }]);
    const owners = await db.selectFrom('requests').select(['owner', 'owner_epoch', 'choice']).distinct().execute();
    expect(owners).toEqual([{ owner: null, owner_epoch: 0, choice: 0 }]);
  });

  test('a hub one version behind opens the database, and one that is further behind refuses it', async () => {
    const db = await setUp();
    const next = { name: '0005-next', worksFor: '0004-replicas', up: async () => {} };
    const openAs = (migrations: readonly Migration[]) =>
      migrate(db as never, { clock: systemClock, columns, migrations });
    await openAs(until('0004'));
    expect(await openAs(until('0003'))).toEqual([]);
    await openAs([...until('0004'), next]);
    expect(await openAs(until('0004'))).toEqual([]);
    await expect(openAs(until('0003'))).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('0005-next'),
    });
    // One that says nothing works for nobody but newer ones.
    await openAs([...until('0004'), next, { name: '0006-breaks', up: async () => {} }]);
    await expect(openAs([...until('0004'), next])).rejects.toMatchObject({ code: 'conflict' });
  });
});
