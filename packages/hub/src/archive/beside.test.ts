/** Claims about archives of a hub with many communities, and of one of them alone. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeCbor, idOfKey, type BlobStore } from '@idlewild/protocol';
import { createDiskBlobStore, nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { storeTinyModel } from '@idlewild/protocol/testing';
import { afterAll, expect, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { MIGRATIONS } from '../db/migrate.ts';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { createHub, type Hub } from '../hub.ts';
import { createDiskSecrets, secretsOf, type Secrets } from '../identity/secrets.ts';
import { insertTerritory, makeTerritoryKey } from '../identity/territory.ts';
import { silentLog } from '../log.ts';
import { backUp } from './back-up.ts';
import { restore, type RestoreOptions } from './restore.ts';
import { writeArchive } from './write-archive.ts';

const home = mkdtempSync(join(tmpdir(), 'idlewild-beside-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const newFolder = (): string => mkdtempSync(join(home, 'hub-'));
let files = 0;
const newFile = (): string => join(home, `${++files}.idlewild`);
const common = { clock: systemClock, crypto: nodeCrypto, random: nodeRandom, signal: new AbortController().signal };
const quotaBytes = 2 ** 30;

interface Open {
  readonly database: OpenDatabase;
  readonly store: BlobStore;
  readonly secrets: Secrets;
  hub(territory?: string): Promise<Hub>;
  further(name: string): Promise<Hub>;
  close(): Promise<void>;
}

/** A hub in a folder, without its doors. */
async function openIn(data: string): Promise<Open> {
  const database = await openDatabase({ file: join(data, 'hub.db'), clock: systemClock, sync: 'off' });
  const store = await createDiskBlobStore({ folder: join(data, 'blobs'), quotaBytes, crypto: nodeCrypto });
  const secrets = createDiskSecrets(data);
  const meter = { ended: () => {}, firstToken: () => {} };
  const hubs: Hub[] = [];
  const hub = async (territory?: string): Promise<Hub> => {
    const opened = await createHub({ ...common, database, store, secrets, territory, meter, log: silentLog });
    hubs.push(opened);
    return opened;
  };
  return {
    database,
    store,
    secrets,
    hub,
    async further(name) {
      const made = await makeTerritoryKey(common, (id) => secretsOf(secrets, id));
      const audit = createAudit({ db: database.db, crypto: nodeCrypto, clock: systemClock });
      const order = { ...made, name };
      await database.db.transaction().execute((tx) => insertTerritory(tx, { clock: systemClock, audit }, order, 'hub'));
      return hub(made.id);
    },
    async close() {
      for (const each of hubs) await each.stop();
      await database.close();
    },
  };
}

/** With a key, a model of its own, a person and a group. */
async function furnish(open: Open, hub: Hub, name: string): Promise<string> {
  const territory = hub.territory.id;
  const manifest = await storeTinyModel(open.store, `the weights of ${name}`, { crypto: nodeCrypto });
  await hub.models.add({ territory, name: `${name}-model`, manifest, actor: 'test' });
  const person = `per_${name.padEnd(26, 'a')}`;
  const { db } = open.database;
  await db.insertInto('people').values({ id: person, name, created_at_ms: 1 }).execute();
  await db
    .insertInto('members')
    .values({ territory_id: territory, person_id: person, name, state: 'active', joined_at_ms: 1 })
    .execute();
  await hub.signIn.providers.add({ ...PROVIDER, clientSecret: `the secret of ${name}` });
  return (await hub.keys.create({ territory, role: 'caller', name, actor: 'test' })).key;
}

const PROVIDER = {
  name: 'The university',
  issuer: 'https://login.example.edu',
  clientId: 'idlewild',
  admission: { domains: [], claims: [] },
  role: 'member',
  actor: 'test',
};
async function providerSecret({ signIn: { providers } }: Hub): Promise<string | undefined> {
  const [provider] = await providers.list();
  return providers.secretOf(provider?.id ?? '');
}

