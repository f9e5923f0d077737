/**
 * A connection to a message bus of this machine: asks questions, hears signals. It signs in as the user that runs it
 * (`EXTERNAL`), starts no program that is not running, and answers nobody. A question that is not answered in time is
 * answered with nothing.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import type { LocalSocket, System } from '../system.ts';
import {
  messageLength,
  readMessage,
  writeCall,
  type DBusCall,
  type DBusMessage,
  type DBusValue,
} from './dbus-format.ts';

export interface Bus {
  readonly isOpen: () => boolean;
  /** The values of the answer; absent: nobody by that name, a refusal, or the bus is gone. */
  ask(call: DBusCall): Promise<readonly DBusValue[] | undefined>;
  /** Signals of one interface, as far as they are sent to all. */
  onSignal(
    from: { readonly interface: string; readonly member: string },
    act: (body: readonly DBusValue[]) => void,
  ): void;
  close(): void;
}

const BUS = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
} as const;

export const propertyOf = (destination: string, path: string, of: string, name: string): DBusCall => ({
  destination,
  path,
  interface: 'org.freedesktop.DBus.Properties',
  member: 'Get',
  signature: 'ss',
  args: [of, name],
});

export const propertiesOf = (destination: string, path: string, of: string): DBusCall => ({
  destination,
  path,
  interface: 'org.freedesktop.DBus.Properties',
  member: 'GetAll',
  signature: 's',
  args: [of],
});

/** `addresses` as `DBUS_SESSION_BUS_ADDRESS` has them: several by semicolons, of which those of this machine count. */
export async function openBus(system: System, clock: Clock, addresses: string): Promise<Bus | undefined> {
  for (const path of socketPaths(addresses)) {
    const socket = await system.connect(path);
    if (socket === undefined) continue;
    const bus = await signIn(socket, clock, system.userId);
    if (bus !== undefined) return bus;
  }
  return undefined;
}

function socketPaths(addresses: string): string[] {
  return addresses.split(';').flatMap((address) => {
    if (!address.startsWith('unix:')) return [];
    const pairs = new Map(
      address
        .slice('unix:'.length)
        .split(',')
        .map((pair) => pair.split('=') as [string, string]),
    );
    const path = pairs.get('path');
    const abstract = pairs.get('abstract');
    // Other bytes than letters, digits and -_/.\* are written as %xx.
    if (path !== undefined) return [unescaped(path)];
    return abstract === undefined ? [] : [`\0${unescaped(abstract)}`];
  });
}

const unescaped = (text: string): string =>
  text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

async function signIn(socket: LocalSocket, clock: Clock, userId: number): Promise<Bus | undefined> {
  const { promise: greeted, resolve: onGreeted } = Promise.withResolvers<boolean>();
  const waiting = new Map<number, (answer: readonly DBusValue[] | undefined) => void>();
  const signals = new Map<string, (body: readonly DBusValue[]) => void>();
  let pending: Buffer = Buffer.alloc(0);
  let isIn = false;
  let isOpen = true;
  let serial = 0;

  const end = (): void => {
    isOpen = false;
    socket.close();
    onGreeted(false);
    for (const answer of waiting.values()) answer(undefined);
    waiting.clear();
  };
  const took = (message: DBusMessage): void => {
    if (message.kind === 'signal') return signals.get(`${message.interface}.${message.member}`)?.(message.body);
    const answer = message.replyTo === undefined ? undefined : waiting.get(message.replyTo);
    if (answer === undefined || message.replyTo === undefined) return;
    waiting.delete(message.replyTo);
    answer(message.kind === 'reply' ? message.body : undefined);
  };
  const takeMessages = (): void => {
    for (;;) {
      const length = messageLength(pending);
      if (length === undefined) return;
      if (Number.isNaN(length) || length > SIGNAL_LIMITS.messageBytesMax) return end();
      if (pending.length < length) return;
      const message = readMessage(pending.subarray(0, length));
      pending = pending.subarray(length);
      if (message !== undefined) took(message);
    }
  };
  socket.listen({
    onBytes(bytes) {
      pending = Buffer.concat([pending, bytes]);
      if (isIn) return takeMessages();
      const line = pending.indexOf('\r\n');
      if (line < 0) return pending.length > SIGNAL_LIMITS.lineBytesMax ? end() : undefined;
      isIn = pending.toString('latin1', 0, 3) === 'OK ';
      pending = pending.subarray(line + 2);
      if (!isIn) return end();
      socket.write(Buffer.from('BEGIN\r\n'));
      onGreeted(true);
    },
    onClose: end,
  });
  const ask = (call: DBusCall): Promise<readonly DBusValue[] | undefined> => {
    if (!isOpen || waiting.size >= SIGNAL_LIMITS.requestsMax) return Promise.resolve(undefined);
    serial++;
    const { promise, resolve } = Promise.withResolvers<readonly DBusValue[] | undefined>();
    waiting.set(serial, resolve);
    socket.write(writeCall(call, serial));
    const own = serial;
    const timer = clock.after(SIGNAL_LIMITS.answerMsMax, () => {
      waiting.delete(own);
      resolve(undefined);
    });
    return promise.finally(() => timer.cancel());
  };

  const hexId = Buffer.from(String(userId)).toString('hex');
  socket.write(Buffer.from(`\0AUTH EXTERNAL ${hexId}\r\n`, 'latin1'));
  const timer = clock.after(SIGNAL_LIMITS.answerMsMax, end);
  const isGreeted = await greeted;
  timer.cancel();
  const name = isGreeted ? await ask({ ...BUS, member: 'Hello' }) : undefined;
  if (name === undefined) {
    end();
    return undefined;
  }
  return {
    isOpen: () => isOpen,
    ask,
    onSignal({ interface: of, member }, act) {
      signals.set(`${of}.${member}`, act);
      const rule = `type='signal',interface='${of}',member='${member}'`;
      void ask({ ...BUS, member: 'AddMatch', signature: 's', args: [rule] });
    },
    close: end,
  };
}
