import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { idOfKey } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MIGRATIONS, migrate } from '../db/migrate.ts';
import { openDatabase, type BringTables } from '../db/open.ts';
import { createDiskSecrets } from '../identity/secrets.ts';
import { sharedPostgres } from '../testing/shared-postgres.ts';
import { backUp, type BackUpOptions } from './back-up.ts';
import type { Place } from './place.ts';
import { restore, type RestoreOptions } from './restore.ts';
import { ARCHIVED_TABLES, TABLES_NOT_ARCHIVED } from './tables.ts';
import {
  QUOTA_BYTES,
  checkWhole,
  makePlace,
  publishLarge,
  putTlsKey,
  startIn,
  type HubInPlace,
  type PlaceKind,
  type TestPlace,
} from './testing/places.ts';

const home = mkdtempSync(join(tmpdir(), 'idlewild-archive-'));
const postgres = await sharedPostgres();
afterAll(async () => {
  await postgres?.stop();
  rmSync(home, { recursive: true, force: true });
});
const kinds: PlaceKind[] = postgres === undefined ? ['folder'] : ['folder', 'PostgreSQL'];
const newPlace = (kind: PlaceKind): Promise<TestPlace> => makePlace(kind, home, postgres);
let files = 0;
const newFile = (): string => join(mkdtempSync(join(home, 'out-')), `${++files}.idlewild`);
const common = { clock: systemClock, crypto: nodeCrypto, random: nodeRandom, signal: new AbortController().signal };
const take = (place: Place, file: string, more: Partial<BackUpOptions> = {}) =>
  backUp({ ...common, place, file, kind: 'backup', ...more });
const put = (file: string, place: Place, more: Partial<RestoreOptions> = {}) =>
  restore({ ...common, place, file, kind: 'backup', quotaBytes: QUOTA_BYTES, ...more });

