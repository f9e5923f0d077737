import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hubCertificateSchema, openStatement } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import type { OpenDatabase } from '../db/open.ts';
import { testDatabases } from '../testing/databases.ts';
import { createDatabaseSecrets, readSealingKey, type Sealing } from './database-secrets.ts';
import { firstStewardKey } from './first-steward.ts';
import { createKeys } from './keys.ts';
import { createDiskSecrets, createMemorySecrets, ensureSecret, type Secrets } from './secrets.ts';
import { openTerritory } from './territory.ts';

const DAY_MS = 86_400_000;

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-secrets-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

describe.each(await testDatabases())('with $kind', ({ open, openShared }) => {
  async function setUp(secrets: Secrets = createMemorySecrets()) {
    const clock = createFakeClock(async () => {});
    const { db } = await open(clock);
    const deps = { db, secrets, crypto: nodeCrypto, random: nodeRandom, clock };
    const audit = createAudit(deps);
    return { db, clock, audit, secrets, start: (name = 'home') => openTerritory({ ...deps, audit }, { name }) };
  }

  test('the first start makes a territory whose certificate verifies, and the second finds the same', async () => {
    const { start } = await setUp();
    const first = await start('commons');
    expect(first).toMatchObject({ name: 'commons', created: true, id: expect.stringMatching(/^ter_/) });
    const { statement } = await openStatement(
      'hub-certificate',
      first.certificate,
      hubCertificateSchema,
      nodeCrypto,
      first.publicKey,
    );
    expect(statement.hub).toEqual(first.hub.key.publicKey);
    expect(statement.expiresAtMs - statement.issuedAtMs).toBe(365 * DAY_MS);
    expect(await start('another name')).toEqual({ ...first, created: false });
  });

  test('the certificate is renewed when less than sixty days remain, for the same hub', async () => {
    const { clock, start } = await setUp();
    const first = await start();
    await clock.advance(305 * DAY_MS);
    expect((await start()).certificate).toEqual(first.certificate);
    await clock.advance(1);
    const renewed = await start();
    expect(renewed.certificateExpiresAtMs).toBe(clock.now() + 365 * DAY_MS);
    expect(renewed.hub).toEqual(first.hub);
  });

  test('a certificate that the territory did not sign is replaced', async () => {
    const { secrets, start } = await setUp();
    const first = await start();
    await secrets.write('hub.certificate', new Uint8Array([1, 2, 3]), 'junk');
    const second = await start();
    expect(await secrets.read('hub.certificate')).toEqual(second.certificate);
    expect(second.hub.id).toBe(first.hub.id);
  });

  test('a database without its territory key is refused with the way out', async () => {
    const { db, clock, audit, start } = await setUp();
    await start();
    const deps = { db, secrets: createMemorySecrets(), crypto: nodeCrypto, random: nodeRandom, clock, audit };
    await expect(openTerritory(deps)).rejects.toMatchObject({
      code: 'data_corrupt',
      message: expect.stringMatching(/territory\.key is missing.*backup/),
    });
  });

  test('a database with the key of another territory is refused', async () => {
    const one = await setUp();
    const other = await setUp();
    await one.start();
    await other.start();
    await one.secrets.write('territory.key', (await other.secrets.read('territory.key')) as Uint8Array, 'swapped');
    const refusal = { code: 'data_corrupt', message: expect.stringContaining('belong together') };
    await expect(one.start()).rejects.toMatchObject(refusal);
  });

  test('a key without its database makes the same territory again', async () => {
    const secrets = createMemorySecrets();
    const { id } = await (await setUp(secrets)).start();
    expect(await (await setUp(secrets)).start()).toMatchObject({ id, created: true });
  });

  test("secrets on disk are their owner's alone and open with a line for people", async () => {
    const folder = temporaryFolder();
    const { start } = await setUp(createDiskSecrets(folder));
    await start();
    expect(readdirSync(folder).sort()).toEqual(['hub.certificate', 'hub.key', 'territory.key']);
    for (const name of readdirSync(folder)) {
      expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
      expect(readFileSync(join(folder, name), 'utf8')).toMatch(/^# Idlewild [^\n]+\n[A-Za-z0-9+/=]+\n$/);
    }
  });

  test('replicas that start at once are one territory with one hub, and one of them made it', async () => {
    const clock = createFakeClock(async () => {});
    const replicas = await openShared(3);
    const territories = await Promise.all(
      replicas.map(({ db }) => {
        const deps = { db, crypto: nodeCrypto, random: nodeRandom, clock };
        return openTerritory({ ...deps, secrets: createDatabaseSecrets(db), audit: createAudit(deps) });
      }),
    );
    // SQLite has one process, which opens its territory once.
    const seen = replicas[0] === replicas[1] ? territories.slice(0, 1) : territories;
    expect(seen.filter(({ created }) => created)).toHaveLength(1);
    const facts = seen.map(({ id, hub, certificate }) => [id, hub.id, Buffer.from(certificate).toString('hex')]);
    for (const each of facts) expect(each).toEqual(facts[0]);
  });

  test('of replicas that start at once one makes the first steward’s key, and the others find it', async () => {
    const clock = createFakeClock(async () => {});
    const replicas = await openShared(3);
    const [first] = replicas;
    const row = { id: 'ter_a', name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 };
    await first?.db.insertInto('territories').values(row).execute();
    const kept: string[] = [];
    const start = ({ db }: OpenDatabase) => {
      const deps = { db, crypto: nodeCrypto, random: nodeRandom, clock };
      const keys = createKeys({ ...deps, audit: createAudit(deps) });
      const order = { territory: 'ter_a', actor: 'hub', keep: (key: string) => void kept.push(key) };
      return firstStewardKey({ db, keys, clock }, order);
    };
    // SQLite has one process, which starts once and then again.
    const isOneProcess = replicas[0] === replicas[1];
    const made = isOneProcess
      ? [await start(replicas[0]!), await start(replicas[1]!)]
      : await Promise.all(replicas.map(start));
    expect(made.filter((key) => key !== undefined).map(({ key }) => key)).toEqual(kept);
    expect(kept).toHaveLength(1);
  });

  test('of secrets that replicas make at once all have the first', async () => {
    const replicas = await openShared(3);
    const ensured = await Promise.all(
      replicas.map(({ db }) => {
        const make = (): Uint8Array => nodeRandom.bytes(32);
        return ensureSecret(createDatabaseSecrets(db), 'journal.key', make, 'a key');
      }),
    );
    for (const secret of ensured) expect(secret).toEqual(ensured[0]);
  });

  test('a certificate in the database is replaced, and a key never is', async () => {
    const secrets = createDatabaseSecrets((await open()).db);
    expect(await secrets.read('hub.key')).toBeUndefined();
    for (const fill of [1, 2]) {
      await secrets.write('hub.key', new Uint8Array(32).fill(fill), 'a key');
      await secrets.write('hub.certificate', new Uint8Array(9).fill(fill), 'a certificate');
    }
    expect(await secrets.read('hub.key')).toEqual(new Uint8Array(32).fill(1));
    expect(await secrets.read('hub.certificate')).toEqual(new Uint8Array(9).fill(2));
  });

  test('sealed secrets are in no row, and open with their key only', async () => {
    const { db } = await open();
    const sealing = (fill: number): Sealing => ({
      key: new Uint8Array(32).fill(fill),
      crypto: nodeCrypto,
      random: nodeRandom,
    });
    const secret = nodeRandom.bytes(32);
    await createDatabaseSecrets(db, sealing(1)).write('territory.key', secret, 'a key');
    expect(await createDatabaseSecrets(db, sealing(1)).read('territory.key')).toEqual(secret);
    const { value } = await db.selectFrom('secrets').select('value').executeTakeFirstOrThrow();
    expect(Buffer.from(value).includes(Buffer.from(secret))).toBe(false);
    for (const [given, why] of [
      [sealing(2), /another key.*--secrets-key/],
      [undefined, /--secrets-key FILE/],
    ] as const) {
      const reading = createDatabaseSecrets(db, given).read('territory.key');
      await expect(reading).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(why) });
    }
    // A row that was moved to another name does not pass for it.
    await db.updateTable('secrets').set({ name: 'hub.key' }).execute();
    await expect(createDatabaseSecrets(db, sealing(1)).read('hub.key')).rejects.toMatchObject({ code: 'usage' });
  });

  test('a sealing key is refused where secrets were kept open', async () => {
    const { db } = await open();
    await createDatabaseSecrets(db).write('hub.key', new Uint8Array(32), 'a key');
    const sealing = { key: new Uint8Array(32), crypto: nodeCrypto, random: nodeRandom };
    await expect(createDatabaseSecrets(db, sealing).read('hub.key')).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('without --secrets-key'),
    });
  });

  test('secrets are all sealed with one key or none is, whatever words a start is given', async () => {
    const sealing = (fill: number): Sealing => ({
      key: new Uint8Array(32).fill(fill),
      crypto: nodeCrypto,
      random: nodeRandom,
    });
    for (const [first, later] of [
      [sealing(1), undefined],
      [sealing(1), sealing(2)],
      [undefined, sealing(1)],
    ]) {
      const { db } = await open();
      await createDatabaseSecrets(db, first).write('territory.key', new Uint8Array(32), 'a key');
      const writing = createDatabaseSecrets(db, later).write('bus.key', new Uint8Array(32), 'a key');
      await expect(writing).rejects.toMatchObject({ code: 'usage' });
      expect(await createDatabaseSecrets(db, first).read('bus.key')).toBeUndefined();
    }
  });
});