async function twoOnOne(): Promise<{ data: string; ids: string[]; keys: string[] }> {
  const data = newFolder();
  const open = await openIn(data);
  const [first, choir] = [await open.hub(), await open.further('choir')];
  const keys = [await furnish(open, first, 'home'), await furnish(open, choir, 'choir')];
  await open.close();
  return { data, ids: [first.territory.id, choir.territory.id], keys };
}

const take = (data: string, file: string, kind: 'backup' | 'territory', territory?: string) =>
  backUp({ ...common, place: { data }, file, kind, territory, withBlobs: true });
const put = (data: string, file: string, kind: 'backup' | 'territory', more: Partial<RestoreOptions> = {}) =>
  restore({ ...common, place: { data }, file, kind, quotaBytes, ...more });

const readAll = (archive: string): string => readFileSync(archive, 'latin1');

test('a backup holds every community of a hub, and all of them go on from it', async () => {
  const { data, ids, keys } = await twoOnOne();
  const file = newFile();
  const manifest = await take(data, file, 'backup');
  expect(manifest).toMatchObject({ territory: { id: ids[0] }, further: [{ id: ids[1], name: 'choir' }] });
  const copy = newFolder();
  await put(copy, file, 'backup');
  const open = await openIn(copy);
  const [first, choir] = [await open.hub(), await open.hub(ids[1])];
  expect([first.territory.id, choir.territory.id]).toEqual(ids);
  expect(await first.keys.authenticate(keys[0])).toMatchObject({ territory: ids[0] });
  expect(await choir.keys.authenticate(keys[1])).toMatchObject({ territory: ids[1] });
  expect((await choir.models.list(choir.territory.id)).map(({ name }) => name)).toEqual(['choir-model']);
  expect(await Promise.all([first, choir].map(providerSecret))).toEqual(['the secret of home', 'the secret of choir']);
  expect(await choir.audit.verify(choir.territory.id)).toMatchObject({ intact: true });
  await open.close();
});

test('one of many is exported alone, by its id or its name: nothing of the others is in it', async () => {
  const { data, ids } = await twoOnOne();
  for (const [wanted, id, name, other] of [
    ['choir', ids[1], 'choir', 'home'],
    [ids[1], ids[1], 'choir', 'home'],
    [undefined, ids[0], 'home', 'choir'],
  ] as const) {
    const file = newFile();
    const manifest = await take(data, file, 'territory', wanted);
    expect(manifest.territory).toEqual({ id, name });
    expect(manifest.rows).toMatchObject({ territories: 1, keys: 1, models: 1, people: 1, members: 1 });
    const bytes = readAll(file);
    expect(bytes).toContain(`the weights of ${name}`);
    for (const foreign of [`the weights of ${other}`, `${other}-model`, `per_${other}`])
      expect(bytes).not.toContain(foreign);
  }
  await expect(take(data, newFile(), 'territory', 'nobody')).rejects.toMatchObject({ code: 'not_found' });
});

test('it comes to a hub that has others, which stay as they were, and goes on there', async () => {
  const { data, ids, keys } = await twoOnOne();
  const file = newFile();
  await take(data, file, 'territory', 'choir');
  const there = newFolder();
  const before = await openIn(there);
  const theirs = await furnish(before, await before.hub(), 'home');
  await before.close();
  await expect(put(there, file, 'territory')).rejects.toMatchObject({ code: 'conflict' });
  await put(there, file, 'territory', { beside: true });
  await expect(put(there, file, 'territory', { beside: true })).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('already'),
  });
  expect(existsSync(join(there, 'territories', ids[1] as string, 'territory.key'))).toBe(true);
  const open = await openIn(there);
  const [first, choir] = [await open.hub(), await open.hub(ids[1])];
  expect(await first.keys.authenticate(theirs)).toMatchObject({ territory: first.territory.id });
  expect(await choir.keys.authenticate(keys[1])).toMatchObject({ territory: ids[1] });
  expect(await providerSecret(choir)).toBe('the secret of choir');
  expect(await providerSecret(first)).toBe('the secret of home');
  const [model] = await choir.models.list(choir.territory.id);
  expect(await open.store.hasFile((model as NonNullable<typeof model>).manifest.files[0]?.file as never)).toBe(true);
  expect(await choir.audit.verify(choir.territory.id)).toMatchObject({ intact: true });
  expect((await choir.audit.list({ territory: choir.territory.id }))[0]).toMatchObject({ action: 'importTerritory' });
  await open.close();
});

