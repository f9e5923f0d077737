import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFakeClock } from '@idlewild/protocol/testing';
import { afterAll, expect, test } from 'vitest';
import { SQLITE_COLUMNS } from './column-types.ts';
import { MIGRATIONS, migrate } from './migrate.ts';
import { openDatabase } from './open.ts';

const folder = mkdtempSync(join(tmpdir(), 'idlewild-db-'));
afterAll(() => rmSync(folder, { recursive: true }));
const clock = createFakeClock(async () => {});
const open = (name: string) => openDatabase({ file: join(folder, name), clock, sync: 'off' });

const territory = (id: string) => ({ id, name: 'home', public_key: new Uint8Array(32), created_at_ms: clock.now() });
const key = (id: string, name: string) => ({
  id,
  territory_id: 'ter_a',
  role: 'caller' as const,
  name,
  hash: id,
  created_at_ms: 1,
  expires_at_ms: null,
  revoked_at_ms: null,
});

test('the first opening makes every table and the second changes nothing', async () => {
  const first = await open('twice.db');
  expect(first.migrated).toEqual(MIGRATIONS.map(({ name }) => name));
  await first.db.insertInto('territories').values(territory('ter_a')).execute();
  await first.close();
  const second = await open('twice.db');
  expect(second.migrated).toEqual([]);
  expect(await second.db.selectFrom('territories').select('id').execute()).toEqual([{ id: 'ter_a' }]);
  await second.close();
});

test.skipIf(process.platform === 'win32')(
  'no other user of the machine may read it, nor what is beside it',
  async () => {
    for (const before of [0o600, 0o644]) {
      const first = await open('mine.db');
      await first.db
        .insertInto('territories')
        .values(territory(`ter_${before}`))
        .execute();
      const files = readdirSync(folder).filter((name) => name.startsWith('mine.db'));
      expect(files).toHaveLength(3);
      expect(files.map((name) => statSync(join(folder, name)).mode & 0o777)).toEqual([0o600, 0o600, 0o600]);
      await first.close();
      chmodSync(join(folder, 'mine.db'), 0o644);
    }
  },
);

test('what was committed is there after an abrupt end, and what was not is gone', async () => {
  const before = await open('crash.db');
  await before.db.insertInto('territories').values(territory('ter_a')).execute();
  const reached = Promise.withResolvers<void>();
  const dying = before.db.transaction().execute(async (transaction) => {
    await transaction.insertInto('territories').values(territory('ter_b')).execute();
    reached.resolve();
    await clock.settle();
    before.abandon();
    await transaction.insertInto('territories').values(territory('ter_c')).execute();
  });
  await reached.promise;
  await expect(dying).rejects.toThrow(/not open/);
  const after = await open('crash.db');
  expect(await after.db.selectFrom('territories').select('id').execute()).toEqual([{ id: 'ter_a' }]);
  await after.close();
});

test('closing waits for the transaction that is open', async () => {
  const { db, close } = await open('close.db');
  const writing = db.transaction().execute(async (transaction) => {
    for (const id of ['ter_a', 'ter_b']) await transaction.insertInto('territories').values(territory(id)).execute();
  });
  await close();
  await writing;
  const again = await open('close.db');
  expect(await again.db.selectFrom('territories').select('id').execute()).toHaveLength(2);
  await again.close();
});

test('a file that is no database is refused with the way out and left as it was', async () => {
  const file = join(folder, 'text.db');
  writeFileSync(file, 'certainly not a database\n'.repeat(400));
  const before = readFileSync(file);
  await expect(open('text.db')).rejects.toMatchObject({
    code: 'data_corrupt',
    message: expect.stringMatching(/text\.db.*backup.*--data/s),
  });
  expect(readFileSync(file)).toEqual(before);
  expect(readdirSync(folder).filter((name) => name.startsWith('text.db'))).toEqual(['text.db']);
});

test('damage in the middle of a database is found at opening, and the file is left as it was', async () => {
  const { db, close } = await open('hole.db');
  await db.insertInto('territories').values(territory('ter_a')).execute();
  const names = Array.from({ length: 500 }, (_, index) => key(`key_${index}`, 'n'.repeat(200)));
  for (let i = 0; i < names.length; i += 50)
    await db
      .insertInto('keys')
      .values(names.slice(i, i + 50))
      .execute();
  await close();
  const file = join(folder, 'hole.db');
  const bytes = readFileSync(file);
  bytes.fill(0xa5, bytes.length >> 1, (bytes.length >> 1) + 8_192);
  writeFileSync(file, bytes);
  await expect(open('hole.db')).rejects.toMatchObject({ code: 'data_corrupt' });
  expect(readFileSync(file)).toEqual(bytes);
});

test('a database of a newer version is refused and left as it was', async () => {
  const newer = await open('newer.db');
  const columns = SQLITE_COLUMNS;
  const migrations = [...MIGRATIONS, { name: '9999-from-the-future', up: async () => {} }];
  expect(await migrate(newer.db as never, { clock, columns, migrations })).toEqual(['9999-from-the-future']);
  await newer.close();
  await expect(open('newer.db')).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('9999-from-the-future'),
  });
});

test('a migration that fails leaves the version before it', async () => {
  const { db, close } = await open('half.db');
  const migrations = [
    ...MIGRATIONS,
    {
      name: '0999-breaks',
      async up() {
        throw new Error('on purpose');
      },
    },
  ];
  await expect(migrate(db as never, { clock, columns: SQLITE_COLUMNS, migrations })).rejects.toThrow('on purpose');
  await close();
  const again = await open('half.db');
  expect(again.migrated).toEqual([]);
  await again.close();
});

test('after erasing and a checkpoint no byte of the row is left in any file', async () => {
  const { db, checkpoint, abandon } = await open('erase.db');
  const mark = 'a-sentence-nobody-shall-find';
  await db.insertInto('territories').values(territory('ter_a')).execute();
  await db.insertInto('keys').values(key('key_1', mark)).execute();
  const files = () => readdirSync(folder).filter((name) => name.startsWith('erase.db'));
  const found = () => files().filter((name) => readFileSync(join(folder, name)).includes(mark));
  expect(found()).not.toEqual([]);
  await db.deleteFrom('keys').execute();
  expect(checkpoint()).toBe(true);
  expect(found()).toEqual([]);
  abandon();
});

test('a folder that is not there is said so', async () => {
  const opening = open(join('nowhere', 'hub.db'));
  await expect(opening).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('nowhere') });
});
