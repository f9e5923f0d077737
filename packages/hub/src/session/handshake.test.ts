import {
  checkHub,
  encodeFrame,
  parseToDevice,
  sealable,
  sessionKeys,
  signStatement,
  type Channel,
  type ChannelBinding,
  type KeyPair,
  type ToDevice,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createHandshake } from './handshake.ts';
import { UNKNOWN_STANDING } from '../trust/standing.ts';

const NOW_MS = 1_800_000_000_000;
const random = createSeededRandom(5);
const newKey = async (): Promise<KeyPair> => nodeCrypto.signingKey(random.bytes(32));
const [territory, hubKey, device] = await Promise.all([newKey(), newKey(), newKey()]);
const session = await nodeCrypto.agreementKey(random.bytes(32));
const life = { issuedAtMs: NOW_MS, expiresAtMs: NOW_MS + 1_000 };
const certificate = await signStatement(
  'hub-certificate',
  { v: 1, territory: territory.publicKey, hub: hubKey.publicKey, ...life },
  territory,
  nodeCrypto,
);
const helloWith = (key?: Uint8Array): Uint8Array =>
  encodeFrame({
    t: 'hello',
    versions: [1],
    device: device.publicKey,
    territory: territory.publicKey,
    nonce: random.bytes(32),
    session: key,
  });

interface Line {
  readonly channel: Channel;
  /** What the hub sent, as it is on the line. */
  readonly sent: Uint8Array[];
  readonly closed: string[];
  /** Hands the hub's channel a frame of the line; what it makes of it goes to the owner. */
  arrive(frame: Uint8Array): void;
  readonly got: Uint8Array[];
}

function createLine(canSeal: boolean): Line {
  const [sent, got, closed]: [Uint8Array[], Uint8Array[], string[]] = [[], [], []];
  let onFrame: (frame: Uint8Array) => void = () => undefined;
  const plain: Channel = {
    binding: { kind: 'loopback' },
    send: (frame) => sent.push(frame),
    bufferedBytes: () => 0,
    close: () => undefined,
    listen: (handlers) => {
      ({ onFrame } = handlers);
    },
  };
  const channel = canSeal ? sealable(plain, nodeCrypto) : plain;
  channel.listen({ onFrame: (frame) => got.push(frame), onClose: (reason) => closed.push(reason) });
  return { channel, sent, got, closed, arrive: (frame) => onFrame(frame) };
}

const handshakeOver = (channel: Channel): ReturnType<typeof createHandshake> =>
  createHandshake({
    channel,
    identity: { territoryKey: territory.publicKey, hubKey, certificate: () => certificate },
    random,
    crypto: nodeCrypto,
    clock: { now: () => NOW_MS, monotonic: () => 0, after: () => ({ cancel: () => undefined }) },
    enrolment: {
      find: async () => ({
        consent: undefined,
        admit: async () => ({ id: 'dev', name: 'kettle', territory: 'ter', standing: UNKNOWN_STANDING }),
      }),
      unproved: () => undefined,
      isRevoked: async () => false,
      leave: async () => new Uint8Array(),
      touch: () => undefined,
    },
  });

/** What a device learns from the challenge that the hub sent. */
async function bindingSeen(
  line: Line,
  hello: Uint8Array,
  binding: ChannelBinding | 'session',
): Promise<ChannelBinding> {
  const challenge = parseToDevice(line.sent[0] as Uint8Array) as Extract<ToDevice, { t: 'challenge' }>;
  const input = { proof: challenge.proof, hello, territory: territory.publicKey, nowMs: NOW_MS };
  return (await checkHub({ ...input, binding }, nodeCrypto)).binding;
}

test('a session that a device asks for is sealed from the challenge on, both ways', async () => {
  const line = createLine(true);
  const hello = helloWith(session.publicKey);
  await handshakeOver(line.channel).read(hello);
  const binding = await bindingSeen(line, hello, 'session');
  if (binding.kind !== 'session') throw new Error('it is not sealed');
  const [challenge] = line.sent as [Uint8Array];
  const keys = await sessionKeys(
    { end: 'device', ownKey: session.privateKey, peerKey: binding.key, hello, challenge },
    nodeCrypto,
  );
  const [nonce, none] = [new Uint8Array(12), new Uint8Array()];
  line.channel.send(encodeFrame({ t: 'unsupported', kind: 'x' }));
  const opened = await nodeCrypto.open(keys.receive, nonce, line.sent[1] as Uint8Array, none);
  expect(parseToDevice(opened)).toEqual({ t: 'unsupported', kind: 'x' });
  const prove = encodeFrame({ t: 'prove', proof: random.bytes(8) });
  line.arrive(await nodeCrypto.seal(keys.send, nonce, prove, none));
  expect(line.got).toEqual([prove]);
  line.arrive(prove);
  expect([line.got.length, line.closed.length]).toEqual([1, 1]);
});

test('each session has a key of its own', async () => {
  const keys = new Set<string>();
  for (let count = 0; count < 3; count++) {
    const line = createLine(true);
    const hello = helloWith(session.publicKey);
    await handshakeOver(line.channel).read(hello);
    const binding = await bindingSeen(line, hello, 'session');
    keys.add(binding.kind === 'session' ? binding.key.join() : '');
  }
  expect(keys.size).toBe(3);
});

test('who asks for nothing has the channel as it is, and so has who asks on one that cannot be sealed', async () => {
  for (const [canSeal, key] of [
    [true, undefined],
    [false, session.publicKey],
  ] as const) {
    const line = createLine(canSeal);
    const hello = helloWith(key);
    await handshakeOver(line.channel).read(hello);
    expect(await bindingSeen(line, hello, { kind: 'loopback' })).toEqual({ kind: 'loopback' });
    line.channel.send(hello);
    expect(line.sent[1]).toEqual(hello);
  }
});

test('a key with which no secret can be agreed is refused, and nothing is signed for it', async () => {
  const line = createLine(true);
  await expect(handshakeOver(line.channel).read(helloWith(new Uint8Array(32)))).rejects.toMatchObject({
    code: 'signature_invalid',
  });
  expect(line.sent).toEqual([]);
});
