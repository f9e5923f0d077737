/**
 * Claims about trust, on a hub that listens on an address which it does not know as loopback (the system does: 127.1),
 * and so speaks TLS with a certificate of its own making.
 */
import { existsSync, readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { createClient, wholeAnswer } from '@idlewild/client';
import {
  decodeInvite,
  encodeFrame,
  encodeInvite,
  fromHex,
  joinTokenOf,
  parseToHub,
  proveHub,
  signStatement,
  type Invite,
} from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import type { WebSocket } from 'ws';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { answering, hear, LONG, untilReady } from './answers.ts';
import { until } from './processes/child.ts';
import { fetchTrusting, passingOn, startImpostor, type Impostor } from './tls.ts';
import { createWorld, filesBelow, MODEL, type DeviceProcess, type HubProcess, type World } from './world.ts';

const REVOKED_MS_MAX = 1_000;
const SECRET = 'open-sesame-4711';

let world: World;
let hub: HubProcess;
/** A hub of another territory, whose certificate others may pretend with. */
let other: HubProcess;
const devices = new Map<string, DeviceProcess>();

beforeAll(async () => {
  world = await createWorld();
  [hub, other] = (await Promise.all(
    ['ours', 'theirs'].map((name) => {
      const data = join(world.folder, name);
      return world.startHub({ data, host: '127.1', logFile: `${data}.log`, fetch: fetchTrusting(data) });
    }),
  )) as [HubProcess, HubProcess];
  await world.publish({ url: `${hub.url}#pin=${Buffer.from(pinOf(hub)).toString('base64url')}`, key: hub.key });
  await Promise.all(
    ['ada', 'bea'].map(async (name) => {
      const env = { ...process.env, IDLEWILD_SECRET: SECRET };
      devices.set(name, await world.startDevice(hub, name, { env, consent: { tokensPerSecondMax: 160 } }));
    }),
  );
});
afterAll(() => world.end());

const pinOf = (of: HubProcess): Uint8Array => fromHex(of.pin ?? '');
const invite = async (): Promise<Invite> =>
  decodeInvite((await hub.client.invites.create({ uses: 1, expiresInSeconds: 600 })).token);

async function impostor(act: (device: WebSocket) => void): Promise<Impostor> {
  const server = await startImpostor(other.data, act);
  onTestFinished(() => server.close());
  return server;
}

/** Lets a new device join with `given`, and resolves with why it ended. */
async function endOfJoining(given: Invite): Promise<{ code: string; message: string } | null> {
  const device = await world.startDevice(hub, `new-${devices.size}`, { invite: encodeInvite(given), atOnce: true });
  const line = await device.line((each) => 'ended' in each, 'the new device ending');
  expect(await device.ended).toMatchObject({ signal: null });
  devices.set(device.name, device);
  return 'ended' in line ? line.ended : null;
}

test('off loopback everything is TLS: devices and callers by the pin, plain HTTP not at all', async () => {
  expect(hub.url).toMatch(/^https:/);
  expect((await hear(hub.client)).end.idlewild).toMatchObject({ failovers: 0, exact: true });
  await expect(fetch(`${hub.url}/healthz`)).rejects.toThrow('fetch failed');
  const said = await new Promise<string>((resolve) => {
    let text = '';
    const plain = connect(hub.port, '127.0.0.1', () => plain.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'));
    plain
      .on('data', (part) => {
        text += part.toString();
      })
      .on('error', () => undefined /* it closes, too */);
    plain.on('close', () => resolve(text));
  });
  expect(said).not.toContain('200');
});

test('a server with another key than the pinned one hears not a byte', async () => {
  const fake = await impostor(() => undefined);
  expect(await endOfJoining({ ...(await invite()), url: fake.url })).toMatchObject({ code: 'pin_mismatch' });
  expect(fake.bytes()).toBe(0);
});

test('a relay that a device was made to pin is noticed, and the token does not pass it', async () => {
  const fake = await impostor(passingOn(hub.url));
  const given = await invite();
  const end = await endOfJoining({ ...given, url: fake.url, pin: fake.pin });
  expect(end).toMatchObject({ code: 'hub_untrusted', message: expect.stringContaining('in between') as string });
  expectHelloAlone(fake, given);
});

test('a hub that cannot prove the territory gets no token', async () => {
  const fake = await impostor((device) => device.on('message', (hello: Buffer) => void lie(device, hello)));
  const given = await invite();
  expect(await endOfJoining({ ...given, url: fake.url, pin: fake.pin })).toMatchObject({ code: 'hub_untrusted' });
  expectHelloAlone(fake, given);
});

test('a hub of another territory says so', async () => {
  const token = encodeInvite({ ...(await invite()), url: other.url, pin: pinOf(other) });
  const lost = await world.startDevice(hub, 'lost', { invite: token, atOnce: true });
  const hears = await lost.line((line) => 'state' in line && line.state.problem !== undefined, 'the refusal');
  const message = expect.stringContaining('another territory') as string;
  expect(hears).toMatchObject({ state: { problem: { message } } });
  await lost.stop();
});

/** A territory of its own, a certificate by it, and a proof that is right in all but that. */
async function lie(device: WebSocket, hello: Buffer): Promise<void> {
  const [territory, key] = [nodeCrypto.signingKey(nodeRandom.bytes(32)), nodeCrypto.signingKey(nodeRandom.bytes(32))];
  const [territoryKey, hubKey] = await Promise.all([territory, key]);
  const certificate = await signStatement(
    'hub-certificate',
    { v: 1, territory: territoryKey.publicKey, hub: hubKey.publicKey, issuedAtMs: 0, expiresAtMs: 2 ** 45 },
    territoryKey,
    nodeCrypto,
  );
  const proof = await proveHub(
    { version: 1, hello, certificate, nonce: nodeRandom.bytes(32), binding: { kind: 'tls', spki: pinOf(other) } },
    hubKey,
    nodeCrypto,
  );
  device.send(encodeFrame({ t: 'challenge', proof }));
}

function expectHelloAlone(fake: Impostor, { secret }: Invite): void {
  expect(fake.heard.map((frame) => parseToHub(new Uint8Array(frame)).t)).toEqual(['hello']);
  expect(Buffer.concat([...fake.heard]).includes(joinTokenOf(secret))).toBe(false);
}

const clientWith = (key: string): ReturnType<typeof createClient> =>
  createClient({ hub: hub.url, key, fetch: fetchTrusting(hub.data) });

test('an expired key is refused, and a revoked one loses within a second what it has open', async () => {
  const brief = await hub.client.keys.create({ role: 'caller', expiresInSeconds: 1 });
  expect(await clientWith(brief.key).modelNames()).toEqual([MODEL]);
  const codeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => 'none',
      (error: unknown) => (error as { code?: string }).code,
    );
  await until(async () => (await codeOf(clientWith(brief.key).modelNames())) === 'unauthenticated', 'the key expiring');

  const { id, key } = await hub.client.keys.create({ role: 'caller' });
  let revokedMs = 0;
  const heard = hear(clientWith(key), LONG, async (count) => {
    if (count !== 20) return;
    await hub.client.keys.revoke(id);
    revokedMs = performance.now();
  });
  const message = expect.stringContaining(id) as string;
  await expect(heard).rejects.toMatchObject({ code: 'unauthenticated', message });
  expect(performance.now() - revokedMs).toBeLessThan(REVOKED_MS_MAX);
  expect(await codeOf(clientWith(key).modelNames())).toBe('unauthenticated');
});

test('a device that is revoked in mid-answer is dropped, the answer moves on, and it stays out', async () => {
  const whole = await hear(hub.client);
  let victim: DeviceProcess | undefined;
  const heard = await hear(hub.client, LONG, async (count) => {
    if (count !== 60) return;
    victim = await answering(hub.client, devices.values());
    await hub.client.devices.revoke(victim.state().deviceId);
  });
  expect(heard.text).toBe(whole.text);
  expect(heard.end.idlewild).toMatchObject({ failovers: 1, exact: true });
  expect(heard.gapMsMax).toBeLessThan(1_000);
  const device = victim as DeviceProcess;
  await device.ended;
  expect(device.lines.at(-1)).toMatchObject({ ended: { code: 'device_revoked' } });
  const again = await world.startDevice(hub, device.name, { atOnce: true });
  await again.ended;
  expect(again.lines.at(-1)).toMatchObject({ ended: { code: 'device_revoked' } });
});

test.skipIf(!existsSync('/proc/self/environ'))(
  'an engine has an empty environment, no leave to write, and reports to nobody',
  async () => {
    await untilReady(hub.client, 1);
    const device = [...devices.values()].find((each) => each.enginePids().some(isAlive)) as DeviceProcess;
    const pid = device.enginePids().find(isAlive);
    expect(readFileSync(`/proc/${device.pid}/environ`, 'utf8')).toContain(SECRET);
    // What builds its wall may say in which folder it is, which is the root of what it sees.
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).toMatch(/^ORT_DISABLE_TELEMETRY=1\0(PWD=\/\0)?$/);
    // The runtime is native code, past Node's permission flags: what it holds open is looked at from outside.
    const held = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    const files = held.filter(
      (path) => path.startsWith('/') && !path.startsWith('/dev/') && !path.includes('/models/'),
    );
    expect(files).toEqual([]);
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    expect(words).toContain('--permission');
    const leave = words.filter((word) => word.startsWith('--allow')).map((word) => word.split('=')[0]);
    expect(new Set(leave)).toEqual(new Set(['--allow-addons', '--allow-fs-read']));
  },
);

