/**
 * The socket under multicast DNS: bound and joined before the library gets it, so that what the machine refuses is told
 * in a sentence; and a gate that drops, unread, what cannot be meant for us or is more than we agreed to look at.
 *
 * It knows of DNS only the header (RFC 1035, section 4.1.1) and that our names contain `idlewild`.
 */
import { createSocket, type Socket } from 'node:dgram';
import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { IdlewildError, messageOf } from '@idlewild/protocol';
import { LAN_LIMITS } from './limits.ts';

const GROUP = '224.0.0.251';
export const MULTICAST_PORT = 5_353;
const TTL = 255;

const HEADER_BYTES = 12;
const RESPONSE_BIT = 0x80;
const NAME = /idlewild/i;

export interface LanOptions {
  /** The IPv4 address of the one interface to use; without it, all of them. */
  readonly interface?: string | undefined;
  /** Another than 5353 only where nobody else is meant to hear. */
  readonly port?: number | undefined;
}

/** What the library takes: a socket that it need not bind, for it is bound. */
export interface LibraryOptions {
  readonly socket: Socket;
  readonly port: number;
  readonly bind: false;
  readonly multicast: false;
}

export interface LanSocket {
  readonly library: LibraryOptions;
  /** The library closes the socket; this ends what else goes on. */
  stop(): void;
}

/** Whether one datagram is looked at. */
export type Admits = (message: Uint8Array) => boolean;

/** IPv4 addresses of this machine, one for each interface. */
export function ownAddresses(isInternal: boolean): string[] {
  return Object.values(networkInterfaces()).flatMap((entries) => {
    const found = entries?.find(({ family, internal }) => family === 'IPv4' && internal === isInternal);
    return found === undefined ? [] : [found.address];
  });
}

/** Throws `usage` when there is no such interface, or none that carries multicast. */
export async function openLanSocket(admits: Admits, options: LanOptions): Promise<LanSocket> {
  const { port = MULTICAST_PORT } = options;
  const addresses = (): string[] => (options.interface === undefined ? ownAddresses(false) : [options.interface]);
  if (options.interface !== undefined && !isOwn(options.interface)) {
    const known = [...ownAddresses(false), ...ownAddresses(true)].join(', ');
    throw new IdlewildError('usage', `${options.interface} is no IPv4 address of this machine; it has ${known}`);
  }
  const socket = createSocket({ type: 'udp4', reuseAddr: true });
  const joined = new Set<string>();
  let why: unknown = 'it is connected to none';
  const join = (): void => {
    for (const address of addresses().filter((each) => !joined.has(each))) {
      try {
        socket.addMembership(GROUP, address);
        joined.add(address);
      } catch (error) {
        why = error;
      }
    }
  };
  try {
    await bind(socket, port);
    join();
    if (joined.size === 0) throw why;
    socket.setMulticastTTL(TTL);
    // Two programs of one machine hear each other.
    socket.setMulticastLoopback(true);
    if (options.interface !== undefined) socket.setMulticastInterface(options.interface);
  } catch (cause) {
    socket.close();
    const message = `this machine has no network on which hubs can be announced or heard: ${messageOf(cause)}`;
    throw new IdlewildError('usage', message, { cause });
  }
  gate(socket, admits);
  const timer = setInterval(join, LAN_LIMITS.rejoinMs).unref();
  return { library: { socket, port, bind: false, multicast: false }, stop: () => clearInterval(timer) };
}

const isOwn = (address: string): boolean =>
  isIPv4(address) && [...ownAddresses(false), ...ownAddresses(true)].includes(address);

const bind = (socket: Socket, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.once('error', reject);
    // Bound to an interface's address a socket would not get what is sent to the group.
    socket.bind(port, '0.0.0.0', () => {
      socket.off('error', reject);
      // What befalls a bound UDP socket befell one datagram; the next may do better.
      socket.on('error', () => undefined);
      resolve();
    });
  });

/** Node hands every datagram to `emit`, so nothing behind it sees what is not admitted. */
function gate(socket: Socket, admits: Admits): void {
  const emit = socket.emit.bind(socket) as (name: string | symbol, ...rest: unknown[]) => boolean;
  socket.emit = (name: string | symbol, ...rest: unknown[]): boolean =>
    name === 'message' && !admits(rest[0] as Uint8Array) ? false : emit(name, ...rest);
}

/** Of the four counts in the header, questions and all records. */
function countsOf(message: Uint8Array): { readonly questions: number; readonly records: number } {
  const view = new DataView(message.buffer, message.byteOffset, HEADER_BYTES);
  const [questions, ...records] = [4, 6, 8, 10].map((at) => view.getUint16(at)) as [number, ...number[]];
  return { questions, records: records.reduce((sum, count) => sum + count, 0) };
}

const isOurs = (message: Uint8Array, isResponse: boolean): boolean =>
  message.length >= HEADER_BYTES &&
  message.length <= LAN_LIMITS.messageBytesMax &&
  (((message[2] as number) & RESPONSE_BIT) !== 0) === isResponse &&
  NAME.test(Buffer.from(message.buffer, message.byteOffset, message.length).toString('latin1'));

/** For one who announces: queries for our names, few at a time, and nobody's answers. */
export function admitsQueries(nowMs: () => number): Admits {
  let second = Number.NEGATIVE_INFINITY;
  let count = 0;
  return (message) => {
    if (!isOurs(message, false)) return false;
    const { questions, records } = countsOf(message);
    if (questions > LAN_LIMITS.questionsMax || records > LAN_LIMITS.answerRecordsMax) return false;
    if (nowMs() - second >= 1_000) {
      second = nowMs();
      count = 0;
    }
    return ++count <= LAN_LIMITS.queriesPerSecondMax;
  };
}

/** For one who listens: answers about hubs, so many and no more. */
export function admitsAnswers(): Admits {
  let count = 0;
  return (message) => {
    if (!isOurs(message, true)) return false;
    const { questions, records } = countsOf(message);
    if (questions > LAN_LIMITS.questionsMax || records > LAN_LIMITS.answerRecordsMax) return false;
    return ++count <= LAN_LIMITS.answersMax;
  };
}
