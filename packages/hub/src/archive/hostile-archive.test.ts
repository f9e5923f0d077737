/** Claims about archives that somebody made to do more than a hub's would: names that lead elsewhere, statements. */
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeCbor, idOfKey } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { MIGRATIONS } from '../db/migrate.ts';
import { openDatabase } from '../db/open.ts';
import { restore } from './restore.ts';
import { writeArchive } from './write-archive.ts';

const home = mkdtempSync(join(tmpdir(), 'idlewild-hostile-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const common = { clock: systemClock, crypto: nodeCrypto, random: nodeRandom, signal: new AbortController().signal };
/** What restoring may make in the folder that it was told. */
const OWN = /^(lock|hub\.db.*|blobs|.+\.key|territories)$/;
const page = (columns: readonly string[], rows: readonly (readonly unknown[])[]): Uint8Array =>
  encodeCbor({ columns, rows });
const TEXT = new TextEncoder().encode('owned');

test.each([
  ['secrets/../owned', TEXT],
  ['secrets/../../owned', TEXT],
  ['secrets//owned', TEXT],
  ['secrets/ter_aaaa.../../owned', TEXT],
  ['territories/../../owned', TEXT],
  ['territories/ter_a/../../owned.territory.key', TEXT],
  ['folder/../owned', TEXT],
  ['folder/..\\owned', TEXT],
  ['folder/lock', TEXT],
  ['../owned', TEXT],
  ['/tmp/owned', TEXT],
  ['blocks/../../owned', TEXT],
  ['files/../../owned', TEXT],
  ['tables/../owned', TEXT],
  ['tables/keys; drop table territories; --', page(['id'], [['owned']])],
  ['tables/territories.000002', page(['id") values (1); drop table keys; --'], [['owned']])],
  ['tables/sqlite_master.000001', page(['name'], [['owned']])],
  ['tables/migrations.000001', page(['name', 'applied_at_ms'], [['owned', 1]])],
])('an archive with the part %j puts nothing anywhere else, and runs nothing', async (name, bytes) => {
  const root = mkdtempSync(join(home, 'root-'));
  const data = join(root, 'data');
  mkdirSync(data);
  writeFileSync(join(root, 'precious'), 'mine');
  const file = join(root, 'hostile.idlewild');
  const seed = nodeRandom.bytes(32);
  const key = await nodeCrypto.signingKey(seed);
  const id = await idOfKey('ter', key.publicKey, nodeCrypto);
  const options = { file, kind: 'backup', nowMs: 1, random: nodeRandom, signal: common.signal } as const;
  await writeArchive(options, async (writer) => {
    await writer.part('secrets/territory.key', seed);
    const row = page(['id', 'name', 'public_key', 'created_at_ms'], [[id, 'guests', key.publicKey, 1]]);
    await writer.part('tables/territories.000001', row);
    await writer.part(name, bytes);
    const migrations = MIGRATIONS.map((migration) => migration.name);
    return { territory: { id, name: 'guests' }, migrations, rows: {}, withBlobs: false, incomplete: [] };
  });
  const done = await restore({ ...common, place: { data }, file, kind: 'backup', quotaBytes: 2 ** 20 }).then(
    () => true,
    () => false,
  );
  expect(readdirSync(root).sort()).toEqual(['data', 'hostile.idlewild', 'precious']);
  expect(readdirSync(data).filter((each) => !OWN.test(each))).toEqual([]);
  expect(readdirSync(data, { recursive: true }).filter((each) => String(each).includes('owned'))).toEqual([]);
  expect(existsSync('/tmp/owned')).toBe(false);
  // What has no place is left out; bytes under a name that is none, and rows of no table, end it.
  expect(done).toBe(/^(secrets|territories|folder|\.\.|)\//.test(name));
  if (!done) return;
  const { db, close } = await openDatabase({ file: join(data, 'hub.db'), clock: systemClock });
  expect(await db.selectFrom('territories').select('name').execute()).toEqual([{ name: 'guests' }]);
  expect(await db.selectFrom('keys').select('id').execute()).toEqual([]);
  await close();
});

test.each(['a file that somebody has open', 'a link to another place'])(
  'who laid %s where an archive is to be written gets nothing of it',
  async (what) => {
    const root = mkdtempSync(join(home, 'shared-'));
    const [file, other] = [join(root, 'hub.idlewild'), join(root, 'other')];
    writeFileSync(other, 'mine', { mode: 0o666 });
    if (what.includes('link')) symlinkSync(other, `${file}.next`);
    else writeFileSync(`${file}.next`, '', { mode: 0o666 });
    const seen = openSync(`${file}.next`, 'r');
    onTestFinished(() => closeSync(seen));
    const options = { file, kind: 'backup', nowMs: 1, random: nodeRandom, signal: common.signal } as const;
    await writeArchive(options, async (writer) => {
      await writer.part('secrets/territory.key', nodeRandom.bytes(32));
      return { territory: { id: 'ter_a', name: 'guests' }, migrations: [], rows: {}, withBlobs: false, incomplete: [] };
    });
    expect(readFileSync(seen, 'utf8')).toBe(what.includes('link') ? 'mine' : '');
    expect(readFileSync(other, 'utf8')).toBe('mine');
    expect(lstatSync(file)).toMatchObject({ mode: 0o100600 });
    expect(existsSync(`${file}.next`)).toBe(false);
  },
);
