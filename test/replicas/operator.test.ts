/**
 * Claims about a hub of several replicas as its operator sees it, with real processes, PostgreSQL and NATS: who may
 * share a database, what `status` tells, and how a replica goes.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startNats, startPostgres, type NatsServer, type Postgres } from '@idlewild/hub/testing';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { startChild, until, type Child } from '../processes/child.ts';

const CLI = join(import.meta.dirname, '../../packages/cli/bin/idlewild.mjs');

interface UpLine {
  readonly url: string;
  readonly replica: string;
}

interface StatusLine {
  readonly hub: string;
  readonly replicas: readonly { readonly id: string; readonly address: string; readonly state: string }[];
}

let postgres: Postgres | undefined;
let nats: NatsServer | undefined;
let folder: string;
let database: string;
let folders = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'idlewild-operator-'));
  [postgres, nats] = await Promise.all([startPostgres(), startNats()]);
});
beforeEach(async ({ skip }) => {
  skip(postgres === undefined || nats === undefined, 'PostgreSQL or NATS is missing');
  database = (await postgres?.createDatabase()) ?? '';
});
afterAll(async () => {
  await Promise.all([postgres?.stop(), nats?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

interface Replica extends Child<UpLine> {
  readonly data: string;
}

/** The database and the bus by the environment, as a password should be given. */
function begin(hasBus: boolean, words: readonly string[] = []): Replica {
  const data = join(folder, `data-${++folders}`);
  const env = { ...process.env, IDLEWILD_DATABASE: database, ...(hasBus ? { IDLEWILD_BUS: nats?.url } : {}) };
  const all = ['up', '--port', '0', '--data', data, '--json', '--stop-with-stdin', ...words];
  const child = startChild<UpLine>(CLI, all, env);
  onTestFinished(() => child.kill());
  return { ...child, data };
}

async function up(hasBus: boolean, words: readonly string[] = []): Promise<Replica & UpLine> {
  const child = begin(hasBus, words);
  return { ...child, ...(await child.line((line) => 'url' in line, 'a replica starting')) };
}

async function statusOf(replica: UpLine, key: string): Promise<StatusLine> {
  const asking = startChild<StatusLine>(CLI, ['status', '--json', '--hub', replica.url, '--key', key]);
  const status = await asking.line(() => true, 'status');
  await asking.ended;
  return status;
}
const keyIn = ({ data }: Replica): string => readFileSync(join(data, 'steward.key'), 'utf8').trim();
const readiness = async ({ url }: UpLine): Promise<number> => (await fetch(`${url}/readyz`)).status;

test('replicas with the same two addresses are one hub, and each tells of all', async () => {
  const first = await up(true);
  const second = await up(true);
  const key = keyIn(first);
  const told = await Promise.all([first, second].map((replica) => statusOf(replica, key)));
  expect(told[0]?.hub).toBe(told[1]?.hub);
  for (const { replicas } of told)
    expect(replicas.map(({ id, state }) => [id, state])).toEqual([
      [first.replica, 'live'],
      [second.replica, 'live'],
    ]);
  const people = startChild(CLI, ['status', '--hub', second.url, '--key', key]);
  await people.ended;
  expect(people.said()).toMatch(new RegExp(`REPLICA +STATE[^]*${first.replica}\n[^]*${second.replica}\n`));
  await second.kill();
  await until(
    async () =>
      (await statusOf(first, key)).replicas.some(({ id, state }) => id === second.replica && state === 'silent'),
    'the one that was killed being seen to be silent',
  );
});

test('without a bus a hub does not share its database, whoever was first, and says why', async () => {
  const alone = await up(false);
  for (const hasBus of [false, true]) {
    const { code, said } = await refused(begin(hasBus));
    expect(code).not.toBe(0);
    expect(said).toContain(`another hub uses this database: ${alone.replica} at ${alone.url}`);
    expect(said).toContain('--bus');
  }
  expect(await readiness(alone)).toBe(200);
  process.kill(alone.pid, 'SIGTERM');
  await alone.ended;
  await up(true);
  expect((await refused(begin(false))).said).toContain('another hub uses this database');
});
async function refused(child: Replica): Promise<{ readonly code: number | null; readonly said: string }> {
  const { code } = await child.ended;
  return { code, said: child.said() };
}

test('one that was paused until another took its place has to stop', async () => {
  const paused = await up(false);
  process.kill(paused.pid, 'SIGSTOP');
  const next = await up(false);
  process.kill(paused.pid, 'SIGCONT');
  const { code } = await paused.ended;
  expect(code).toBe(1);
  expect(paused.said()).toContain(`another hub uses this database: ${next.replica}`);
  expect(await readiness(next)).toBe(200);
});

test('told to stop, it is not ready at once, serves until that was noticed, and ends with code 0 in time', async () => {
  // Long enough to look at it meanwhile, on a busy machine, too.
  const [first, second] = [await up(true), await up(true, ['--drain', '10', '--drain-notice', '5'])];
  const toldMs = performance.now();
  process.kill(second.pid, 'SIGTERM');
  await until(async () => (await readiness(second)) === 503, 'it being not ready');
  const served = await fetch(`${second.url}/healthz`);
  expect([served.status, served.headers.get('connection')]).toEqual([200, 'close']);
  expect(performance.now() - toldMs).toBeLessThan(4_900);
  expect((await statusOf(first, keyIn(first))).replicas.map(({ state }) => state)).toEqual(['live', 'draining']);
  const { code } = await second.ended;
  expect(code).toBe(0);
  expect(performance.now() - toldMs).toBeLessThan(15_000);
  expect((await statusOf(first, keyIn(first))).replicas.map(({ id }) => id)).toEqual([first.replica]);
});

test('told a second time, it ends at once', async () => {
  const replica = await up(true, ['--drain', '60', '--drain-notice', '50']);
  process.kill(replica.pid, 'SIGTERM');
  await until(async () => (await readiness(replica)) === 503, 'it being not ready');
  process.kill(replica.pid, 'SIGINT');
  expect((await replica.ended).code).toBe(130);
});

test('words that do not go together are refused before anything is opened', async () => {
  const data = join(folder, 'nothing');
  const tried = startChild(CLI, ['up', '--bus', 'nats://127.0.0.1:1', '--data', data, '--json']);
  expect((await tried.ended).code).toBe(2);
  expect(tried.said()).toContain('--database');
});
