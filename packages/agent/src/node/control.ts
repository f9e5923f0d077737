/**
 * The lender's commands reach a running device through a socket in its folder: a Unix socket that only its owner may
 * open, on Windows a pipe of a name that nobody can guess, with the rights that the system gives a pipe of this user.
 *
 * `control.json` in the folder says where it is, and a secret that each connection says first: what runs as the same
 * user without the right to read the folder, as an engine does, is nobody. Whoever holds the folder's lock is the only
 * one who may make the socket, so what an earlier process left is stale and is replaced. Lines, requests and
 * connections are bounded; one that floods, or does not say the secret, is closed. What is asked and answered is
 * `core/lending/control/control.ts`; who asks has `control-client.ts`.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { IdlewildError } from '@idlewild/protocol';
import { z } from 'zod';
import { NO_REQUEST, answerControl, type ControlReply, type LendingControl } from '../core/lending/control/control.ts';
import { CONTROL_LIMITS } from '../core/lending/control/limits.ts';
import { readLines } from './lines.ts';

export const CONTROL_FILES = ['control.json', 'control.sock'] as const;

/** `sun_path` has 108 bytes on Linux and 104 elsewhere, one of them the zero at its end. */
const SOCKET_PATH_BYTES_MAX = 103;

const SECRET_BYTES = 32;
export const noteSchema = z.object({ address: z.string().min(1), secret: z.string().min(1) });
export type Note = z.infer<typeof noteSchema>;

export interface ControlServer {
  readonly address: string;
  /** Nobody new is heard; resolves when those who asked have their replies, or have had time enough. */
  close(): Promise<void>;
}

/** The folder has to be held by this process. Throws `internal` where the system lets it make no socket. */
export async function serveControl(folder: string, control: LendingControl): Promise<ControlServer> {
  const address = addressFor(resolve(folder));
  const secret = randomBytes(SECRET_BYTES).toString('hex');
  const connections = new Set<Connection>();
  const server = createServer((socket) => {
    if (connections.size >= CONTROL_LIMITS.connectionsMax) {
      // Who has not said the secret yet has had longer than whoever comes now.
      const stranger = [...connections].find((each) => !each.isKnown());
      if (stranger === undefined) return socket.destroy();
      connections.delete(stranger);
      stranger.drop();
    }
    const connection = connect(socket, control, secret);
    connections.add(connection);
    return socket.once('close', () => connections.delete(connection));
  });
  await listen(server, address);
  // Anew, and not into what is there: that may be a link, or be readable by others.
  rmSync(join(folder, 'control.json'), { force: true });
  writeFileSync(join(folder, 'control.json'), `${JSON.stringify({ address, secret } satisfies Note)}\n`, {
    mode: 0o600,
    flag: 'wx',
  });
  return {
    address,
    async close() {
      const closed = new Promise<void>((done) => {
        server.close(() => done());
      });
      await Promise.all([...connections].map((connection) => connection.end()));
      await closed;
      for (const file of CONTROL_FILES) rmSync(join(folder, file), { force: true });
    },
  };
}

/** Where the socket of a device goes. One that is too deep for a socket has it in a folder of this user's own. */
export function addressFor(folder: string, platform: string = process.platform): string {
  if (platform === 'win32') return `\\\\.\\pipe\\idlewild-${randomBytes(16).toString('hex')}`;
  const beside = join(folder, 'control.sock');
  if (Buffer.byteLength(beside) <= SOCKET_PATH_BYTES_MAX) return beside;
  const own = join(tmpdir(), `idlewild-${process.getuid?.() ?? 0}`);
  return join(own, `${createHash('sha256').update(folder).digest('hex').slice(0, 16)}.sock`);
}

async function listen(server: Server, address: string): Promise<void> {
  const isFile = process.platform !== 'win32';
  if (isFile) {
    if (!address.endsWith('control.sock')) makeOwnFolder(dirname(address));
    rmSync(address, { force: true });
  }
  await new Promise<void>((done, fail) => {
    server.on('error', (cause) =>
      fail(new IdlewildError('internal', `the socket ${address} could not be made: ${cause.message}`, { cause })),
    );
    // A socket is made with the rights that the mask leaves: there is no moment in which others may open it.
    const mask = isFile ? process.umask(0o177) : 0;
    try {
      server.listen(address, done);
    } finally {
      if (isFile) process.umask(mask);
    }
  });
  if (isFile) chmodSync(address, 0o600);
}

/** Somebody else may have made a folder of this name, or a link, in a place where anybody may. */
function makeOwnFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== process.getuid?.()) {
    throw new IdlewildError('internal', `${folder} is not of this user: remove it, or have it removed`);
  }
  chmodSync(folder, 0o700);
}

interface Connection {
  /** It has said the secret. */
  isKnown(): boolean;
  drop(): void;
  /** After what it asked for is answered, or after a while. */
  end(): Promise<void>;
}

function connect(socket: Socket, control: LendingControl, secret: string): Connection {
  const watches = new Set<{ stop(): void }>();
  const asked = new Set<Promise<unknown>>();
  let isOver = false;
  let isKnown = false;
  const closed = new Promise<void>((done) => {
    socket.once('close', () => {
      isOver = true;
      for (const watch of watches) watch.stop();
      done();
    });
  });
  const waiting = setTimeout(() => socket.destroy(), CONTROL_LIMITS.secretMsMax);
  void closed.then(() => clearTimeout(waiting));
  let unread: ControlReply | undefined;
  const reply = (given: ControlReply): void => {
    if (isOver) return;
    // While earlier ones are not read, one status takes the place of the other.
    if ('event' in given && socket.writableLength > CONTROL_LIMITS.unreadBytesMax) unread = given;
    else socket.write(`${JSON.stringify(given)}\n`);
  };
  socket.on('error', () => socket.destroy());
  socket.on('drain', () => {
    const newest = unread;
    unread = undefined;
    if (newest !== undefined) reply(newest);
  });
  readLines(socket, {
    bytesMax: CONTROL_LIMITS.requestBytesMax,
    onLine(line) {
      if (!isKnown) {
        isKnown = isSame(line, secret);
        if (isKnown) return clearTimeout(waiting);
        const message = 'the first line is the secret of control.json';
        reply({ id: NO_REQUEST, error: { code: 'forbidden', message } });
        return socket.end();
      }
      if (asked.size + watches.size >= CONTROL_LIMITS.requestsMax) {
        const message = `at most ${CONTROL_LIMITS.requestsMax} requests at once; wait for a reply`;
        reply({ id: NO_REQUEST, error: { code: 'too_busy', message } });
        return socket.end();
      }
      const asking = answerControl(control, line, reply).then((watch) => {
        asked.delete(asking);
        if (watch === undefined) return;
        watches.add(watch);
        if (isOver) watch.stop();
      });
      return asked.add(asking);
    },
    onTooLong() {
      const message = `a request has at most ${CONTROL_LIMITS.requestBytesMax} bytes`;
      reply({ id: NO_REQUEST, error: { code: 'invalid_request', message } });
      socket.end();
    },
  });
  return {
    isKnown: () => isKnown,
    drop: () => socket.destroy(),
    async end() {
      const timer = setTimeout(() => socket.destroy(), CONTROL_LIMITS.closeMsMax);
      await Promise.race([Promise.all(asked), closed]);
      socket.end();
      await closed;
      clearTimeout(timer);
    },
  };
}

function isSame(said: string, secret: string): boolean {
  const [one, other] = [Buffer.from(said.trim()), Buffer.from(secret)];
  return one.length === other.length && timingSafeEqual(one, other);
}