const onDisk = (): Secrets => createDiskSecrets(temporaryFolder());

for (const [kind, make] of [
  ['in memory', createMemorySecrets],
  ['on disk', onDisk],
] as const) {
  test(`a secret ${kind} is read as it was written, the latest wins, and one never written is not there`, async () => {
    const secrets = make();
    expect(await secrets.read('hub.key')).toBeUndefined();
    for (const fill of [1, 2]) {
      await secrets.write('hub.key', new Uint8Array(32).fill(fill), 'a key');
      expect(await secrets.read('hub.key')).toEqual(new Uint8Array(32).fill(fill));
    }
  });
}

test("a damaged secret is refused by its file's name", async () => {
  const folder = temporaryFolder();
  const secrets = createDiskSecrets(folder);
  for (const text of ['', 'AAAA\n', '# key\nnot base64!\n', '# key\nAAAA\nBBBB\n', '# key\nAAAA\n']) {
    writeFileSync(join(folder, 'hub.key'), text);
    expect(() => secrets.read('hub.key')).toThrow(
      expect.objectContaining({ code: 'data_corrupt', message: expect.stringContaining(join(folder, 'hub.key')) }),
    );
  }
});

test('a sealing key is read from a file as openssl writes it, and nothing else is taken for one', () => {
  const file = join(temporaryFolder(), 'secrets.key');
  const key = nodeRandom.bytes(32);
  writeFileSync(file, `# of the cluster\n${Buffer.from(key).toString('base64')}\n`);
  expect(readSealingKey(file)).toEqual(key);
  for (const text of ['', 'short', Buffer.alloc(31).toString('base64')]) {
    writeFileSync(file, text);
    expect(() => readSealingKey(file)).toThrow(expect.objectContaining({ code: 'usage' }));
  }
  expect(() => readSealingKey(join(file, 'nowhere'))).toThrow(expect.objectContaining({ code: 'usage' }));
});