test('people whose ids are known there are not taken for the same, unless whoever runs the hub says so', async () => {
  const { data } = await twoOnOne();
  const file = newFile();
  await take(data, file, 'territory', 'choir');
  const there = newFolder();
  const before = await openIn(there);
  await before.hub();
  const { db } = before.database;
  await db
    .insertInto('people')
    .values({ id: `per_${'choir'.padEnd(26, 'a')}`, name: 'another', created_at_ms: 1 })
    .execute();
  await before.close();
  const refused = put(there, file, 'territory', { beside: true });
  await expect(refused).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('--same-people') });
  const between = await openIn(there);
  expect(await between.database.db.selectFrom('territories').select('name').execute()).toEqual([{ name: 'home' }]);
  await between.close();
  await put(there, file, 'territory', { beside: true, samePeople: true });
  const after = await openIn(there);
  expect(await after.database.db.selectFrom('people').select('name').execute()).toEqual([{ name: 'another' }]);
  await after.close();
});

test('an archive whose rows are of another community than its key says changes nothing', async () => {
  const victim = newFolder();
  const open = await openIn(victim);
  const hub = await open.hub();
  await open.close();
  const territory = hub.territory.id;
  const seed = nodeRandom.bytes(32);
  const { publicKey } = await nodeCrypto.signingKey(seed);
  const own = await idOfKey('ter', publicKey, nodeCrypto);
  const row = { id: own, name: 'guests', public_key: publicKey, created_at_ms: 1, closed_at_ms: null };
  const key = { id: 'key_forged', role: 'steward', name: '', hash: 'h', created_at_ms: 1, data_class: 'internal' };
  const member = { territory_id: own, name: 'x', state: 'active', joined_at_ms: 1, person_id: 'per_of_the_victim' };
  for (const [table, forged, words] of [
    ['keys', { ...key, territory_id: territory }, /not of ter_/],
    ['territories', { ...row, id: territory }, /not of ter_/],
    ['members', member, /did not come along/],
    ['duties', { name: 'expiry', holder: 'me', epoch: 9, expires_at_ms: 9 }, /does not know|not of ter_/],
  ] as const) {
    const file = newFile();
    await forge(file, {
      territory: { id: own, name: 'guests' },
      seed,
      tables: { territories: [row], [table]: [forged] },
    });
    const refused = put(victim, file, 'territory', { beside: true });
    await expect(refused, table).rejects.toMatchObject({ message: expect.stringMatching(words) });
  }
  const other = newFile();
  await forge(other, { territory: { id: territory, name: 'guests' }, seed, tables: {} });
  await expect(put(victim, other, 'territory', { beside: true })).rejects.toMatchObject({ code: 'conflict' });
  const after = await openIn(victim);
  const { db } = after.database;
  expect(await db.selectFrom('territories').select('id').execute()).toEqual([{ id: territory }]);
  expect(await db.selectFrom('keys').select('id').execute()).toEqual([]);
  await after.close();
});

interface Forged {
  readonly territory: { readonly id: string; readonly name: string };
  readonly seed: Uint8Array;
  readonly tables: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;
}

/** An archive that no hub has written. */
async function forge(file: string, { territory, seed, tables }: Forged): Promise<void> {
  const options = { file, kind: 'territory', nowMs: 1, random: nodeRandom, signal: common.signal } as const;
  await writeArchive(options, async (writer) => {
    await writer.part('secrets/territory.key', seed);
    for (const [table, rows] of Object.entries(tables)) {
      const columns = Object.keys(rows[0] ?? {});
      const page = { columns, rows: rows.map((row) => columns.map((column) => row[column])) };
      await writer.part(`tables/${table}.000001`, encodeCbor(page));
    }
    const migrations = MIGRATIONS.map(({ name }) => name);
    return { territory, migrations, rows: {}, withBlobs: false, incomplete: [] };
  });
}
