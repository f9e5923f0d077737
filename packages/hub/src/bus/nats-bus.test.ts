/** What is particular to NATS: who is let in, who is trusted, and a server that is not there or does not read. */
import { webcrypto } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf, messageOf, utf8 } from '@idlewild/protocol';
import { nodeRandom, systemClock } from '@idlewild/protocol/node';
import { nkeys } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../log.ts';
import { ownTls } from '../node/tls.ts';
import { startNats, type NatsServer, type NatsServerOptions } from '../testing/nats.ts';
import { createNatsBus } from './nats-bus.ts';
import type { NatsOptions } from './nats-connect.ts';
import type { Bus } from './port.ts';

let folder = '';
const ending: (() => Promise<void>)[] = [];
const warnings: string[] = [];
const warn = (_: object, message: string): void => void warnings.push(message);
const deps = { clock: systemClock, random: nodeRandom, log: { ...silentLog, warn, error: warn } };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'idlewild-bus-'));
  for (const name of ['server', 'other']) {
    mkdirSync(join(folder, name));
    await ownTls(join(folder, name), Date.now());
  }
});

afterEach(async () => {
  for (const end of ending.splice(0).toReversed()) await end();
  warnings.length = 0;
});

afterAll(() => rmSync(folder, { recursive: true }));

async function start(options: NatsServerOptions, skip: () => never): Promise<NatsServer> {
  const server = await startNats(options);
  if (server === undefined) return skip();
  ending.push(() => server.stop());
  return server;
}

async function open(options: NatsOptions): Promise<Bus> {
  const bus = await createNatsBus({ ...deps, connectMsMax: 5_000, ...options });
  ending.push(() => bus.close());
  return bus;
}

/** How opening fails: quickly, where trying again would not help. */
async function refusal(options: NatsOptions): Promise<string> {
  const failed = await open(options).catch((error: unknown) => `${codeOf(error)}: ${messageOf(error)}`);
  return typeof failed === 'string' ? failed : 'it opened';
}

/** Signed by itself. */
async function certificateFor(type: 'ip' | 'dns', value: string): Promise<{ certFile: string; keyFile: string }> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${value}`,
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type, value }])],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const [certFile, keyFile] = [join(folder, `${value}.crt`), join(folder, `${value}.key`)];
  writeFileSync(certFile, certificate.toString('pem'));
  writeFileSync(keyFile, `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n`);
  return { certFile, keyFile };
}

const works = async (bus: Bus): Promise<void> => {
  bus.subscribe('dev.a', ({ bytes, respond }) => respond(bytes));
  expect(await bus.request('dev.a', utf8('x'), { timeoutMs: 5_000 })).toEqual(utf8('x'));
};

const withSecret = (url: string, secret: string): string => url.replace('//', `//${secret}@`);

test('where no server is, the first start fails within its time and says what to do', async () => {
  const startedMs = Date.now();
  const message = await refusal({ urls: ['nats://127.0.0.1:1'], connectMsMax: 300 });
  expect(message).toMatch(/^bus_down: nothing answers at nats:\/\/127\.0\.0\.1:1 .*start nats-server there/);
  expect(Date.now() - startedMs).toBeLessThan(5_000);
});

test('a server that comes a moment later is found', async ({ skip }) => {
  expect.hasAssertions();
  const server = await start({}, skip);
  await server.kill();
  const opening = open({ urls: [server.url] });
  await server.restart();
  await works(await opening);
});

test.each([
  ['no://127.0.0.1', 'usage'],
  ['127.0.0.1:4222', 'usage'],
  ['nats://', 'usage'],
])('%s is no address of a bus', async (url, code) => {
  expect(await refusal({ urls: [url] })).toContain(`${code}: `);
});

test('a password is asked for, taken from the address, and never shown', async ({ skip }) => {
  const { url } = await start({ auth: { user: 'hub', password: 'p@ss:word/1' } }, skip);
  await works(await open({ urls: [withSecret(url, `hub:${encodeURIComponent('p@ss:word/1')}`)] }));
  const message = await refusal({ urls: [withSecret(url, 'hub:wrong-secret')] });
  expect(message).toMatch(/^bus_down: .*refused this replica: .*correct the user and password/);
  expect(message).not.toContain('wrong-secret');
  expect(await refusal({ urls: [url] })).toContain('refused this replica');
});

test('a token is taken from the address', async ({ skip }) => {
  const { url } = await start({ auth: { token: 'a-token' } }, skip);
  await works(await open({ urls: [withSecret(url, 'a-token')] }));
  expect(await refusal({ urls: [withSecret(url, 'another')] })).toContain('refused this replica');
});

