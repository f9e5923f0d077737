import { expect, test } from 'vitest';
import { concat, hex, utf8 } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { Channel, Crypto, SessionKeys } from '../ports.ts';
import { createSeededRandom } from '../testing/seeded-random.ts';
import { sealable, sessionKeys, type SealableChannel } from './sealed-channel.ts';

const random = createSeededRandom(4);
const [deviceKey, hubKey] = [
  await nodeCrypto.agreementKey(random.bytes(32)),
  await nodeCrypto.agreementKey(random.bytes(32)),
];
const transcript = { hello: utf8('hello'), challenge: utf8('challenge') };
const [atDevice, atHub] = await Promise.all([
  sessionKeys({ end: 'device', ownKey: deviceKey.privateKey, peerKey: hubKey.publicKey, ...transcript }, nodeCrypto),
  sessionKeys({ end: 'hub', ownKey: hubKey.privateKey, peerKey: deviceKey.publicKey, ...transcript }, nodeCrypto),
]);

/** Whatever runs between the two ends: what it returns arrives, at once. */
type Between = (frame: Uint8Array, towards: 'device' | 'hub') => readonly Uint8Array[];
const honest: Between = (frame) => [frame];

interface End {
  readonly channel: SealableChannel;
  readonly got: Uint8Array[];
  readonly closed: string[];
}

/** Two ends, both sealed, of a line that hands over in the same turn. */
function createLine(between: Between = honest, crypto: Crypto = nodeCrypto): { device: End; hub: End } {
  const handlers = new Map<'device' | 'hub', Parameters<Channel['listen']>[0]>();
  let closed = false;
  const endOf = (own: 'device' | 'hub', keys: SessionKeys): End => {
    const other = own === 'device' ? 'hub' : 'device';
    const channel = sealable(
      {
        binding: { kind: 'loopback' },
        send(frame) {
          for (const each of between(frame, other)) if (!closed) handlers.get(other)?.onFrame(each);
        },
        bufferedBytes: () => 0,
        close(reason) {
          if (closed) return;
          closed = true;
          for (const { onClose } of handlers.values()) onClose(reason);
        },
        listen: (given) => void handlers.set(own, given),
      },
      crypto,
    );
    const end: End = { channel, got: [], closed: [] };
    channel.listen({ onFrame: (frame) => end.got.push(frame), onClose: (reason) => end.closed.push(reason) });
    channel.seal(keys);
    return end;
  };
  return { device: endOf('device', atDevice), hub: endOf('hub', atHub) };
}

test('both ends come to the same two keys, which hang on every byte of both frames', async () => {
  expect(atDevice.send).toEqual(atHub.receive);
  expect(atDevice.receive).toEqual(atHub.send);
  expect(atDevice.send).not.toEqual(atDevice.receive);
  for (const other of [
    { ...transcript, hello: utf8('hellp') },
    { ...transcript, challenge: utf8('challengf') },
    { hello: utf8('hellochal'), challenge: utf8('lenge') },
  ]) {
    const keys = await sessionKeys(
      { end: 'device', ownKey: deviceKey.privateKey, peerKey: hubKey.publicKey, ...other },
      nodeCrypto,
    );
    expect(keys.send).not.toEqual(atDevice.send);
    expect(keys.receive).not.toEqual(atDevice.receive);
  }
});

test('an end without one of the two private keys comes to other keys', async () => {
  const between = await nodeCrypto.agreementKey(random.bytes(32));
  for (const peerKey of [deviceKey.publicKey, hubKey.publicKey]) {
    const keys = await sessionKeys({ end: 'hub', ownKey: between.privateKey, peerKey, ...transcript }, nodeCrypto);
    expect([atHub.send, atHub.receive]).not.toContainEqual(keys.send);
    expect([atHub.send, atHub.receive]).not.toContainEqual(keys.receive);
  }
});

test('frames arrive whole and in order, both ways, and nothing of them is on the line', () => {
  const seen: Uint8Array[] = [];
  const { device, hub } = createLine((frame) => {
    seen.push(frame);
    return [frame];
  });
  const frames = [utf8('a join token'), new Uint8Array(), new Uint8Array(70_000).fill(7), utf8('a prompt')];
  for (const frame of frames) {
    device.channel.send(frame);
    hub.channel.send(frame);
  }
  expect(hub.got).toEqual(frames);
  expect(device.got).toEqual(frames);
  expect(Buffer.from(concat(seen)).includes('a join token')).toBe(false);
  expect(Buffer.from(concat(seen)).includes('a prompt')).toBe(false);
  expect(new Set(seen.map(hex)).size).toBe(seen.length);
  expect(seen.map(({ length }) => length - LIMITS.sealBytes)).toEqual(frames.flatMap(({ length }) => [length, length]));
});

const flipped = (frame: Uint8Array, at: number): Uint8Array =>
  frame.map((byte, index) => (index === at ? byte ^ 1 : byte));
