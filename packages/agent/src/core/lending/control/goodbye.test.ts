/** Claims about a device's goodbye: what it takes for an acknowledgement, and that it waits for none for ever. */
import { signLeft, signStatement, type DeviceProfile, type KeyPair } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createScriptedHub, type ScriptedHub } from '../../../testing/scripted-hub.ts';
import { signConsent } from '../../consent.ts';
import { sayGoodbye, type Goodbye } from './goodbye.ts';

const profile: DeviceProfile = {
  ...{ platform: 'p', arch: 'a', cores: 1, memoryBytes: 1, gflops: 0, agentVersion: '1' },
  ...{ engineBuild: '', fingerprint: '', providers: [] },
};

interface World {
  readonly clock: FakeClock;
  readonly hub: ScriptedHub;
  readonly identity: KeyPair;
  goodbye(boundMs?: number): Promise<Goodbye>;
  /** What a hub of the territory signs, or somebody else. */
  statement(change?: { device?: Uint8Array; signer?: KeyPair }): Promise<Uint8Array>;
}

async function setUp(): Promise<World> {
  const clock = createFakeClock(() => nextTurn());
  const random = createSeededRandom(1);
  const hub = await createScriptedHub(clock, nodeCrypto);
  hub.behave({ signsLeft: false });
  const identity = await nodeCrypto.signingKey(random.bytes(32));
  const territory = hub.territory.publicKey;
  const consent = await signConsent(
    { territories: [territory], kinds: ['answers'], presence: 'ignore' },
    identity,
    clock,
    nodeCrypto,
  );
  const hubKey = await nodeCrypto.signingKey(new Uint8Array(32).fill(7));
  const ports = { clock, random, crypto: nodeCrypto, transport: hub.transport };
  return {
    clock,
    hub,
    identity,
    goodbye(boundMs) {
      const leaver = { identity, name: 'kettle', profile, consent, hub: { url: 'http://hub', territory } };
      const saying = sayGoodbye(ports, leaver, boundMs);
      saying.catch(() => undefined);
      return saying;
    },
    async statement({ device = identity.publicKey, signer = hubKey } = {}) {
      const life = { issuedAtMs: clock.now() - 1_000, expiresAtMs: clock.now() + 1_000 };
      const certificate = await signStatement(
        'hub-certificate',
        { v: 1, territory, hub: signer.publicKey, ...life },
        hub.territory,
        nodeCrypto,
      );
      const fields = { territory, device, certificate, atMs: clock.now(), answers: 3, tokens: 40 };
      return signLeft(fields, signer, nodeCrypto);
    },
  };
}

test('it says leave to a hub that has proved itself, takes nothing on, and keeps what the hub signs', async () => {
  const { clock, hub, goodbye, statement } = await setUp();
  const saying = goodbye();
  await clock.advance(200);
  const [peer] = hub.peers;
  expect(peer?.got.filter(({ t }) => t === 'leave')).toEqual([{ t: 'leave' }]);
  expect(peer?.device?.proof.status).toMatchObject({ state: 'draining', slots: 0 });
  const signed = await statement();
  peer?.send({ t: 'left', statement: signed });
  await clock.advance(200);
  expect(await saying).toMatchObject({ left: { answers: 3, tokens: 40 }, statement: signed });
  expect(peer?.closed).toBeDefined();
  await clock.advance(60_000);
  expect(hub.peers).toHaveLength(1);
});

test('a hub that had written it down, and whose word was lost, says it again at the door', async () => {
  const { clock, hub, goodbye, statement } = await setUp();
  const left = await statement();
  hub.behave({ insteadOfWelcome: { t: 'refused', code: 'join_token_invalid', message: 'it has left', left } });
  const saying = goodbye();
  await clock.advance(500);
  expect(await saying).toMatchObject({ left: { answers: 3 } });
});

test('a channel that is lost after the word is tried again', async () => {
  const { clock, hub, goodbye, statement } = await setUp();
  const saying = goodbye();
  await clock.advance(200);
  hub.peers[0]?.link?.cut('gone');
  await clock.advance(4_000);
  hub.peers[1]?.send({ t: 'left', statement: await statement() });
  await clock.advance(200);
  expect(await saying).toMatchObject({ left: { tokens: 40 } });
});

test('a word for another device, or of somebody who is no hub of the territory, is none', async () => {
  const { clock, hub, goodbye, statement } = await setUp();
  const stranger = await nodeCrypto.signingKey(new Uint8Array(32).fill(99));
  for (const signed of [
    await statement({ device: stranger.publicKey }),
    await signLeft(
      {
        ...{ territory: hub.territory.publicKey, device: new Uint8Array(32), certificate: new Uint8Array() },
        ...{ atMs: 0, answers: 0, tokens: 0 },
      },
      stranger,
      nodeCrypto,
    ),
  ]) {
    const saying = goodbye();
    await clock.advance(200);
    hub.peers.at(-1)?.send({ t: 'left', statement: signed });
    await clock.advance(200);
    await expect(saying).rejects.toMatchObject({ code: expect.stringMatching(/invalid$/) as string });
  }
});

test('nobody there, nobody who understands, or a hub that says no: it ends, and says which', async () => {
  const { clock, hub, goodbye } = await setUp();
  const silent = goodbye(10_000);
  await clock.advance(10_000);
  await expect(silent).rejects.toMatchObject({
    code: 'hub_unreachable',
    message: expect.stringContaining('too old for it') as string,
  });
  hub.behave({ insteadOfWelcome: { t: 'refused', code: 'device_revoked', message: 'a steward revoked it' } });
  const revoked = goodbye();
  await clock.advance(500);
  await expect(revoked).rejects.toMatchObject({ code: 'device_revoked' });
  hub.behave({ unreachable: true });
  const away = goodbye(10_000);
  await clock.advance(10_000);
  await expect(away).rejects.toMatchObject({ code: 'hub_unreachable' });
});
