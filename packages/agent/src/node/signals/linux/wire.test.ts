import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import type { LocalSocket } from '../system.ts';
import { createRecordedSystem, emptyMachine } from '../testing/recorded-system.ts';
import { openBus } from './dbus.ts';
import { messageLength, readMessage, writeCall } from './dbus-format.ts';
import { openSeat } from './wayland.ts';
import { findCookie, openDisplay } from './x11.ts';

interface Peer extends LocalSocket {
  readonly written: Buffer[];
  say(bytes: Uint8Array): void;
  hangUp(): void;
  readonly isClosed: () => boolean;
}

/** The other end of a socket; `answer` is called with each thing that was written. */
function createPeer(answer: (bytes: Buffer, peer: Peer) => void = () => undefined): Peer {
  let handlers: Parameters<LocalSocket['listen']>[0] | undefined;
  let isClosed = false;
  const peer: Peer = {
    written: [],
    isClosed: () => isClosed,
    say: (bytes) => handlers?.onBytes(bytes),
    hangUp: () => handlers?.onClose(),
    write(bytes) {
      peer.written.push(Buffer.from(bytes));
      queueMicrotask(() => answer(Buffer.from(bytes), peer));
    },
    listen(given) {
      handlers = given;
    },
    close() {
      isClosed = true;
    },
  };
  return peer;
}

const busSystem = (peer: LocalSocket) => ({
  ...createRecordedSystem(emptyMachine('linux')),
  connect: () => Promise.resolve<LocalSocket | undefined>(peer),
});

describe('a peer that speaks no sense', () => {
  const openers = {
    'an X display': (peer: Peer, clock: ReturnType<typeof createFakeClock>) => openDisplay(peer, clock, undefined),
    'a Wayland compositor': (peer: Peer, clock: ReturnType<typeof createFakeClock>) => openSeat(peer, clock),
    'a message bus': (peer: Peer, clock: ReturnType<typeof createFakeClock>) =>
      openBus(busSystem(peer), clock, 'unix:path=/bus'),
  };

  test.for(Object.entries(openers))('as %s is closed, whatever it says', async ([, open]) => {
    const random = createSeededRandom(7);
    for (let round = 0; round < 60; round++) {
      const clock = createFakeClock(yieldToNode);
      // Some begin as the real one does.
      const starts = [
        Buffer.alloc(0),
        Buffer.of(1, 0, 11, 0, 0, 0, 2, 0),
        Buffer.from('OK 0123\r\n'),
        Buffer.of(2, 0, 0, 0),
      ];
      const start = starts[round % starts.length] as Buffer;
      const peer = createPeer((_, own) =>
        own.say(Buffer.concat([start, random.bytes(Math.floor(random.unit() * 200))])),
      );
      const opening = open(peer, clock);
      let opened: unknown = 'not yet';
      void opening.then((link) => (opened = link));
      for (let second = 0; second < 12 && opened === 'not yet'; second++) await clock.advance(1_000);
      expect(opened).toBeUndefined();
      expect(peer.isClosed()).toBe(true);
    }
  });

  test.for(Object.entries(openers))(
    'as %s is not waited for when it says nothing, and gone when it hangs up',
    async ([, open]) => {
      const clock = createFakeClock(yieldToNode);
      const silent = createPeer();
      const waiting = open(silent, clock);
      await clock.advance(1_000);
      await expect(waiting).resolves.toBeUndefined();
      const gone = createPeer((_, own) => own.hangUp());
      await expect(open(gone, clock)).resolves.toBeUndefined();
    },
  );
});