const kept: Uint8Array[] = [];
const attacks: [string, (frame: Uint8Array, index: number) => Uint8Array[]][] = [
  ['flips the first bit', (frame) => [flipped(frame, 0)]],
  ['flips a bit of the tag', (frame) => [flipped(frame, frame.length - 1)]],
  ['cuts a frame short', (frame) => [frame.subarray(0, -1)]],
  ['makes a frame longer', (frame) => [concat([frame, new Uint8Array(1)])]],
  ['cuts a frame to less than a tag', (frame) => [frame.subarray(0, 4)]],
  ['sends an empty frame', () => [new Uint8Array()]],
  ['adds a frame that is not sealed', (frame) => [utf8('a plain frame of its own'), frame]],
  ['repeats a frame', (frame) => [frame, frame]],
  ['drops a frame', (_, index) => (index === 3 ? [] : [kept[index] as Uint8Array])],
  ['swaps two frames', (frame, index) => (index === 3 ? [] : index === 4 ? [frame, kept[3] as Uint8Array] : [frame])],
  ['plays an old frame again', (frame, index) => (index === 3 ? [kept[0] as Uint8Array] : [frame])],
];
test.each(attacks)('who %s ends the channel, and nothing more arrives', (_, attack) => {
  let index = -1;
  kept.length = 0;
  const { device, hub } = createLine((frame, towards) => {
    if (towards === 'device') return [frame];
    kept.push(frame);
    index += 1;
    return index < 3 ? [frame] : attack(frame, index);
  });
  const sent = Array.from({ length: 8 }, (__, number) => utf8(`frame ${number}`));
  for (const frame of sent) device.channel.send(frame);
  // What came before the attack is as it was sent; after it nothing came.
  expect(hub.got).toEqual(sent.slice(0, hub.got.length));
  expect(hub.got.length).toBeLessThanOrEqual(5);
  expect(hub.closed).toEqual([expect.stringContaining('not sealed by the other end')]);
  expect(device.closed).toHaveLength(1);
});

test('who sends a frame back to where it came from ends the channel', () => {
  const toDevice: Uint8Array[] = [];
  const { device, hub } = createLine((frame, towards) => {
    if (towards === 'hub') toDevice.push(frame);
    return towards === 'hub' ? [] : toDevice.splice(0);
  });
  device.channel.send(utf8('mine'));
  hub.channel.send(utf8('theirs'));
  expect(device.got).toEqual([]);
  expect(device.closed).toHaveLength(1);
});

test('no key seals two frames with one count, however many there are, and both ends change keys together', () => {
  const used = new Set<string>();
  const keys = new Set<string>();
  // What it seals carries its key: quick enough for so many frames, and another key does not open it.
  const marking: Crypto = {
    ...nodeCrypto,
    seal(key, nonce) {
      keys.add(hex(key));
      used.add(`${keys.size} ${new DataView(nonce.buffer).getUint32(8)}`);
      return key;
    },
    open(key, _nonce, sealed) {
      if (key.some((byte, index) => byte !== sealed[index])) throw new Error('another key');
      return sealed;
    },
  };
  const { device, hub } = createLine(honest, marking);
  const count = 2 * LIMITS.sealFramesPerKey + 3;
  for (let index = 0; index < count; index++) device.channel.send(utf8('x'));
  expect([keys.size, used.size, hub.got.length, hub.closed.length]).toEqual([3, count, count, 0]);
});

/** As a browser has it: every answer in a later turn, and the shorter the frame the sooner. */
function createLateCrypto(): Crypto {
  const later = async (bytes: Uint8Array, work: () => unknown): Promise<Uint8Array> => {
    for (let turn = 0; turn <= bytes.length; turn++) await Promise.resolve();
    return work() as Uint8Array;
  };
  return {
    ...nodeCrypto,
    hkdf: (...all) => later(new Uint8Array(3), () => nodeCrypto.hkdf(...all)),
    seal: (key, nonce, plain, bound) => later(plain, () => nodeCrypto.seal(key, nonce, plain, bound)),
    open: (key, nonce, sealed, bound) => later(sealed, () => nodeCrypto.open(key, nonce, sealed, bound)),
  };
}

test('with a platform that answers later the order is kept, what waits is counted, and close comes last', async () => {
  const { device, hub } = createLine(honest, createLateCrypto());
  const frames = [20, 1, 9, 0, 4].map((length) => new Uint8Array(length).fill(length));
  for (const frame of frames) device.channel.send(frame);
  expect(device.channel.bufferedBytes()).toBe(34);
  device.channel.close('done');
  await expect.poll(() => hub.closed).toEqual(['done']);
  expect(hub.got).toEqual(frames);
  expect(device.channel.bufferedBytes()).toBe(0);
  expect(device.closed).toEqual(['done']);
});

test('with a platform that answers later a changed frame ends the channel all the same', async () => {
  let index = 0;
  const { device, hub } = createLine((frame) => (index++ === 1 ? [flipped(frame, 0)] : [frame]), createLateCrypto());
  for (const text of ['one', 'two', 'three']) device.channel.send(utf8(text));
  await expect.poll(() => hub.closed).toHaveLength(1);
  expect(hub.got).toEqual([utf8('one')]);
});
