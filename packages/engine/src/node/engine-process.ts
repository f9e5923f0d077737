/**
 * Starting an engine process and talking to it: the part that knows about processes, permissions and pipes, not about
 * answers.
 *
 * It has an empty environment and Node's permission flags everywhere, and stands behind a wall where it is given one;
 * what these hold is written in `isolation/`. Standard output and error are kept, bounded, for the message when it
 * dies.
 */
import { IdlewildError } from '@idlewild/protocol';
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { dirname, extname, join } from 'node:path';
import type { Duplex, Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { openFramePipe, type FromEngine, type ToEngine } from './frames.ts';
import { engineEnvironment, permissionFlags, readableFolders } from './isolation/permissions.ts';
import { WHOLE_MACHINE, viewOf } from './isolation/view.ts';
import { NO_WALL, behind, gated, type Wall, type Walled } from './isolation/walls.ts';

export interface ProcessOptions {
  /** The Node to run it with; this one by default. */
  readonly nodePath?: string | undefined;
  /** Unix nice value, 0 to 19: a lender's own programs come first. */
  readonly niceness?: number | undefined;
  /** Words before those that start it, which end in running them: `ionice -c 3`. The first is a whole path. */
  readonly under?: readonly string[] | undefined;
  /** What it stands behind; nothing, if it is not said. */
  readonly wall?: Wall | undefined;
  /**
   * Bytes that it may take in the end. The kernel keeps it to this and `OVERHEAD_BYTES`, on Linux: what a graph asks
   * for between two looks at what it took is not given to it.
   */
  readonly memoryBytesMax?: number | undefined;
  /** Lets it see the machine's files and devices, read-only, which graphics drivers need; never with others' graphs. */
  readonly seesMachine?: boolean | undefined;
  /** Told of each process as soon as there is one. */
  onStarted?(pid: number): void;
}

export interface EngineProcess {
  /** Of the process that computes, once what builds its wall has started it. */
  readonly pid: number;
  send(message: ToEngine): void;
  /** Ends it at once; `onEnd` is still told. */
  kill(): void;
  /** Stops it where it stands; false where the system cannot. */
  stop(): boolean;
  /** It goes on after `stop`. */
  go(): void;
  /** Resolves when it is gone. */
  readonly gone: Promise<void>;
}

/**
 * Beyond what an engine is to hold: the kernel counts what may be written to, not what was. Measured: 0.5 GB more with
 * one thread, and 8 MB for the stack of each further one.
 */
const OVERHEAD_BYTES = 2_147_483_648;
/** How much of what a process printed is kept for the message of its death. */
const PRINTED_CHARACTERS_MAX = 2_000;
const SELF = fileURLToPath(import.meta.url);

/**
 * `onEnd` is called once, with a reason for people, after the last message. Throws `engine_failed` when no process
 * starts.
 */
export function startEngineProcess(
  readable: readonly string[],
  options: ProcessOptions,
  onMessage: (message: FromEngine) => void,
  onEnd: (reason: string) => void,
): EngineProcess {
  const { words, filter } = commandOf(readable, options);
  const isWalled = (options.wall ?? NO_WALL).by !== 'none';
  const isGated = process.platform === 'linux';
  const { memoryBytesMax } = options;
  const dataBytesMax = memoryBytesMax === undefined ? undefined : memoryBytesMax + OVERHEAD_BYTES;
  const behindGate = isGated ? gated(words, dataBytesMax) : words;
  const [file, ...rest] = [...(options.under ?? []), ...behindGate] as [string, ...string[]];
  const child = spawn(file, rest, {
    env: engineEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', filter === undefined ? 'ignore' : 'pipe', isGated ? 'pipe' : 'ignore'],
    windowsHide: true,
    // A session of its own, so that it has a place of its own in line, and no terminal.
    detached: process.platform === 'linux',
  });
  if (child.pid === undefined) {
    child.on('error', () => undefined);
    throw new IdlewildError('engine_failed', `no engine process could be started with ${file}`);
  }
  const { pid } = child;
  if (options.niceness !== undefined) makeNice(pid, options.niceness);
  options.onStarted?.(pid);
  feed(child, 4, filter);
  feed(child, 5, isGated ? '\n' : undefined);
  const printed = keepPrinted(child);
  let broken = '';
  const pipe = openFramePipe<ToEngine, FromEngine>(child.stdio[3] as Duplex, onMessage, (reason) => {
    broken = reason;
    // Without its pipe it is of no use, and it may be stuck.
    signalAll(pid, 'SIGKILL');
  });
  const gone = new Promise<void>((resolve) => {
    // 'close' and not 'exit': only then was everything read that it sent before it died.
    child.once('close', (code, signal) => {
      onEnd(reasonOf(code, signal, broken, printed()));
      resolve();
    });
  });
  child.on('error', () => undefined);
  const isThere = (): boolean => child.exitCode === null && child.signalCode === null;
  return {
    // Whatever builds a wall has one child, the engine.
    get pid() {
      return isWalled ? (processesUnder(pid)[0] ?? pid) : pid;
    },
    send: pipe.send,
    kill: () => void (isThere() && signalAll(pid, 'SIGKILL')),
    stop: () => process.platform !== 'win32' && isThere() && signalAll(pid, 'SIGSTOP'),
    go: () => void (isThere() && signalAll(pid, 'SIGCONT')),
    gone,
  };
}

/**
 * To those under a process, or to itself where there are none: what builds a wall starts an engine as its child, and
 * has to live on to collect it and to end as it ended. False when nobody was there.
 */
function signalAll(pid: number, signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): boolean {
  const tell = (each: number, what: NodeJS.Signals): boolean => {
    try {
      return process.kill(each, what);
    } catch {
      return false;
    }
  };
  const under = processesUnder(pid);
  const reached = (under.length > 0 ? under : [pid]).map((each) => tell(each, signal));
  // It may have been stopped itself, before it had started anything.
  if (under.length > 0 && signal !== 'SIGSTOP') tell(pid, 'SIGCONT');
  return reached.includes(true);
}

function processesUnder(pid: number): number[] {
  let children: string;
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  } catch {
    // No such list on this system, where nothing is put before an engine either; or the process is gone.
    return [];
  }
  const pids = children.split(' ').filter((text) => text.trim() !== '');
  return pids.flatMap((text) => [Number(text), ...processesUnder(Number(text))]);
}

