import { expect, test } from 'vitest';
import { utf8 } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { ChannelBinding, Crypto, KeyPair } from '../ports.ts';
import { createSeededRandom } from '../testing/seeded-random.ts';
import { encodeFrame, type Fields } from '../wire/frame.ts';
import {
  checkAgreementKey,
  checkDevice,
  checkHub,
  digestTokens,
  proveDevice,
  proveHub,
  sameBinding,
} from './handshake.ts';
import { openStatement, signStatement } from './signed.ts';
import { deviceProofSchema } from './statements.ts';

const NOW_MS = 1_800_000_000_000;
const random = createSeededRandom(1);
const newKey = async (): Promise<KeyPair> => nodeCrypto.signingKey(random.bytes(32));
const [territory, otherTerritory, hub, otherHub, device, otherDevice] = [
  await newKey(),
  await newKey(),
  await newKey(),
  await newKey(),
  await newKey(),
  await newKey(),
];

const newHello = (): Uint8Array =>
  encodeFrame({
    t: 'hello',
    versions: [1],
    device: device.publicKey,
    territory: territory.publicKey,
    nonce: random.bytes(32),
  });
const tls = (byte: number): ChannelBinding => ({ kind: 'tls', spki: new Uint8Array(32).fill(byte) });

interface HubSide {
  signer: KeyPair;
  territory: KeyPair;
  certified: KeyPair;
  named: KeyPair;
  version: number;
  binding: ChannelBinding;
  life: [number, number];
}
const honestHub: HubSide = {
  signer: hub,
  territory,
  certified: hub,
  named: territory,
  version: 1,
  binding: tls(1),
  life: [NOW_MS, NOW_MS + 1_000],
};

async function hubProof(hello: Uint8Array, change: Partial<HubSide> = {}): Promise<Uint8Array> {
  const side = { ...honestHub, ...change };
  const [issuedAtMs, expiresAtMs] = side.life;
  const certificate = await signStatement(
    'hub-certificate',
    { v: 1, territory: side.named.publicKey, hub: side.certified.publicKey, issuedAtMs, expiresAtMs },
    side.territory,
    nodeCrypto,
  );
  const { version, binding } = side;
  return proveHub({ version, hello, certificate, nonce: random.bytes(32), binding }, side.signer, nodeCrypto);
}

const check = (proof: Uint8Array, hello: Uint8Array, nowMs = NOW_MS): ReturnType<typeof checkHub> =>
  checkHub({ proof, hello, territory: territory.publicKey, binding: tls(1), nowMs }, nodeCrypto);

test('an honest hub convinces a device that pins its territory', async () => {
  const hello = newHello();
  expect(await check(await hubProof(hello), hello)).toEqual({ version: 1, hub: hub.publicKey, binding: tls(1) });
});

test.each<[string, Partial<HubSide>, RegExp]>([
  ['another territory signed its certificate', { territory: otherTerritory }, /another key than expected/],
  ['its certificate is of another territory', { named: otherTerritory }, /of another territory/],
  ['its certificate names another hub', { certified: otherHub }, /names another key/],
  ['it signs with a key that no certificate names', { signer: otherHub }, /names another key/],
  ['something stands in between with its own TLS key', { binding: tls(2) }, /stands in between/],
  ['it believes that the channel is not encrypted', { binding: { kind: 'loopback' } }, /stands in between/],
])('a hub is not trusted when %s', async (_, change, message) => {
  const hello = newHello();
  await expect(check(await hubProof(hello, change), hello)).rejects.toMatchObject({
    code: 'hub_untrusted',
    message: expect.stringMatching(message) as string,
  });
});

test('a device that asked for a sealed session learns the key of the hub, and takes nothing less', async () => {
  const hello = newHello();
  const key = random.bytes(32);
  const askedFor = async (proof: Uint8Array): ReturnType<typeof checkHub> =>
    checkHub({ proof, hello, territory: territory.publicKey, binding: 'session', nowMs: NOW_MS }, nodeCrypto);
  const sealed = await askedFor(await hubProof(hello, { binding: { kind: 'session', key } }));
  expect(sealed.binding).toEqual({ kind: 'session', key });
  for (const binding of [tls(1), { kind: 'loopback' }] as const) {
    await expect(askedFor(await hubProof(hello, { binding }))).rejects.toMatchObject({
      code: 'hub_untrusted',
      message: expect.stringMatching(/does not seal/) as string,
    });
  }
});

test('a device that asked for none is given none', async () => {
  const hello = newHello();
  const proof = await hubProof(hello, { binding: { kind: 'session', key: random.bytes(32) } });
  await expect(check(proof, hello)).rejects.toThrow('stands in between');
});

