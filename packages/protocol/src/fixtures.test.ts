import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { makeFixtures } from '../fixtures/make-fixtures.ts';
import { fromHex, hex, utf8 } from './bytes.ts';
import {
  checkAgreementKey,
  checkDevice,
  checkHub,
  digestTokens,
  numericClassOf,
  proveDevice,
  proveHub,
} from './identity/handshake.ts';
import { sealable, sessionKeys } from './identity/sealed-channel.ts';
import { openStatement, signStatement, type Purpose } from './identity/signed.ts';
import {
  agreementKeySchema,
  deviceProofSchema,
  hubCertificateSchema,
  hubProofSchema,
  receiptSchema,
  signedConsentSchema,
} from './identity/statements.ts';
import { idOfKey } from './ids.ts';
import { cidOf, decodeManifest, encodeManifest } from './manifest.ts';
import { nodeCrypto } from './node/node-crypto.ts';
import type { ChannelBinding } from './ports.ts';
import { fromFixture } from './testing/fixture-json.ts';
import { encodeFrame } from './wire/frame.ts';
import { parseToDevice, parseToHub, type ToDevice, type ToHub } from './wire/messages.ts';

function read<Entries>(name: string): Entries {
  const path = fileURLToPath(new URL(`../fixtures/v1/${name}`, import.meta.url));
  return (JSON.parse(readFileSync(path, 'utf8')) as { entries: Entries }).entries;
}

interface Frame {
  to: 'hub' | 'device';
  hex: string;
  value: unknown;
}
interface Statement {
  purpose: Purpose;
  signer: string;
  hex: string;
  value: unknown;
}
interface Key {
  seed: string;
  public: string;
  id: string;
}

interface SealedSession extends Record<'device' | 'hub', { seed: string; public: string }> {
  hello: string;
  challenge: string;
  secret: string;
  keys: { device: string; hub: string };
  'from device': { count: number; frame: string; sealed: string }[];
  'from hub': { count: number; frame: string; sealed: string }[];
}

const frames = read<Record<string, Frame>>('frames.json');
const manifests = read<Record<string, { cid: string; hex: string; value: unknown }>>('manifest.json');
type Name = 'hub-certificate' | 'agreement-key' | 'consent' | 'consent, version 2' | 'receipt' | 'receipt with energy';
const handshake = read<
  Record<Name, Statement> & {
    keys: { nowMs: number; binding: unknown } & Record<'territory' | 'hub' | 'device' | 'agreement', Key>;
    transcript: { hello: string; challenge: string; prove: string };
    'tokens digest': { tokens: number[]; hex: string };
    'numeric class': { parts: Parameters<typeof numericClassOf>[0]; name: string };
    'sealed session': SealedSession;
  }
>('handshake.json');
const { keys, transcript } = handshake;

test.each(Object.entries(frames))(
  'the frame "%s" parses to its value and is written with the same bytes',
  (_, frame) => {
    const parse: (bytes: Uint8Array) => { t: string } = frame.to === 'hub' ? parseToHub : parseToDevice;
    const message = parse(fromHex(frame.hex));
    expect(message).toEqual(fromFixture(frame.value));
    expect(hex(encodeFrame(message))).toBe(frame.hex);
  },
);

test('every kind of message has a fixture', () => {
  const toHub: Record<ToHub['t'], true> = {
    hello: true,
    prove: true,
    heartbeat: true,
    agreement: true,
    leave: true,
    unsupported: true,
    'answer.started': true,
    'answer.progress': true,
    'answer.token': true,
    'answer.finished': true,
    'answer.failed': true,
    'blob.have': true,
    'embed.done': true,
    'embed.failed': true,
    'sealed.part': true,
    'sealed.progress': true,
    'sealed.done': true,
    'sealed.failed': true,
  };
  const toDevice: Record<ToDevice['t'], true> = {
    challenge: true,
    welcome: true,
    refused: true,
    dropped: true,
    'heartbeat.ack': true,
    hold: true,
    answer: true,
    embed: true,
    sealed: true,
    cancel: true,
    'answer.resume': true,
    'answer.kept': true,
    move: true,
    drain: true,
    left: true,
    'blob.want': true,
    unsupported: true,
  };
  const kinds = (to: string): unknown[] => {
    const values = Object.values(frames)
      .filter((frame) => frame.to === to)
      .map(({ value }) => value as { t: string });
    return [...new Set(values.map(({ t }) => t))];
  };
  expect(kinds('hub').toSorted()).toEqual(Object.keys(toHub).toSorted());
  expect(kinds('device').toSorted()).toEqual(Object.keys(toDevice).toSorted());
});

const schemas = {
  'hub-certificate': hubCertificateSchema,
  'agreement-key': agreementKeySchema,
  consent: signedConsentSchema,
  'consent, version 2': signedConsentSchema,
  receipt: receiptSchema,
  'receipt with energy': receiptSchema,
};
test.each(Object.keys(schemas) as Name[])('the signed %s verifies and is signed with the same bytes', async (name) => {
  const { purpose, signer, hex: carried, value } = handshake[name];
  const opened = await openStatement(purpose, fromHex(carried), schemas[name], nodeCrypto, fromHex(signer));
  expect(opened.statement).toEqual(fromFixture(value));
  const seed = Object.values(keys).find((key) => (key as Key).public === signer) as Key;
  const pair = await nodeCrypto.signingKey(fromHex(seed.seed));
  expect(hex(await signStatement(purpose, opened.statement, pair, nodeCrypto))).toBe(carried);
});

