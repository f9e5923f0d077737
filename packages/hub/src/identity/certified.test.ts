/** Claims about a hub that runs longer than any of its certificates: what stands on them stays good. */
import {
  createMemoryBlobStore,
  hubCertificateSchema,
  joinTokenOf,
  openAuditHead,
  openLeft,
  openStatement,
} from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, yieldToNode } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test, vi } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { openDatabase } from '../db/open.ts';
import { createHub } from '../hub.ts';
import { silentLog } from '../log.ts';
import { joinScriptedDevice } from '../testing/scripted-device.ts';
import { createMemorySecrets, type Secrets } from './secrets.ts';
import { keepCertified, openTerritory } from './territory.ts';

const DAY_MS = 86_400_000;

/** A clock whose wall time can be put on by years, while nothing that waits is woken. */
function createYears() {
  const clock = createFakeClock(yieldToNode);
  let passedMs = 0;
  return {
    clock,
    wall: { ...clock, now: () => clock.now() + passedMs },
    pass(days: number) {
      passedMs += days * DAY_MS;
    },
  };
}

test('over years heads, farewells and handshakes of one hub are good, however long it was silent', async () => {
  const { clock, wall, pass } = createYears();
  const random = createSeededRandom(1);
  const database = await openDatabase({ file: ':memory:', clock: wall });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const meter = { ended: () => {}, firstToken: () => {} };
  const ports = { database, clock, random, crypto: nodeCrypto, store, meter, log: silentLog };
  const hub = await createHub({ ...ports, secrets: createMemorySecrets() });
  onTestFinished(async () => {
    await hub.stop();
    await database.close();
  });
  const { id: territory, publicKey } = hub.territory;
  // Within its time, shortly before its end, and long after it.
  for (const [turn, days] of [0, 200, 164, 200, 200, 1_000, 364, 2].entries()) {
    pass(days);
    const order = { territory, uses: 1, expiresInMs: 60_000, createdBy: 'test' };
    const joinToken = joinTokenOf((await hub.invites.create(order)).secret);
    const accept = hub.local.accept;
    const device = await joinScriptedDevice({
      accept,
      territory: publicKey,
      clock: wall,
      random,
      crypto: nodeCrypto,
      joinToken,
    });
    for (let i = 0; i < 12; i++) await clock.advance(1);
    await device.joined;
    device.send({ t: 'leave' });
    for (let i = 0; i < 12; i++) await clock.advance(1);
    const left = device.heard.find((message) => message.t === 'left');
    const whose = { territory: publicKey, device: device.key.publicKey };
    expect(
      (await openLeft(left?.statement ?? new Uint8Array(), whose, nodeCrypto)).atMs,
      `turn ${turn}`,
    ).toBeGreaterThan(0);
    await expect.poll(() => hub.auditDesk.heads.write()).toBeGreaterThan(0);
  }
  const heads = await hub.auditDesk.heads.list();
  expect(heads.length).toBeGreaterThan(4);
  for (const head of heads) {
    const { statement } = await openStatement('hub-certificate', head.certificate, hubCertificateSchema, nodeCrypto);
    const { atMs } = await openAuditHead(head, publicKey, nodeCrypto);
    expect(statement.expiresAtMs).toBeGreaterThan(atMs);
  }
});

test('a certificate that cannot be renewed is used while it lasts, and then nothing stands on it', async () => {
  const { wall, pass } = createYears();
  const { db, close } = await openDatabase({ file: ':memory:', clock: wall });
  onTestFinished(close);
  const kept = createMemorySecrets();
  let isAway = false;
  const secrets: Secrets = {
    ...kept,
    read(name) {
      if (isAway) throw new Error('the disk is away');
      return kept.read(name);
    },
  };
  const log = { ...silentLog, error: vi.fn<typeof silentLog.error>() };
  const deps = { db, secrets, crypto: nodeCrypto, random: nodeRandom, clock: wall, log };
  const opening = { ...deps, audit: createAudit(deps) };
  const opened = await openTerritory(opening);
  const certificate = keepCertified(opening, opened);
  pass(305);
  expect(await certificate()).toBe(opened.certificate);
  isAway = true;
  pass(1);
  for (let turn = 0; turn < 5; turn++) expect(await certificate()).toBe(opened.certificate);
  await expect.poll(() => log.error).toHaveBeenCalledTimes(1);
  pass(1);
  expect(await certificate()).toBe(opened.certificate);
  await expect.poll(() => log.error).toHaveBeenCalledTimes(2);
  pass(58);
  await expect(certificate()).rejects.toThrow('the disk is away');
  isAway = false;
  const renewed = await certificate();
  expect(renewed).not.toEqual(opened.certificate);
  const { statement } = await openStatement('hub-certificate', renewed, hubCertificateSchema, nodeCrypto);
  expect(statement).toMatchObject({ hub: opened.hub.key.publicKey, issuedAtMs: wall.now() });
  // A later start finds what was renewed.
  expect((await openTerritory(opening)).certificate).toEqual(renewed);
});
