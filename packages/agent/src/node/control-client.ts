/**
 * The other end of a running device's socket (`control.ts`): how a command finds it, shows the secret, and asks.
 *
 * Whoever waits is told how it ended: what the device answered, that it ended before it had, or that what it says is
 * understood by nobody here. It trusts no socket that belongs to another user.
 */
import { lstatSync, readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { IdlewildError, codeOf } from '@idlewild/protocol';
import {
  NO_REQUEST,
  controlError,
  controlReplySchema,
  type ControlReply,
  type ControlRequest,
} from '../core/lending/control/control.ts';
import { CONTROL_LIMITS } from '../core/lending/control/limits.ts';
import { noteSchema, type Note } from './control.ts';
import { readLines } from './lines.ts';

/** What a command says to a device that runs. */
export interface ControlClient {
  /** Rejects with what the device answered, or with `disconnected` when it is gone before it has. */
  ask(request: RequestOf<Exclude<ControlRequest, { do: 'watch' }>>): Promise<unknown>;
  /** Until the device is gone, or `close`. */
  watch(onEvent: (event: unknown) => void): Promise<void>;
  close(): void;
}
type RequestOf<Request> = Request extends { readonly id: number } ? Omit<Request, 'id'> : never;

/** The device that runs in this folder; `undefined` where none does. Throws for a socket that is not this user's. */
export async function openControl(folder: string): Promise<ControlClient | undefined> {
  const note = noted(folder);
  if (note === undefined) return undefined;
  const { address, secret } = note;
  if (process.platform !== 'win32') {
    const { uid } = lstatSync(address, { throwIfNoEntry: false }) ?? {};
    if (uid === undefined) return undefined;
    const own = process.getuid?.();
    if (uid !== own && own !== 0) {
      throw new IdlewildError('forbidden', `the device in ${folder} is lent by another user of this machine; ask them`);
    }
  }
  const socket = createConnection(address);
  const opened = await new Promise<boolean>((done, fail) => {
    socket.once('connect', () => done(true));
    socket.once('error', (error) => {
      const code = codeOf(error) ?? (error as NodeJS.ErrnoException).code ?? '';
      // Nobody is behind what is left of a process that was killed.
      if (['ECONNREFUSED', 'ENOENT', 'ENOTSOCK'].includes(code)) done(false);
      else fail(new IdlewildError('forbidden', `the device in ${folder} cannot be asked: ${error.message}`));
    });
  });
  return opened ? clientOver(socket, secret) : undefined;
}

function noted(folder: string): Note | undefined {
  let text: string;
  try {
    text = readFileSync(join(folder, 'control.json'), 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw new IdlewildError('forbidden', `${folder} cannot be read: ${(error as Error).message}`);
  }
  try {
    return noteSchema.parse(JSON.parse(text));
  } catch {
    // Half of it, from a process that was killed while it wrote: nobody is there.
    return undefined;
  }
}

/** A request that waits for its reply, or a watch. */
interface Waiting {
  settle(reply: ControlReply): void;
  fail(error: IdlewildError): void;
}

function clientOver(socket: Socket, secret: string): ControlClient {
  const waiting = new Map<number, Waiting>();
  let next = NO_REQUEST + 1;
  const endAll = (error: IdlewildError): void => {
    for (const { fail } of waiting.values()) fail(error);
    waiting.clear();
  };
  socket.on('error', () => socket.destroy());
  socket.once('close', () => endAll(new IdlewildError('disconnected', 'the device ended before it had answered')));
  readLines(socket, {
    bytesMax: CONTROL_LIMITS.replyBytesMax,
    onLine(line) {
      const reply = replyOf(line);
      if (reply instanceof IdlewildError) {
        endAll(reply);
        socket.destroy();
      } else if (reply.id === NO_REQUEST && 'error' in reply) endAll(controlError(reply.error));
      else waiting.get(reply.id)?.settle(reply);
    },
    onTooLong: () => socket.destroy(),
  });
  function ask(request: object, wait: Waiting): void {
    const id = next++;
    waiting.set(id, wait);
    socket.write(`${JSON.stringify({ id, ...request })}\n`);
  }
  socket.write(`${secret}\n`);
  return {
    ask: (request) =>
      new Promise((done, fail) => {
        const settle = (reply: ControlReply): void => {
          waiting.delete(reply.id);
          if ('ok' in reply) done(reply.ok);
          else if ('error' in reply) fail(controlError(reply.error));
        };
        ask(request, { settle, fail });
      }),
    watch: (onEvent) =>
      new Promise((done, fail) => {
        const settle = (reply: ControlReply): void => {
          if ('event' in reply) onEvent(reply.event);
          else if ('error' in reply) fail(controlError(reply.error));
        };
        const end = (error: IdlewildError): void => (codeOf(error) === 'disconnected' ? done() : fail(error));
        ask({ do: 'watch' }, { settle, fail: end });
      }),
    close: () => socket.destroy(),
  };
}

/** Or that it is none. */
function replyOf(line: string): ControlReply | IdlewildError {
  try {
    return controlReplySchema.parse(JSON.parse(line));
  } catch (cause) {
    const why = 'the device answers in words of another version of this program; start it again';
    return new IdlewildError('internal', why, { cause });
  }
}