test("a hub's proof serves one handshake only", async () => {
  const proof = await hubProof(newHello());
  await expect(check(proof, newHello())).rejects.toThrow('another handshake');
});

test('a certificate counts from its issue to its expiry, give or take the clocks', async () => {
  const hello = newHello();
  const proof = await hubProof(hello, { life: [NOW_MS, NOW_MS + 1_000] });
  const skew = LIMITS.clockSkewMs;
  for (const nowMs of [NOW_MS - skew, NOW_MS + 1_000 + skew]) await check(proof, hello, nowMs);
  await expect(check(proof, hello, NOW_MS - skew - 1)).rejects.toThrow('not valid yet');
  await expect(check(proof, hello, NOW_MS + 1_000 + skew + 1)).rejects.toThrow('has expired');
});

test('a version that the device does not speak is refused as such', async () => {
  const hello = newHello();
  await expect(check(await hubProof(hello, { version: 9 }), hello)).rejects.toMatchObject({
    code: 'version_unsupported',
  });
});

interface DeviceSide {
  signer: KeyPair;
  consentSigner: KeyPair;
  consentOf: KeyPair;
  keySigner: KeyPair;
  keyOf: KeyPair;
  keyExpiresAtMs: number;
  consent: Fields;
  proof: Fields;
}
const honestDevice: DeviceSide = {
  signer: device,
  consentSigner: device,
  consentOf: device,
  keySigner: device,
  keyOf: device,
  keyExpiresAtMs: NOW_MS + 1,
  consent: {},
  proof: {},
};

async function deviceProof(challenge: Uint8Array, change: Partial<DeviceSide> = {}): Promise<Uint8Array> {
  const side = { ...honestDevice, ...change };
  const agreementKey = await signStatement(
    'agreement-key',
    { v: 1, device: side.keyOf.publicKey, key: random.bytes(32), issuedAtMs: NOW_MS, expiresAtMs: side.keyExpiresAtMs },
    side.keySigner,
    nodeCrypto,
  );
  const consent = await signStatement(
    'consent',
    {
      v: 1,
      device: side.consentOf.publicKey,
      territories: [],
      kinds: ['answers'],
      presence: 'ignore',
      issuedAtMs: NOW_MS,
      ...side.consent,
    },
    side.consentSigner,
    nodeCrypto,
  );
  const profile = {
    platform: 'linux',
    arch: 'x64',
    cores: 1,
    memoryBytes: 1,
    gflops: 1,
    agentVersion: '1',
    engineBuild: '1',
    fingerprint: '1',
    providers: [],
  };
  const status = { state: 'ready' as const, pauseReasons: [], slots: 1, active: 0, models: [] };
  return proveDevice(
    { challenge, name: 'a', agreementKey, consent, profile, status, ...side.proof },
    side.signer,
    nodeCrypto,
  );
}

const challengeOf = (byte: number): Uint8Array => encodeFrame({ t: 'challenge', proof: new Uint8Array(8).fill(byte) });
const checkProof = (proof: Uint8Array, challenge = challengeOf(1)): ReturnType<typeof checkDevice> =>
  checkDevice({ proof, challenge, device: device.publicKey, nowMs: NOW_MS }, nodeCrypto);

test('an honest device convinces a hub, also with fields that the hub does not know', async () => {
  expect((await checkProof(await deviceProof(challengeOf(1)))).consent.kinds).toEqual(['answers']);
  const grown = await deviceProof(challengeOf(1), { consent: { weather: 'fine' }, proof: { mood: 1 } });
  expect((await checkProof(grown)).consent).not.toHaveProperty('weather');
});

test.each<[string, Partial<DeviceSide>, RegExp]>([
  ['another device signed it', { signer: otherDevice }, /another key than expected/],
  ['another device signed its consent', { consentSigner: otherDevice }, /another key than expected/],
  ['its consent is of another device', { consentOf: otherDevice }, /consent is of another device/],
  ['another device signed its agreement key', { keySigner: otherDevice }, /another key than expected/],
  ['its agreement key is of another device', { keyOf: otherDevice }, /agreement key is of another device/],
  ['its agreement key has expired', { keyExpiresAtMs: NOW_MS - LIMITS.clockSkewMs - 1 }, /agreement key has expired/],
  ['its consent carries a condition that this hub does not know', { consent: { '!daytime': true } }, /"!daytime"/],
  ['its consent allows a kind of work that there is not', { consent: { kinds: ['mining'] } }, /kinds/],
  ['its name is empty', { proof: { name: '' } }, /at name/],
])('a device is refused when %s', async (_, change, message) => {
  await expect(checkProof(await deviceProof(challengeOf(1), change))).rejects.toMatchObject({
    code: 'handshake_refused',
    message: expect.stringMatching(message) as string,
  });
});

