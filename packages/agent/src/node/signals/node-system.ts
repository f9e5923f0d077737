/**
 * The machine that this process runs on. Files are read in bounded pieces; commands get no environment but what they
 * need, a time limit and a limit of output; programs that are not installed are asked for once.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync, readSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { cpus, hostname } from 'node:os';
import { SIGNAL_LIMITS } from './limits.ts';
import type { EventDevice, Following, LocalSocket, System } from './system.ts';

/** `/run/current-system` is where NixOS keeps what others keep in /usr. */
const PATH = '/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/run/current-system/sw/bin';
/** Windows finds neither its libraries nor its user without these. */
const WINDOWS_NEEDS = [
  'SystemRoot',
  'windir',
  'PATH',
  'TEMP',
  'USERPROFILE',
  'APPDATA',
  'LOCALAPPDATA',
  'PSModulePath',
];

export function createNodeSystem(): System {
  const buffer = Buffer.allocUnsafe(SIGNAL_LIMITS.fileBytesMax);
  const missing = new Set<string>();
  return {
    platform: process.platform,
    pid: process.pid,
    userId: process.getuid?.() ?? -1,
    hostName: hostname(),
    env: process.env,
    peek: (path) => quietly(() => peek(path, buffer).toString('utf8')),
    bytes: (path) => quietly(() => Uint8Array.from(peek(path, buffer))),
    read,
    list: (path) => quietly(() => readdirSync(path).slice(0, SIGNAL_LIMITS.entriesMax)) ?? [],
    link: (path) => quietly(() => readlinkSync(path)),
    readAtMs: (path) => quietly(() => statSync(path).atimeMs),
    processorTimes,
    run: (command, args, needs = []) => run(command, args, needs, missing),
    follow,
    connect,
    openEvents,
  };
}

/** What cannot be read tells nothing: that is the answer, and no error. */
function quietly<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

/** The kernel gives files of many records a page at a time, so it is read until nothing comes. */
function peek(path: string, buffer: Buffer): Buffer {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    let length = 0;
    while (length < buffer.length) {
      const count = readSync(file, buffer, length, buffer.length - length, null);
      if (count === 0) break;
      length += count;
    }
    return buffer.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

async function read(path: string): Promise<string | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const buffer = Buffer.allocUnsafe(4096);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}

function processorTimes(): { busyMs: number; totalMs: number } | undefined {
  let [busyMs, totalMs] = [0, 0];
  for (const { times } of cpus()) {
    busyMs += times.user + times.nice + times.sys + times.irq;
    totalMs += times.idle;
  }
  totalMs += busyMs;
  return totalMs > 0 ? { busyMs, totalMs } : undefined;
}

function environment(needs: readonly string[]): Record<string, string> {
  const names = process.platform === 'win32' ? [...WINDOWS_NEEDS, ...needs] : needs;
  const taken = names.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { PATH, LC_ALL: 'C', ...Object.fromEntries(taken) };
}

function run(
  command: string,
  args: readonly string[],
  needs: readonly string[],
  missing: Set<string>,
): Promise<string | undefined> {
  if (missing.has(command)) return Promise.resolve(undefined);
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const options = {
    env: environment(needs),
    cwd: process.platform === 'win32' ? undefined : '/',
    timeout: SIGNAL_LIMITS.commandMsMax,
    maxBuffer: SIGNAL_LIMITS.commandBytesMax,
    killSignal: 'SIGKILL' as const,
    windowsHide: true,
  };
  const done = (error: Error | null, out: string): void => {
    if (error !== null && 'code' in error && (error.code === 'ENOENT' || error.code === 'EACCES')) missing.add(command);
    resolve(error === null ? out : undefined);
  };
  try {
    execFile(command, [...args], options, done).stdin?.end();
  } catch {
    // No processes left, or a name that no system takes.
    resolve(undefined);
  }
  return promise;
}

function follow(command: string, args: readonly string[], onLine: (line: string) => void): Following | undefined {
  const child = quietly(() =>
    spawn(command, args, { env: environment([]), stdio: ['ignore', 'pipe', 'ignore'], windowsHide: true }),
  );
  if (child === undefined) return undefined;
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  child.on('error', () => resolve());
  child.on('close', () => resolve());
  const stop = (): void => void child.kill('SIGKILL');
  splitLines(child, onLine, stop);
  return { ended, stop };
}

function splitLines(child: ChildProcess, onLine: (line: string) => void, stop: () => void): void {
  let rest = '';
  child.stdout?.setEncoding('utf8');
  child.stdout?.on('data', (text: string) => {
    const lines = `${rest}${text}`.split(/\r?\n/);
    rest = lines.pop() ?? '';
    if (rest.length > SIGNAL_LIMITS.lineBytesMax) stop();
    for (const line of lines) onLine(line);
  });
}

function connect(path: string): Promise<LocalSocket | undefined> {
  const { promise, resolve } = Promise.withResolvers<LocalSocket | undefined>();
  const socket = quietly(() => createConnection(path));
  if (socket === undefined) return Promise.resolve(undefined);
  socket.setTimeout(SIGNAL_LIMITS.answerMsMax, () => socket.destroy());
  socket.once('connect', () => {
    socket.setTimeout(0);
    resolve(localSocket(socket));
  });
  // Once open, 'close' follows and is what counts.
  socket.on('error', () => resolve(undefined));
  socket.once('close', () => resolve(undefined));
  return promise;
}

function localSocket(socket: Socket): LocalSocket {
  let isOurs = false;
  // A display that is watched is no reason for the process to live.
  socket.unref();
  return {
    write: (bytes) => void socket.write(bytes),
    listen({ onBytes, onClose }) {
      socket.on('data', onBytes);
      socket.once('close', () => {
        if (!isOurs) onClose();
      });
    },
    close() {
      isOurs = true;
      socket.destroy();
    },
  };
}

/**
 * Read without waiting: Node waits for a character device in one of four threads, which all else needs, too. Bytes are
 * thrown away unseen; keys are nobody's business.
 */
function openEvents(path: string): EventDevice | undefined {
  const file = quietly(() => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  if (file === undefined) return undefined;
  const bytes = Buffer.alloc(4096);
  const isEmpty = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'EAGAIN';
  return {
    drain() {
      let seen: 'none' | 'some' = 'none';
      try {
        // Bounded: a device may send faster than we read.
        for (let round = 0; round < 16; round++) {
          const count = readSync(file, bytes, 0, bytes.length, null);
          if (count > 0) seen = 'some';
          if (count < bytes.length) break;
        }
        return seen;
      } catch (error) {
        return isEmpty(error) ? seen : 'gone';
      } finally {
        bytes.fill(0);
      }
    },
    close() {
      quietly(() => closeSync(file));
    },
  };
}