async function ask({ door }: HubInPlace, key = door.key): Promise<number> {
  const response = await fetch(`${door.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'jacobean', messages: [{ role: 'user', content: 'Speak.' }], max_tokens: 20 }),
  });
  await response.text();
  return response.status;
}

test('every table is archived, or is known not to be', async () => {
  const { db, close } = await openDatabase({ file: ':memory:', clock: systemClock });
  const tables = (await db.introspection.getTables())
    .map(({ name }) => name)
    .filter((name) => !name.startsWith('migrations'));
  expect(tables.sort()).toEqual([...ARCHIVED_TABLES.map(({ name }) => name), ...TABLES_NOT_ARCHIVED].sort());
  await close();
});

describe.each(kinds)('a backup of a hub in a %s', (from) => {
  let hub: HubInPlace;
  beforeAll(async () => {
    hub = await startIn(await newPlace(from));
    await hub.door.join(() => ({ tokens: ['Good', ' morrow'] }));
    await publishLarge(hub, 'large', 1);
    putTlsKey(hub);
    await ask(hub);
  });
  afterAll(() => hub.close());

  test.for(kinds)('that runs becomes a whole hub in a %s', async (to) => {
    const file = newFile();
    const manifest = await take(hub.place, file);
    expect(manifest).toMatchObject({
      kind: 'backup',
      territory: { name: 'home' },
      hub: hub.door.hub.id,
      incomplete: [],
    });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(file, '..'))).toHaveLength(1);
    const place = await newPlace(to);
    await put(file, place);
    expect(readFileSync(join(place.data, 'tls.key'), 'utf8')).toBe('a key');

    const again = await startIn(place);
    await checkWhole(again);
    expect(again.door.hub.id).toBe(hub.door.hub.id);
    const models = (await again.door.hub.models.list(again.door.hub.territory.id)).map(({ name }) => name);
    expect(models).toEqual(['jacobean', 'large']);
    await again.door.join(() => ({ tokens: ['Well', ' met'] }));
    expect(await ask(again, hub.door.key)).toBe(200);
    const acts = await again.door.hub.audit.list({ territory: again.door.hub.territory.id });
    expect(acts.map(({ action }) => action)).toEqual(expect.arrayContaining(['restore', 'backUp']));
    await again.close();
  });

  test('that was cut off anywhere or damaged in any part is refused by name, and nothing is changed', async () => {
    const file = newFile();
    const { parts } = await take(hub.place, file);
    const whole = readFileSync(file);
    const place = await newPlace('folder');
    const refused = async (bytes: Uint8Array, words: RegExp): Promise<void> => {
      writeFileSync(`${file}.bad`, bytes);
      await expect(put(`${file}.bad`, place)).rejects.toMatchObject({ message: expect.stringMatching(words) });
      expect(readdirSync(place.data)).toEqual([]);
    };
    for (const { name } of parts.filter(({ bytes }) => bytes > 0)) {
      const at = whole.indexOf(`${name}\0`) + 512;
      const bad = Buffer.from(whole);
      bad[at] = (bad[at] as number) ^ 1;
      await refused(bad, new RegExp(name.replaceAll('.', '\\.')));
    }
    for (const end of [0, 300, 700, whole.length >> 1, whole.length - 1_600])
      await refused(whole.subarray(0, end), /cannot be used|no archive/);
    await refused(Buffer.from('x'.repeat(10_000)), /no archive/);
  });

  test('that is sealed opens with its passphrase only', async () => {
    const file = newFile();
    await take(hub.place, file, { passphrase: 'the rain it raineth' });
    expect(readFileSync(file).includes('territory')).toBe(false);
    const place = await newPlace(from);
    await expect(put(file, place)).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/sealed/) });
    await expect(put(file, place, { passphrase: 'every day' })).rejects.toMatchObject({ code: 'usage' });
    const whole = readFileSync(file);
    for (const end of [whole.length - 1, (whole.length >> 21) << 20]) {
      writeFileSync(`${file}.bad`, whole.subarray(0, end));
      const cut = put(`${file}.bad`, place, { passphrase: 'the rain it raineth' });
      await expect(cut).rejects.toMatchObject({ code: 'data_corrupt' });
    }
    await put(file, place, { passphrase: 'the rain it raineth' });
    const again = await startIn(place);
    await checkWhole(again);
    await again.close();
  });

  test('that is cancelled leaves nothing, and the one before it as it was', async () => {
    const file = newFile();
    writeFileSync(file, 'the one before');
    const cancel = new AbortController();
    const taking = take(hub.place, file, { signal: cancel.signal, onProgress: () => cancel.abort() });
    await expect(taking).rejects.toMatchObject({ code: 'cancelled' });
    expect(readdirSync(join(file, '..'))).toHaveLength(1);
    expect(readFileSync(file, 'utf8')).toBe('the one before');
  });

  test('goes into an empty place only', async () => {
    const file = newFile();
    await take(hub.place, file);
    await expect(put(file, hub.place)).rejects.toMatchObject({ code: expect.stringMatching(/conflict|data_locked/) });
    const place = await newPlace(from);
    await put(file, place);
    for (const force of [false, true])
      await expect(put(file, place, { force })).rejects.toMatchObject({
        code: 'conflict',
        message: expect.stringMatching(/not empty/),
      });
  });

  test('that fails on its way in leaves the place empty', async () => {
    const file = newFile();
    await take(hub.place, file);
    const place = await newPlace(from);
    await expect(put(file, place, { quotaBytes: 1_000 })).rejects.toMatchObject({ code: 'quota_exceeded' });
    await put(file, place);
  });

  test('whose restore was killed is refused by every hub, and begun anew with --force', async () => {
    const file = newFile();
    await take(hub.place, file);
    const place = await newPlace(from);
    killedRestore(file, place);
    await expect(startIn(place)).rejects.toMatchObject({
      code: 'data_corrupt',
      message: expect.stringMatching(/--force/),
    });
    await expect(put(file, place)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/--force/),
    });
    await put(file, place, { force: true });
    const again = await startIn(place);
    await checkWhole(again);
    await again.close();
  });
});

test.for(kinds)('a backup of a hub in a %s under load is of one moment, and its models are whole', async (kind) => {
  const hub = await startIn(await newPlace(kind));
  await hub.door.join(() => ({ tokens: ['Good', ' morrow'] }));
  const models = async (): Promise<number> => (await hub.door.hub.models.list(hub.door.hub.territory.id)).length;
  const stop = new AbortController();
  const load = Array.from({ length: 4 }, async (_, index) => {
    for (let seed = 10; !stop.signal.aborted; seed++) {
      expect(await ask(hub)).toBe(200);
      if (index === 0) await publishLarge(hub, `large-${seed}`, seed);
    }
  });
  const file = newFile();
  const incomplete: string[] = [];
  while ((await models()) < 4) incomplete.push(...(await take(hub.place, file)).incomplete);
  stop.abort();
  await Promise.all(load);
  expect(incomplete).toEqual([]);
  await hub.close();
  const place = await newPlace(kind);
  await put(file, place);
  const again = await startIn(place);
  await checkWhole(again);
  await again.close();
});

/** With `kill -9` in the middle. */
function killedRestore(file: string, place: Place): void {
  const script = join(import.meta.dirname, 'testing', 'killed-restore.ts');
  const { signal, stderr } = spawnSync(process.execPath, [
    script,
    JSON.stringify({ file, place, quotaBytes: QUOTA_BYTES }),
  ]);
  expect(signal, stderr.toString()).toBe('SIGKILL');
}

test('a file that is damaged at its hub is named and kept in part, and publishing it again mends it', async () => {
  const hub = await startIn(await newPlace('folder'));
  await publishLarge(hub, 'large', 1);
  const [large] = readdirSync(join(hub.place.data, 'blobs', 'files')).filter(
    (name) => statSync(join(hub.place.data, 'blobs', 'files', name)).size > 2 ** 21,
  );
  const path = join(hub.place.data, 'blobs', 'files', large as string);
  const bytes = readFileSync(path);
  bytes[2 ** 20 + 5] = (bytes[2 ** 20 + 5] as number) ^ 1;
  writeFileSync(path, bytes);
  const file = newFile();
  expect((await take(hub.place, file)).incomplete).toEqual(['large']);
  const place = await newPlace('folder');
  await put(file, place);
  await hub.close();
  expect(existsSync(join(place.data, 'blobs', 'files', `${large}.part`))).toBe(true);
  const again = await startIn(place);
  await expect(checkWhole(again)).rejects.toThrow(/not stored|missing|damaged/);
  await publishLarge(again, 'large', 1);
  await checkWhole(again);
  await again.close();
});

test('an archive of an older Idlewild is brought to this version, data and all', async () => {
  const place = await newPlace('folder');
  const bring: BringTables = (db, how) => migrate(db, { ...how, migrations: MIGRATIONS.slice(0, 1) });
  const { db, close } = await openDatabase({ file: join(place.data, 'hub.db'), clock: systemClock, bring });
  const { publicKey, privateKey } = await nodeCrypto.signingKey(nodeRandom.bytes(32));
  const id = await idOfKey('ter', publicKey, nodeCrypto);
  await db.insertInto('territories').values({ id, name: 'old', public_key: publicKey, created_at_ms: 1 }).execute();
  await sql`insert into requests (id, territory_id, key_id, model_cid, state, created_at_ms, finished_at_ms,
    prompt_tokens, answer_tokens, failovers, exact) values ('req_1', ${id}, 'key_1', 'cid', 'done', 1, 2, 3, 4,
    0, 1)`.execute(db);
  await close();
  await createDiskSecrets(place.data).write('territory.key', privateKey, 'a key');
  const file = newFile();
  expect((await take(place, file)).migrations).toEqual(['0001-first']);
  const target = await newPlace('folder');
  await put(file, target);
  const again = await startIn(target);
  await checkWhole(again);
  const usage = await again.database.db.selectFrom('usage').select(['requests', 'answer_tokens']).execute();
  expect(usage).toEqual([{ requests: 1, answer_tokens: 4 }]);
  await again.close();
});

test('an archive of a newer Idlewild is refused before anything is changed', async () => {
  const hub = await startIn(await newPlace('folder'));
  const file = newFile();
  await take(hub.place, file);
  await hub.close();
  const last = MIGRATIONS.at(-1)?.name as string;
  const later = readFileSync(file)
    .toString('latin1')
    .replaceAll(`"${last}"`, `"9${last.slice(1)}"`);
  writeFileSync(file, Buffer.from(later, 'latin1'));
  const place = await newPlace('folder');
  await expect(put(file, place)).rejects.toMatchObject({ code: 'conflict', message: expect.stringMatching(/newer/) });
  expect(readdirSync(place.data)).toEqual([]);
});

test('a folder without a hub, or a place that cannot be written, is said so', async () => {
  const place = await newPlace('folder');
  await expect(take(place, newFile())).rejects.toMatchObject({ code: 'not_found' });
  const hub = await startIn(place);
  await expect(take(place, '/nowhere/at/all')).rejects.toMatchObject({ code: 'usage' });
  await expect(take(place, home)).rejects.toMatchObject({ code: 'usage' });
  await hub.close();
});