test('a consent that was verified before is checked but for its signature, and any other one wholly', async () => {
  const checkKnowing = async (change: Partial<DeviceSide>, damage?: (consent: Uint8Array) => Uint8Array) => {
    const honest = await deviceProof(challengeOf(1), change);
    const carried = (await openStatement('device-proof', honest, deviceProofSchema, nodeCrypto)).statement.consent;
    const consent = damage?.(carried) ?? carried;
    const proof = damage === undefined ? honest : await deviceProof(challengeOf(1), { proof: { consent } });
    const verified: string[] = [];
    const crypto: Crypto = {
      ...nodeCrypto,
      verify(key, bytes, signature) {
        verified.push(new TextDecoder().decode(bytes).split('\0', 1)[0] ?? '');
        return nodeCrypto.verify(key, bytes, signature);
      },
    };
    const verifiedConsent = async (): Promise<Uint8Array> => carried;
    const input = { proof, challenge: challengeOf(1), device: device.publicKey, nowMs: NOW_MS, verifiedConsent };
    await checkDevice(input, crypto);
    return verified;
  };
  expect(await checkKnowing({})).toEqual(['idlewild/v1/device-proof', 'idlewild/v1/agreement-key']);
  await expect(checkKnowing({ consentOf: otherDevice })).rejects.toThrow('consent is of another device');
  await expect(checkKnowing({ consentSigner: otherDevice })).rejects.toThrow('another key than expected');
  await expect(checkKnowing({ consent: { '!daytime': true } })).rejects.toThrow('"!daytime"');
  // Its last byte is the signature's.
  const damaged = (consent: Uint8Array): Uint8Array => consent.map((byte, at) => byte ^ +(at === consent.length - 1));
  await expect(checkKnowing({}, damaged)).rejects.toThrow('signature of a consent does not verify');
});

test("a device's proof serves one handshake only", async () => {
  const proof = await deviceProof(challengeOf(1));
  await expect(checkProof(proof, challengeOf(2))).rejects.toThrow('another handshake');
});

test('a statement of one purpose is no statement of another', async () => {
  const consent = await signStatement(
    'consent',
    { v: 1, device: device.publicKey, key: random.bytes(32), issuedAtMs: NOW_MS, expiresAtMs: NOW_MS },
    device,
    nodeCrypto,
  );
  const asKey = checkAgreementKey({ key: consent, device: device.publicKey, nowMs: NOW_MS }, nodeCrypto);
  await expect(asKey).rejects.toMatchObject({ code: 'signature_invalid' });
});

test('no damaged proof convinces anybody, whatever the damage', async () => {
  const hello = newHello();
  const [fromHub, fromDevice] = [await hubProof(hello), await deviceProof(challengeOf(1))];
  for (let seed = 1; seed <= 300; seed++) {
    const damage = createSeededRandom(seed);
    const damaged = (whole: Uint8Array): Uint8Array => {
      const copy = whole.slice(0, damage.unit() < 0.1 ? Math.floor(damage.unit() * whole.length) : whole.length);
      const at = Math.floor(damage.unit() * copy.length);
      if (copy.length > 0) copy[at] = (copy[at] as number) ^ (1 << Math.floor(damage.unit() * 8));
      return copy;
    };
    await expect(check(damaged(fromHub), hello), `seed ${seed}`).rejects.toMatchObject({ code: 'hub_untrusted' });
    await expect(checkProof(damaged(fromDevice)), `seed ${seed}`).rejects.toMatchObject({ code: 'handshake_refused' });
  }
});

test('bindings are the same only when kind and key are', () => {
  expect(sameBinding(tls(1), tls(1))).toBe(true);
  expect(sameBinding({ kind: 'loopback' }, { kind: 'loopback' })).toBe(true);
  expect(sameBinding(tls(1), tls(2))).toBe(false);
  expect(sameBinding(tls(1), { kind: 'loopback' })).toBe(false);
  const session = (byte: number): ChannelBinding => ({ kind: 'session', key: new Uint8Array(32).fill(byte) });
  expect(sameBinding(session(1), session(1))).toBe(true);
  expect(sameBinding(session(1), session(2))).toBe(false);
  expect(sameBinding(session(1), tls(1))).toBe(false);
});

test('a digest of tokens depends on each of them and on their order', async () => {
  const answers = [[], [1], [1, 2], [2, 1], [256]];
  const digests = await Promise.all(answers.map((tokens) => digestTokens(tokens, nodeCrypto)));
  expect(new Set(digests.map(String)).size).toBe(digests.length);
  expect(await digestTokens([], nodeCrypto)).toEqual(await nodeCrypto.sha256(utf8('')));
});
