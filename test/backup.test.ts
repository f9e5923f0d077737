/**
 * Backups with the command itself, of a hub that works at that moment, and what becomes of one that is interrupted, or
 * for which there is no room.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT } from '@idlewild/cli';
import { startPostgres } from '@idlewild/hub/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LONG, hear } from './answers.ts';
import { auditFaults } from './audit-log.ts';
import { idlewild } from './move-territory.ts';
import { startChild, until, type Child } from './processes/child.ts';
import { MODEL, createWorld, type HubProcess, type World } from './world.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const SHORT = { ...LONG, max_tokens: 8 };

let world: World;
let hub: HubProcess;
beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
  await world.startDevice(hub, 'ada');
});
afterAll(() => world.end());

const call = (words: readonly string[]): Child<Record<string, unknown>> => startChild(CLI, [...words, '--json']);

/** What anybody can ask of a hub that was restored; `requests` are those that were answered. */
async function checkRestored(data: string): Promise<void> {
  const restored = await world.startHub({ data });
  const { client } = restored;
  expect((await client.models.list()).map(({ name, bytes }) => [name, bytes])).toEqual(
    (await hub.client.models.list()).map(({ name, bytes }) => [name, bytes]),
  );
  expect((await client.devices.list()).map(({ name }) => name)).toEqual(['ada']);
  const sum = (rows: readonly { readonly answerTokens: number | null }[]): number =>
    rows.reduce((total, { answerTokens }) => total + (answerTokens ?? 0), 0);
  const [requests, usage] = [await client.requests.list(), await client.usage()];
  expect(requests.every(({ state }) => state !== 'open')).toBe(true);
  expect(sum(usage)).toBe(sum(requests));
  const audit = await fetch(`${restored.url}/api/audit`, { headers: { authorization: `Bearer ${restored.key}` } });
  const { intact, entries } = (await audit.json()) as { intact: boolean; entries: { action: string }[] };
  expect([intact, entries.some(({ action }) => action === 'restore')]).toEqual([true, true]);
  expect(await auditFaults(client)).toEqual([]);
  // Everything of the model is there already, or this would send it.
  await world.publish(restored);
  await restored.kill();
}

test('a hub that answers and takes a model is backed up, sealed, and restored as it was', async () => {
  const stop = new AbortController();
  const callers = Array.from({ length: 3 }, async () => {
    while (!stop.signal.aborted) await hear(hub.client, SHORT);
  });
  await until(async () => (await hub.client.status()).answers.open > 0, 'answers being under way');
  const passphraseFile = join(world.folder, 'passphrase');
  writeFileSync(passphraseFile, 'the rain it raineth every day\n');
  const seal = ['--passphrase-file', passphraseFile];
  const out = join(world.folder, 'backups');
  mkdirSync(out);
  const told = await idlewild(['backup', out, '--data', hub.data, ...seal]);
  stop.abort();
  await Promise.all(callers);
  expect(told).toMatchObject({ sealed: true, models: 1, devices: 1, incomplete: [] });
  const file = String(told.file);
  expect(readdirSync(out).map((name) => join(out, name))).toEqual([file]);
  expect(statSync(file).mode & 0o777).toBe(0o600);

  const data = join(world.folder, 'restored');
  const refused = call(['restore', file, '--data', data]);
  expect([(await refused.ended).code, refused.said()]).toEqual([EXIT.usage, expect.stringMatching(/sealed/)]);
  await idlewild(['restore', file, '--data', data, ...seal]);
  await checkRestored(data);
});

test('what is interrupted leaves nothing behind', async () => {
  const file = join(mkdtempSync(join(world.folder, 'cancelled-')), 'hub.idlewild');
  const child = call(['backup', file, '--data', hub.data]);
  await until(() => existsSync(`${file}.next`), 'the backup having begun');
  process.kill(child.pid, 'SIGINT');
  const { code } = await child.ended;
  // It may have been done a moment before.
  expect([EXIT.interrupted, EXIT.ok]).toContain(code);
  expect(readdirSync(join(file, '..'))).toEqual(code === EXIT.ok ? ['hub.idlewild'] : []);
});

const disk = mountSmallDisk(4);
test.skipIf(disk === undefined)('where there is no room it says so and leaves nothing', async () => {
  const file = join(disk ?? '', 'hub.idlewild');
  const child = call(['backup', file, '--data', hub.data]);
  expect((await child.ended).code).toBe(EXIT.failed);
  expect(child.said()).toMatch(/"disk_full"/);
  expect(readdirSync(disk ?? '')).toEqual([]);
  execFileSync('umount', ['-l', disk ?? '']);
  rmdirSync(disk ?? '');
});

/** It takes root to mount one; the model has 13 MB. */
function mountSmallDisk(mib: number): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-small-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    rmdirSync(folder); // No root, or no such system: `skipIf` says so.
    return undefined;
  }
}

test('a hub grows from a folder into PostgreSQL and comes back, with all that it had', async (context) => {
  const postgres = await startPostgres();
  if (postgres === undefined) return context.skip();
  try {
    const database = await postgres.createDatabase();
    const [first, second] = ['first', 'second'].map((name) => join(world.folder, `${name}.idlewild`)) as [
      string,
      string,
    ];
    await idlewild(['backup', first, '--data', hub.data]);
    await idlewild(['restore', first, '--database', database]);
    const again = call(['restore', first, '--database', database]);
    expect([(await again.ended).code, again.said()]).toEqual([EXIT.failed, expect.stringMatching(/not empty/)]);

    const data = join(world.folder, 'replica');
    mkdirSync(data);
    const replica = startChild<{ readonly url: string }>(
      CLI,
      ['up', '--port', '0', '--data', data, '--json', '--stop-with-stdin'],
      { ...process.env, IDLEWILD_DATABASE: database },
    );
    const { url } = await replica.line(() => true, 'a replica starting');
    const shown = await idlewild(['models', 'show', MODEL, '--hub', url, '--key', hub.key]);
    expect(shown).toMatchObject({ name: MODEL });
    await idlewild(['backup', second, '--database', database]);
    await replica.stop();

    const back = join(world.folder, 'back');
    await idlewild(['restore', second, '--data', back]);
    writeFileSync(join(back, 'steward.key'), `${hub.key}\n`);
    await checkRestored(back);
  } finally {
    await postgres.stop();
    rmSync(join(world.folder, 'replica'), { recursive: true, force: true });
  }
});
