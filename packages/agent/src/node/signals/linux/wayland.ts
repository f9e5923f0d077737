/**
 * The few messages of the Wayland protocol that tell whether somebody is there: a compositor says once that nobody has
 * touched its seat for a while, and once that somebody has (`ext_idle_notifier_v1`; before 2022 `org_kde_kwin_idle`).
 * It says nothing of what was touched, and we ask for no surface, keyboard or pointer.
 *
 * Numbers are in the byte order of the machine, which Node runs on little-endian ones alone. Whatever does not fit the
 * protocol ends the connection.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import type { LocalSocket } from '../system.ts';

export interface Seat {
  readonly isOpen: () => boolean;
  /** Since the last input; less than `awayMs` cannot be told apart and is 0. */
  inputIdleMs(): number;
  onInput(listen: () => void): void;
  close(): void;
}

interface Global {
  readonly name: number;
  readonly version: number;
}

/** Ids that we give; 1 is the display itself. */
const ID = { display: 1, registry: 2, roundTrip: 3, seat: 4, notifier: 5, notification: 6 } as const;
const EXT = 'ext_idle_notifier_v1';
const KDE = 'org_kde_kwin_idle';

/** Absent: no seat, or a compositor that tells nobody who is idle. */
export async function openSeat(socket: LocalSocket, clock: Clock): Promise<Seat | undefined> {
  const globals = new Map<string, Global>();
  const { promise: listed, resolve } = Promise.withResolvers<void>();
  let isOpen = true;
  let idleSinceMs: number | undefined;
  let listener: (() => void) | undefined;

  const end = (): void => {
    isOpen = false;
    socket.close();
    resolve();
  };
  takeMessages(socket, end, (object, opcode, body) => {
    if (object === ID.registry && opcode === 0) addGlobal(globals, body);
    else if (object === ID.roundTrip) resolve();
    else if (object === ID.display && opcode === 0) end();
    else if (object === ID.notification) {
      const wasIdle = idleSinceMs !== undefined;
      idleSinceMs = opcode === 0 ? clock.monotonic() - SIGNAL_LIMITS.awayMs : undefined;
      if (opcode === 1 && wasIdle) listener?.();
    }
  });
  // get_registry, then sync: its answer comes after all globals.
  socket.write(Buffer.concat([message(ID.display, 1, [ID.registry]), message(ID.display, 0, [ID.roundTrip])]));
  const timer = clock.after(SIGNAL_LIMITS.answerMsMax, end);
  await listed;
  timer.cancel();
  const asked = watchSeat(globals);
  if (!isOpen || asked === undefined) {
    end();
    return undefined;
  }
  socket.write(asked);
  return {
    isOpen: () => isOpen,
    inputIdleMs: () => (idleSinceMs === undefined ? 0 : clock.monotonic() - idleSinceMs),
    onInput(listen) {
      listener = listen;
    },
    close: end,
  };
}

/** Binds the seat and asks to be told of its pauses. */
function watchSeat(globals: ReadonlyMap<string, Global>): Buffer | undefined {
  const seat = globals.get('wl_seat');
  const [name, notifier] =
    [EXT, KDE].map((name) => [name, globals.get(name)] as const).find(([, found]) => found) ?? [];
  if (seat === undefined || name === undefined || notifier === undefined) return undefined;
  const { awayMs } = SIGNAL_LIMITS;
  // Version 2 can leave aside that a film keeps the screen on: nobody touches the machine all the same.
  const isSecond = name === EXT && notifier.version >= 2;
  const opcode = isSecond ? 2 : name === EXT ? 1 : 0;
  const args = name === EXT ? [ID.notification, awayMs, ID.seat] : [ID.notification, ID.seat, awayMs];
  return Buffer.concat([
    bind(seat.name, 'wl_seat', 1, ID.seat),
    bind(notifier.name, name, isSecond ? 2 : 1, ID.notifier),
    message(ID.notifier, opcode, args),
  ]);
}

function addGlobal(globals: Map<string, Global>, body: Buffer): void {
  if (body.length < 12) return;
  const length = body.readUInt32LE(4);
  const end = 8 + ((length + 3) & ~3);
  if (length === 0 || end + 4 > body.length) return;
  const kind = body.toString('latin1', 8, 8 + length - 1);
  globals.set(kind, { name: body.readUInt32LE(0), version: body.readUInt32LE(end) });
}

function message(object: number, opcode: number, args: readonly number[], rest: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(8 + 4 * args.length);
  head.writeUInt32LE(object, 0);
  head.writeUInt32LE(((head.length + rest.length) << 16) | opcode, 4);
  args.forEach((value, index) => head.writeUInt32LE(value, 8 + 4 * index));
  return Buffer.concat([head, rest]);
}

function bind(name: number, kind: string, version: number, id: number): Buffer {
  const text = Buffer.alloc((kind.length + 1 + 3) & ~3);
  text.write(kind, 'latin1');
  const tail = Buffer.alloc(8);
  tail.writeUInt32LE(version, 0);
  tail.writeUInt32LE(id, 4);
  return message(ID.registry, 0, [name, kind.length + 1], Buffer.concat([text, tail]));
}

function takeMessages(
  socket: LocalSocket,
  end: () => void,
  took: (object: number, opcode: number, body: Buffer) => void,
): void {
  let pending: Buffer = Buffer.alloc(0);
  socket.listen({
    onBytes(bytes) {
      pending = Buffer.concat([pending, bytes]);
      while (pending.length >= 8) {
        const size = pending.readUInt16LE(6);
        if (size < 8 || pending.length > SIGNAL_LIMITS.messageBytesMax) return end();
        if (pending.length < size) return;
        took(pending.readUInt32LE(0), pending.readUInt16LE(4), pending.subarray(8, size));
        pending = pending.subarray(size);
      }
    },
    onClose: end,
  });
}