function feed(child: ChildProcess, descriptor: 4 | 5, text: Uint8Array | string | undefined): void {
  // What dies before it has read says so by its end.
  if (text !== undefined)
    ((child.stdio as readonly unknown[])[descriptor] as Writable).on('error', () => undefined).end(text);
}

/**
 * By itself and by its session: Linux may share processors out among sessions first, and then nothing that a process
 * says of itself counts against those of others. Not all systems have that, nor let it be set so often.
 */
function makeNice(pid: number, niceness: number): void {
  setPriority(pid, niceness);
  try {
    writeFileSync(`/proc/${pid}/autogroup`, String(niceness));
  } catch {
    // Then it is as nice as it says.
  }
}

/** Throws `engine_failed` where there is no such Node to be shown behind a wall. */
function commandOf(readable: readonly string[], options: ProcessOptions): Walled {
  const entry = join(dirname(SELF), `main${extname(SELF)}`);
  const { nodePath = process.execPath, wall = NO_WALL } = options;
  const rest = [...permissionFlags(readable), entry];
  if (wall.by === 'none' && wall.setpriv === undefined) return { words: [nodePath, ...rest] };
  let node: string;
  try {
    node = realpathSync(nodePath);
  } catch (cause) {
    throw new IdlewildError('engine_failed', `no engine process could be started with ${nodePath}`, { cause });
  }
  const view = options.seesMachine === true ? WHOLE_MACHINE : viewOf(readableFolders(readable), node, wall.libraries);
  return behind(wall, view, [node, ...rest]);
}

function keepPrinted(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr] as (Readable | null)[]) {
    stream?.setEncoding('utf8').on('data', (part: string) => {
      text = (text + part).slice(-PRINTED_CHARACTERS_MAX);
    });
  }
  return () => text.trim();
}

/** What builds a wall ends with 128 and the number of the signal that ended what it started. */
const SIGNALLED = 128;

function reasonOf(code: number | null, signalled: NodeJS.Signals | null, broken: string, printed: string): string {
  const ended = Object.entries(constants.signals).find(([, number]) => number + SIGNALLED === code);
  const signal = signalled ?? ended?.[0] ?? null;
  const how = signal === null ? `exited with code ${code ?? 0}` : `was ended by ${signal}`;
  const pipe =
    signal === 'SIGKILL' && broken !== '' && broken !== 'the pipe was closed'
      ? ` after its pipe broke (${broken})`
      : '';
  return `the engine process ${how}${pipe}${printed === '' ? '' : `; it printed: ${printed}`}`;
}