test('an nkey is read from its file', async ({ skip }) => {
  const user = nkeys.createUser();
  const config = `authorization { users = [ { nkey: ${user.getPublicKey()} } ] }`;
  const { url } = await start({ config }, skip);
  const nkeyFile = join(folder, 'user.nk');
  writeFileSync(nkeyFile, user.getSeed());
  await works(await open({ urls: [url], nkeyFile }));
  writeFileSync(nkeyFile, nkeys.createUser().getSeed());
  expect(await refusal({ urls: [url], nkeyFile })).toContain('refused this replica');
  expect(await refusal({ urls: [url], nkeyFile: join(folder, 'none') })).toMatch(/^usage: reading .*none/);
});

test('TLS: only a server whose certificate the given authority signed is trusted', async ({ skip }) => {
  const [certFile, keyFile] = [join(folder, 'server/tls.crt'), join(folder, 'server/tls.key')];
  const { url } = await start({ tls: { certFile, keyFile } }, skip);
  await works(await open({ urls: [url], caFile: certFile }));
  for (const trusted of [{ caFile: join(folder, 'other/tls.crt') }, {}]) {
    expect(await refusal({ urls: [url], ...trusted })).toMatch(/^bus_down: .*--bus-ca/);
  }
});

test('TLS: a certificate is for the address that was given, in digits, too', async ({ skip }) => {
  for (const [name, value, isTrusted] of [
    ['ip', '127.0.0.1', true],
    ['dns', 'localhost', false],
    ['dns', 'nats.example.org', false],
  ] as const) {
    const tls = await certificateFor(name, value);
    const { url } = await start({ tls }, skip);
    if (isTrusted) await works(await open({ urls: [url], caFile: tls.certFile }));
    else expect(await refusal({ urls: [url], caFile: tls.certFile })).toMatch(/^bus_down: .*127\.0\.0\.1/);
  }
});

test('TLS: a server without it is not talked to where it is asked for', async ({ skip }) => {
  const { url } = await start({}, skip);
  expect(await refusal({ urls: [url.replace('nats:', 'tls:')] })).toMatch(/^bus_down: .*turn TLS on there/);
});

test('TLS: a server that asks for a certificate gets it', async ({ skip }) => {
  const [certFile, keyFile] = [join(folder, 'server/tls.crt'), join(folder, 'server/tls.key')];
  const own = { certFile: join(folder, 'other/tls.crt'), keyFile: join(folder, 'other/tls.key') };
  const { url } = await start({ tls: { certFile, keyFile, verifyCaFile: own.certFile } }, skip);
  await works(await open({ urls: [url], caFile: certFile, ...own }));
  const message = await refusal({ urls: [url], caFile: certFile, connectMsMax: 500 });
  expect(message).toMatch(/^bus_down: .*--bus-cert and --bus-key/);
});

test('a server that stands still is left for another, and costs bounded memory until then', async ({ skip }) => {
  const [first, second] = [await start({}, skip), await start({}, skip)];
  await second.kill();
  const one = await open({ urls: [first.url, second.url], pingMs: 100 });
  await second.restart();
  const other = await open({ urls: [second.url] });
  await works(other);
  const told: boolean[] = [];
  const back = new Promise<void>((resolve) => {
    one.onChange((isUp) => {
      told.push(isUp);
      if (isUp && told.includes(false)) resolve();
    });
  });
  first.pause();
  const before = process.memoryUsage().arrayBuffers;
  const bytes = new Uint8Array(1_000_000);
  for (let index = 0; index < 500; index++) one.publish('dev.nobody', bytes);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(150_000_000);
  await back;
  // That messages were lost may be told before, for which there is no other word.
  expect(told.slice(-2)).toEqual([false, true]);
  expect(await one.request('dev.a', utf8('there'), { timeoutMs: 5_000 })).toEqual(utf8('there'));
});

test('messages that come faster than the server takes them are lost, and that is told', async ({ skip }) => {
  const server = await start({}, skip);
  const one = await open({ urls: [server.url] });
  const told: boolean[] = [];
  const hint = new Promise<void>((resolve) => {
    one.onChange((isUp) => {
      told.push(isUp);
      resolve();
    });
  });
  const bytes = new Uint8Array(1_000_000);
  for (let index = 0; index < 100; index++) one.publish('dev.nobody', bytes);
  await hint;
  expect(told).toEqual([true]);
  expect(warnings).toEqual([expect.stringContaining('some are lost')]);
});

test('a user who may not listen everywhere is told in the log, and hears what it may', async ({ skip }) => {
  const permissions = '{ publish: "iw.>", subscribe: ["iw.>"] }';
  const config = `authorization { users = [ { user: a, password: b, permissions: ${permissions} } ] }`;
  const { url } = await start({ config }, skip);
  const bus = await open({ urls: [withSecret(url, 'a:b')] });
  bus.subscribe('elsewhere.x', () => undefined);
  bus.subscribe('iw.0a1b2c3d.x', ({ respond }) => respond(utf8('yes')));
  expect(await bus.request('iw.0a1b2c3d.x', utf8('?'), { timeoutMs: 5_000 })).toEqual(utf8('yes'));
  expect(warnings.join()).toContain('allow its user `iw.>` there');
});