describe('Wayland', () => {
  const event = (object: number, opcode: number, body: Buffer = Buffer.alloc(0)): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(object, 0);
    head.writeUInt32LE(((8 + body.length) << 16) | opcode, 4);
    return Buffer.concat([head, body]);
  };
  const global = (name: number, kind: string, version: number): Buffer => {
    const text = Buffer.alloc((kind.length + 4) & ~3);
    text.write(kind);
    const words = Buffer.alloc(12);
    words.writeUInt32LE(name, 0);
    words.writeUInt32LE(kind.length + 1, 4);
    words.writeUInt32LE(version, 8);
    return event(2, 0, Buffer.concat([words.subarray(0, 8), text, words.subarray(8)]));
  };
  /** It lists what it has, a byte at a time. */
  const compositor = (...globals: Buffer[]): Peer => {
    let isListed = false;
    return createPeer((_, own) => {
      if (isListed) return;
      isListed = true;
      for (const byte of Buffer.concat([...globals, event(3, 0)])) own.say(Buffer.of(byte));
    });
  };

  test.for([
    ['ext_idle_notifier_v1', 2, [2, 6, 1_000, 4]],
    ['ext_idle_notifier_v1', 1, [1, 6, 1_000, 4]],
    ['org_kde_kwin_idle', 1, [0, 6, 4, 1_000]],
  ] as const)(
    'asks %s version %i, and counts from when it says that nobody is there',
    async ([kind, version, asked]) => {
      const clock = createFakeClock(yieldToNode);
      const peer = compositor(global(1, 'wl_compositor', 5), global(7, 'wl_seat', 8), global(9, kind, version));
      const seat = await openSeat(peer, clock);
      const last = peer.written.at(-1)!.subarray(-20);
      const words = [last.readUInt16LE(4), last.readUInt32LE(8), last.readUInt32LE(12), last.readUInt32LE(16)];
      expect([last.readUInt32LE(0), ...words]).toEqual([5, ...asked]);
      let touches = 0;
      seat?.onInput(() => touches++);
      expect(seat?.inputIdleMs()).toBe(0);
      peer.say(event(6, 0));
      await clock.advance(5_000);
      expect(seat?.inputIdleMs()).toBe(6_000);
      peer.say(event(6, 1));
      expect([touches, seat?.inputIdleMs()]).toEqual([1, 0]);
      peer.hangUp();
      expect(seat?.isOpen()).toBe(false);
    },
  );

  test('a compositor that tells nobody who is idle is left alone', async () => {
    const clock = createFakeClock(yieldToNode);
    const peer = compositor(global(7, 'wl_seat', 8));
    await expect(openSeat(peer, clock)).resolves.toBeUndefined();
    expect(peer.isClosed()).toBe(true);
  });
});

describe('X11', () => {
  const field = (text: string | Uint8Array): Buffer => {
    const bytes = Buffer.from(text as Uint8Array);
    return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 255), bytes]);
  };
  const record = (family: number, address: string, display: string, secret: Uint8Array): Buffer =>
    Buffer.concat([
      Buffer.of(family >> 8, family & 255),
      ...[address, display, 'MIT-MAGIC-COOKIE-1', secret].map(field),
    ]);

  test('the cookie is that of this host and display', () => {
    const cookies = [1, 2, 3, 4].map((byte) => new Uint8Array(16).fill(byte));
    const file = Buffer.concat([
      record(256, 'elsewhere', '0', cookies[0]!),
      record(256, 'here', '1', cookies[1]!),
      record(256, 'here', '0', cookies[2]!),
      record(65_535, '', '', cookies[3]!),
    ]);
    expect(findCookie(file, 'here', '0')).toEqual(cookies[2]);
    expect(findCookie(file, 'here', '7')).toEqual(cookies[3]);
    for (let length = 0; length < file.length; length++) {
      expect(() => findCookie(file.subarray(0, length), 'here', '7')).not.toThrow();
    }
  });
});

describe('D-Bus messages', () => {
  const call = writeCall(
    { destination: 'a.b', path: '/a', interface: 'a.b', member: 'M', signature: 'sut', args: ['x', 7, 9] },
    3,
  );

  test('what is written can be read', () => {
    expect(messageLength(call)).toBe(call.length);
    expect(readMessage(call)).toEqual({
      kind: 'call',
      replyTo: undefined,
      interface: 'a.b',
      member: 'M',
      body: ['x', 7, 9],
    });
  });

  test('cut short or changed in any byte they give a message or none, and never an error', () => {
    for (let at = 0; at < call.length; at++) {
      expect(() => readMessage(call.subarray(0, at))).not.toThrow();
      for (const value of [0, 1, 0x28, 0x61, 0x76, 0xff]) {
        const changed = Buffer.from(call);
        changed[at] = value;
        expect(() => readMessage(changed)).not.toThrow();
        expect(() => messageLength(changed)).not.toThrow();
      }
    }
  });
});
