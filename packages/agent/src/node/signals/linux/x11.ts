/**
 * The few requests of the X protocol (X11R7.7; Synchronization Extension 3.1) that tell whether somebody is there: the
 * counter IDLETIME, an alarm on it that goes off with the first input after a pause, and whether the active window
 * fills the screen. It never asks for keys, windows' contents or titles.
 *
 * Numbers are little-endian by our choice. What does not fit the protocol ends the connection; a reply that does not
 * come in time (a program may hold the whole display) is none.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import type { LocalSocket } from '../system.ts';

export interface Display {
  readonly isOpen: () => boolean;
  /** Since the last input from any keyboard, mouse or tablet; absent: this display does not count it. */
  inputIdleMs(): Promise<number | undefined>;
  /** Absent: no window manager says which window is active. */
  fullScreen(): Promise<boolean | undefined>;
  /** Called with the first input after a pause of `awayMs`. */
  onInput(listen: () => void): void;
  close(): void;
}

const SYNC = { initialize: 0, listCounters: 1, queryCounter: 5, createAlarm: 8 } as const;
/** Of the core protocol. */
const OPCODE = { internAtom: 16, getProperty: 20, queryExtension: 98 } as const;

/** `cookie`: of `MIT-MAGIC-COOKIE-1`; without one the display may let us in all the same. */
export async function openDisplay(
  socket: LocalSocket,
  clock: Clock,
  cookie: Uint8Array | undefined,
): Promise<Display | undefined> {
  const wire = createWire(socket, clock);
  const setup = await wire.setUp(cookie);
  if (setup === undefined) return undefined;
  const idle = await findIdleCounter(wire);
  let listener: (() => void) | undefined;
  if (idle !== undefined) {
    wire.onEvent(idle.event, () => listener?.());
    wire.send(createAlarm(idle, setup.firstId));
  }
  const atoms = await Promise.all(['_NET_ACTIVE_WINDOW', '_NET_WM_STATE', '_NET_WM_STATE_FULLSCREEN'].map(intern));
  async function intern(name: string): Promise<number> {
    return (await wire.ask(internAtom(name)))?.readUInt32LE(8) ?? 0;
  }
  if (!wire.isOpen()) return undefined;
  const [active = 0, state = 0, full = 0] = atoms;
  return {
    isOpen: wire.isOpen,
    async inputIdleMs() {
      if (idle === undefined) return undefined;
      const reply = await wire.ask(request(idle.opcode, SYNC.queryCounter, [idle.counter]));
      return reply === undefined ? undefined : Number(int64At(reply, 8));
    },
    async fullScreen() {
      const window = words(await wire.ask(getProperty(setup.root, active, 1)))?.[0];
      if (window === undefined) return undefined;
      if (window === 0) return false;
      // A window that has just gone is answered with an error, and fills no screen.
      return (words(await wire.ask(getProperty(window, state, 64))) ?? []).includes(full);
    },
    onInput(listen) {
      listener = listen;
    },
    close: wire.close,
  };
}

interface IdleCounter {
  readonly opcode: number;
  readonly event: number;
  readonly counter: number;
}

async function findIdleCounter(wire: Wire): Promise<IdleCounter | undefined> {
  const extension = await wire.ask(queryExtension('SYNC'));
  if (extension === undefined || extension.readUInt8(8) !== 1) return undefined;
  const opcode = extension.readUInt8(9);
  await wire.ask(request(opcode, SYNC.initialize, [3 | (1 << 8)]));
  const counters = await wire.ask(request(opcode, SYNC.listCounters, []));
  const counter = counters === undefined ? undefined : counterNamed(counters, 'IDLETIME');
  // The second event of the extension tells of alarms.
  return counter === undefined ? undefined : { opcode, event: extension.readUInt8(10) + 1, counter };
}

function counterNamed(reply: Buffer, name: string): number | undefined {
  let at = 32;
  for (let left = reply.readUInt32LE(8); left > 0 && at + 14 <= reply.length; left--) {
    const length = reply.readUInt16LE(at + 12);
    if (reply.toString('latin1', at + 14, at + 14 + length) === name) return reply.readUInt32LE(at);
    at += padded(14 + length);
  }
  return undefined;
}