test('ids and public keys follow from their seeds', async () => {
  for (const [prefix, key] of [
    ['ter', keys.territory],
    ['hub', keys.hub],
    ['dev', keys.device],
  ] as const) {
    const { publicKey } = await nodeCrypto.signingKey(fromHex(key.seed));
    expect([hex(publicKey), await idOfKey(prefix, publicKey, nodeCrypto)]).toEqual([key.public, key.id]);
  }
  const { publicKey } = await nodeCrypto.agreementKey(fromHex(keys.agreement.seed));
  expect(hex(publicKey)).toBe(keys.agreement.public);
  expect(hex(nodeCrypto.sha256(utf8('idlewild/v1/fixture/hub')) as Uint8Array)).toBe(keys.hub.seed);
});

test('the handshake convinces both sides, step by step, and each proof is made again with the same bytes', async () => {
  const [helloFrame, challengeFrame] = [fromHex(transcript.hello), fromHex(transcript.challenge)];
  const binding = fromFixture(keys.binding) as ChannelBinding;
  const challenge = parseToDevice(challengeFrame) as Extract<ToDevice, { t: 'challenge' }>;
  const territory = fromHex(keys.territory.public);
  const seen = await checkHub(
    { proof: challenge.proof, hello: helloFrame, territory, binding, nowMs: keys.nowMs },
    nodeCrypto,
  );
  expect([seen.version, hex(seen.hub)]).toEqual([1, keys.hub.public]);

  const prove = parseToHub(fromHex(transcript.prove)) as Extract<ToHub, { t: 'prove' }>;
  const device = fromHex(keys.device.public);
  const checked = await checkDevice(
    { proof: prove.proof, challenge: challengeFrame, device, nowMs: keys.nowMs },
    nodeCrypto,
  );
  expect(checked.consent).toEqual({
    ...(fromFixture(handshake.consent.value) as object),
    classes: ['public', 'internal'],
    causes: [],
    refused: [],
    gpu: 'never',
  });
  expect(checked.agreementKey).toEqual(fromFixture(handshake['agreement-key'].value));
  await checkAgreementKey({ key: checked.proof.agreementKey, device, nowMs: keys.nowMs }, nodeCrypto);

  const hubPair = await nodeCrypto.signingKey(fromHex(keys.hub.seed));
  const devicePair = await nodeCrypto.signingKey(fromHex(keys.device.seed));
  const { statement: hubProof } = await openStatement('hub-proof', challenge.proof, hubProofSchema, nodeCrypto);
  expect(await proveHub({ ...hubProof, hello: helloFrame }, hubPair, nodeCrypto)).toEqual(challenge.proof);
  const { statement: deviceProof } = await openStatement('device-proof', prove.proof, deviceProofSchema, nodeCrypto);
  expect(await proveDevice({ ...deviceProof, challenge: challengeFrame }, devicePair, nodeCrypto)).toEqual(prove.proof);
});

test('a sealed session has its keys, and its frames open at both ends', async () => {
  const sealed = handshake['sealed session'];
  const [hello, challenge] = [fromHex(sealed.hello), fromHex(sealed.challenge)];
  const { proof } = parseToDevice(challenge) as Extract<ToDevice, { t: 'challenge' }>;
  const territory = fromHex(keys.territory.public);
  const { binding } = await checkHub({ proof, hello, territory, binding: 'session', nowMs: keys.nowMs }, nodeCrypto);
  expect(binding).toEqual({ kind: 'session', key: fromHex(sealed.hub.public) });
  const { session = new Uint8Array() } = parseToHub(hello) as Extract<ToHub, { t: 'hello' }>;
  expect(hex(session)).toBe(sealed.device.public);
  for (const [end, own, peer, sends] of [
    ['device', sealed.device, sealed.hub, sealed['from device']],
    ['hub', sealed.hub, sealed.device, sealed['from hub']],
  ] as const) {
    const ownKey = fromHex(own.seed);
    expect(hex(await nodeCrypto.agree(ownKey, fromHex(peer.public)))).toBe(sealed.secret);
    const made = await sessionKeys({ end, ownKey, peerKey: fromHex(peer.public), hello, challenge }, nodeCrypto);
    expect(hex(made.send)).toBe(sealed.keys[end]);
    const line: Uint8Array[] = [];
    const channel = sealable(
      {
        binding: { kind: 'loopback' },
        send: (frame) => line.push(frame),
        bufferedBytes: () => 0,
        close: () => undefined,
        listen: () => undefined,
      },
      nodeCrypto,
    );
    channel.seal(made);
    for (const { frame } of sends) channel.send(fromHex(frame));
    expect(line.map(hex)).toEqual(sends.map((each) => each.sealed));
  }
});

test('token digests and numeric classes are what they were', async () => {
  const { tokens, hex: digest } = handshake['tokens digest'];
  expect(hex(await digestTokens(tokens, nodeCrypto))).toBe(digest);
  const { parts, name } = handshake['numeric class'];
  expect(await numericClassOf(parts, nodeCrypto)).toBe(name);
});

test.each(Object.entries(manifests))(
  'the manifest with %s has its CID and is written with the same bytes',
  async (_, fixture) => {
    const manifest = decodeManifest(fromHex(fixture.hex));
    expect(manifest).toEqual(fromFixture(fixture.value));
    expect((await cidOf(0x71, fromHex(fixture.hex), nodeCrypto)).toString()).toBe(fixture.cid);
    const { cid, bytes } = await encodeManifest(manifest, nodeCrypto);
    expect([cid.toString(), hex(bytes)]).toEqual([fixture.cid, fixture.hex]);
  },
);

test('the generator still makes every fixture as it is', async () => {
  for (const [file, made] of Object.entries(await makeFixtures())) expect(made.entries).toEqual(read(file));
});