const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}/environ`);

test('secrets are files of their owner alone', () => {
  const keys = ['territory.key', 'hub.key', 'journal.key', 'steward.key', 'tls.key', 'device.key'];
  const folders = [hub.data, ...[...devices.values()].map((device) => device.data)];
  const found = folders.flatMap(filesBelow).filter((file) => keys.includes(basename(file)));
  expect(new Set(found.map((file) => basename(file)))).toEqual(new Set(keys));
  expect(found.filter((file) => (statSync(file).mode & 0o777) !== 0o600)).toEqual([]);
  expect(folders.filter((folder) => (statSync(folder).mode & 0o777) !== 0o700)).toEqual([]);
});

test('neither prompt nor answer nor key nor token is ever on a disk or in a log', async () => {
  const given = await invite();
  const token = joinTokenOf(given.secret);
  const consent = { tokensPerSecondMax: 160 };
  devices.set('cyd', await world.startDevice(hub, 'cyd', { invite: encodeInvite(given), consent }));
  const { key } = await hub.client.keys.create({ role: 'caller' });
  const mark = 'quodlibet zephyranthes';
  const keptBefore = rowsOf(hub, 'kept_answers').length;
  const sealed: Buffer[] = [];
  const heard = await hear(clientWith(key), { ...LONG, prompt: `MENENIUS:\nThe ${mark} said,` }, (count) => {
    if (count !== 90) return;
    sealed.push(...journalOf(hub));
    // The search finds what is there: in the database or its log, the hub's log and the devices' settings.
    expect(placesOf(['cyd']).map((file) => basename(file).replace(/-wal$/, ''))).toEqual(
      expect.arrayContaining(['hub.db', 'ours.log', 'device.json']),
    );
    expect(placesOf([mark, key, token])).toEqual([]);
  });
  expect(sealed.length).toBeGreaterThan(1);
  const answer = heard.text.slice(100, 130);
  // What is kept so that it can be asked for again is kept sealed, and nobody can tell under which name.
  const asked = { ...LONG, prompt: `MENENIUS:\nThe ${mark} said,`, max_tokens: 60 };
  const kept = await wholeAnswer(clientWith(key).completion(asked, { idempotencyKey: `once ${mark}` }));
  // The first, too: our client names every stream, so that it can come back to it.
  await until(() => rowsOf(hub, 'kept_answers').length === keptBefore + 2, 'both answers being kept');
  const secrets = [mark, key, token, answer, JSON.stringify(answer).slice(1, -1), kept.text.slice(10, 40)];
  expect(placesOf(secrets)).toEqual([]);
  await until(() => journalOf(hub).length === 0, 'the journal being empty');
  await hub.stop();
  expect(placesOf([...secrets, ...sealed])).toEqual([]);
});

const journalOf = (of: HubProcess): Buffer[] => rowsOf(of, 'journal');

const rowsOf = ({ data }: HubProcess, table: 'journal' | 'kept_answers'): Buffer[] => {
  const database = new DatabaseSync(join(data, 'hub.db'), { readOnly: true });
  try {
    return database
      .prepare(`select sealed from ${table}`)
      .all()
      .map(({ sealed }) => Buffer.from(sealed as Uint8Array));
  } finally {
    database.close();
  }
};

/** Where any of `texts` stands: in the files of all processes, their logs among them, or in what they printed. */
function placesOf(texts: readonly (string | Buffer)[]): string[] {
  const holds = (bytes: Buffer): boolean => texts.some((text) => bytes.includes(text));
  const written = filesBelow(world.folder).filter((file) => holds(readFileSync(file)));
  const talkers = [hub, ...devices.values()].filter((child) => holds(Buffer.from(child.said())));
  return [...written, ...talkers.map(({ pid }) => `process ${pid}`)];
}