const padded = (length: number): number => (length + 3) & ~3;

function request(opcode: number, detail: number, values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 + 4 * values.length);
  bytes.writeUInt8(opcode, 0);
  bytes.writeUInt8(detail, 1);
  bytes.writeUInt16LE(bytes.length / 4, 2);
  values.forEach((value, index) => bytes.writeUInt32LE(value >>> 0, 4 + 4 * index));
  return bytes;
}

function named(opcode: number, name: string): Buffer {
  const bytes = Buffer.alloc(8 + padded(name.length));
  bytes.writeUInt8(opcode, 0);
  bytes.writeUInt16LE(bytes.length / 4, 2);
  bytes.writeUInt16LE(name.length, 4);
  bytes.write(name, 8, 'latin1');
  return bytes;
}

const internAtom = (name: string): Buffer => named(OPCODE.internAtom, name);
const queryExtension = (name: string): Buffer => named(OPCODE.queryExtension, name);

/** Of whatever type; at most `length` words. */
const getProperty = (window: number, property: number, length: number): Buffer =>
  request(OPCODE.getProperty, 0, [window, property, 0, 0, length]);

/** The words of a property; absent: the window has no such property. */
function words(reply: Buffer | undefined): number[] | undefined {
  if (reply === undefined || reply.readUInt8(1) !== 32) return undefined;
  const count = Math.min(reply.readUInt32LE(16), (reply.length - 32) >> 2);
  return Array.from({ length: count }, (_, index) => reply.readUInt32LE(32 + 4 * index));
}

/** Signed, its upper half first. */
const int64At = (reply: Buffer, at: number): bigint =>
  (BigInt(reply.readInt32LE(at)) << 32n) | BigInt(reply.readUInt32LE(at + 4));

/** Goes off each time the counter falls below `awayMs`, which input alone makes it do. */
function createAlarm({ opcode, counter }: IdleCounter, id: number): Buffer {
  const [absolute, negativeTransition] = [0, 1];
  const [withCounter, withType, withValue, withTest, withDelta, withEvents] = [1, 2, 4, 8, 16, 32];
  const mask = withCounter | withType | withValue | withTest | withDelta | withEvents;
  const value = [0, SIGNAL_LIMITS.awayMs];
  const delta = [0, 0];
  const values = [id, mask, counter, absolute, ...value, negativeTransition, ...delta, 1];
  return request(opcode, SYNC.createAlarm, values);
}

interface Wire {
  isOpen(): boolean;
  setUp(cookie: Uint8Array | undefined): Promise<{ readonly root: number; readonly firstId: number } | undefined>;
  /** A request without a reply. */
  send(bytes: Buffer): void;
  /** A reply with its header; absent: an error, or the connection has ended. */
  ask(bytes: Buffer): Promise<Buffer | undefined>;
  onEvent(code: number, act: () => void): void;
  close(): void;
}

