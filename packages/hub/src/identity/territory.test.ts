import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hubCertificateSchema, openStatement } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { openDatabase } from '../db/open.ts';
import { createDiskSecrets, createMemorySecrets, type Secrets } from './secrets.ts';
import { openTerritory } from './territory.ts';

const DAY_MS = 86_400_000;

async function setUp(secrets: Secrets = createMemorySecrets()) {
  const clock = createFakeClock(async () => {});
  const { db, close } = await openDatabase({ file: ':memory:', clock });
  onTestFinished(close);
  const deps = { db, secrets, crypto: nodeCrypto, random: nodeRandom, clock };
  const audit = createAudit(deps);
  return { db, clock, audit, secrets, start: (name = 'home') => openTerritory({ ...deps, audit }, { name }) };
}

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-secrets-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
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