function createWire(socket: LocalSocket, clock: Clock): Wire {
  const waiting = new Map<number, (reply: Buffer | undefined) => void>();
  const events = new Map<number, () => void>();
  let pending: Buffer = Buffer.alloc(0);
  let onSetUp: ((reply: Buffer | undefined) => void) | undefined;
  let sequence = 0;
  let isOpen = true;

  const end = (): void => {
    isOpen = false;
    socket.close();
    onSetUp?.(undefined);
    for (const answer of waiting.values()) answer(undefined);
    waiting.clear();
  };
  socket.listen({
    onBytes(bytes) {
      pending = pending.length === 0 ? Buffer.from(bytes) : Buffer.concat([pending, bytes]);
      while (isOpen && takeOne());
    },
    onClose: end,
  });

  /** Whether there was a whole one. */
  function takeOne(): boolean {
    const length = messageLength(pending, onSetUp !== undefined);
    if (length === undefined) return false;
    if (length > SIGNAL_LIMITS.messageBytesMax) {
      end();
      return false;
    }
    if (pending.length < length) return false;
    const message = pending.subarray(0, length);
    pending = pending.subarray(length);
    if (onSetUp !== undefined) onSetUp(message);
    else took(message);
    return true;
  }
  function took(message: Buffer): void {
    const kind = message.readUInt8(0);
    if (kind > 1) return events.get(kind & 0x7f)?.();
    const number = message.readUInt16LE(2);
    const answer = waiting.get(number);
    waiting.delete(number);
    answer?.(kind === 1 ? message : undefined);
  }
  const timely = (promise: Promise<Buffer | undefined>, late: () => void): Promise<Buffer | undefined> => {
    const timer = clock.after(SIGNAL_LIMITS.answerMsMax, late);
    return promise.finally(() => timer.cancel());
  };
  const send = (bytes: Buffer): void => {
    sequence = (sequence + 1) & 0xffff;
    if (isOpen) socket.write(bytes);
  };
  return {
    isOpen: () => isOpen,
    send,
    async setUp(cookie) {
      const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
      onSetUp = resolve;
      socket.write(hello(cookie));
      const reply = await timely(promise, end);
      onSetUp = undefined;
      const screen = reply === undefined ? undefined : readSetUp(reply);
      if (screen === undefined) end();
      return screen;
    },
    ask(bytes) {
      if (!isOpen || waiting.size >= SIGNAL_LIMITS.requestsMax) return Promise.resolve(undefined);
      const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
      send(bytes);
      const own = sequence;
      waiting.set(own, resolve);
      return timely(promise, () => {
        waiting.delete(own);
        resolve(undefined);
      });
    },
    onEvent: (code, act) => void events.set(code, act),
    close: end,
  };
}

/** Of the message at the head, as far as it can be told yet. */
function messageLength(bytes: Buffer, isSetUp: boolean): number | undefined {
  if (isSetUp) return bytes.length < 8 ? undefined : 8 + 4 * bytes.readUInt16LE(6);
  if (bytes.length < 32) return undefined;
  const kind = bytes.readUInt8(0);
  const genericEvent = 35;
  return kind === 1 || (kind & 0x7f) === genericEvent ? 32 + 4 * bytes.readUInt32LE(4) : 32;
}

function hello(cookie: Uint8Array | undefined): Buffer {
  const name = cookie === undefined ? '' : 'MIT-MAGIC-COOKIE-1';
  const secret = cookie ?? new Uint8Array();
  const bytes = Buffer.alloc(12 + padded(name.length) + padded(secret.length));
  bytes.write('l', 0, 'latin1');
  bytes.writeUInt16LE(11, 2);
  bytes.writeUInt16LE(name.length, 6);
  bytes.writeUInt16LE(secret.length, 8);
  bytes.write(name, 12, 'latin1');
  bytes.set(secret, 12 + padded(name.length));
  return bytes;
}

/** The first screen's root window, and the first id that is ours to give. */
function readSetUp(reply: Buffer): { root: number; firstId: number } | undefined {
  if (reply.readUInt8(0) !== 1 || reply.length < 40) return undefined;
  const formats = reply.readUInt8(29);
  const screen = 40 + padded(reply.readUInt16LE(24)) + 8 * formats;
  if (reply.length < screen + 4) return undefined;
  return { firstId: reply.readUInt32LE(12), root: reply.readUInt32LE(screen) };
}

/**
 * The cookie for a local display out of an Xauthority file: big-endian records of family, address, display number, name
 * and secret. Family 256 is this host, 65535 any.
 */
export function findCookie(file: Uint8Array, hostName: string, display: string): Uint8Array | undefined {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  let at = 0;
  const field = (): Buffer | undefined => {
    if (at + 2 > bytes.length) return undefined;
    const length = bytes.readUInt16BE(at);
    if (at + 2 + length > bytes.length) return undefined;
    at += 2 + length;
    return bytes.subarray(at - length, at);
  };
  while (at + 2 <= bytes.length) {
    const family = bytes.readUInt16BE(at);
    at += 2;
    const [address, number, name, secret] = [field(), field(), field(), field()];
    if (address === undefined || number === undefined || name === undefined || secret === undefined) return undefined;
    const isHere = family === 65_535 || (family === 256 && address.toString('latin1') === hostName);
    const isIt = number.length === 0 || number.toString('latin1') === display;
    if (isHere && isIt && name.toString('latin1') === 'MIT-MAGIC-COOKIE-1') return Uint8Array.from(secret);
  }
  return undefined;
}
