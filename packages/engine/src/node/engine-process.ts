/**
 * Starting an engine process and talking to it: the part that knows about processes, permissions and pipes, not about
 * answers.
 *
 * What it may do, enforced by Node's permission flags: read the packages and the model's folder, load native addons
 * (the runtime is one). It may not write files, start processes or workers, and its environment is empty but for the
 * word that keeps the runtime from reporting its use to its maker. The flags bind JavaScript, not native code, and do
 * not stop sockets; isolating the network is the agent's matter. Standard output and error are kept, bounded, for the
 * message when it dies.
 */
import { IdlewildError } from '@idlewild/protocol';
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import { setPriority } from 'node:os';
import { dirname, extname, join, sep } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { openFramePipe, type FromEngine, type ToEngine } from './frames.ts';

export interface ProcessOptions {
  /** The Node to run it with; this one by default. */
  readonly nodePath?: string | undefined;
  /** Unix nice value, 0 to 19: a lender's own programs come first. */
  readonly niceness?: number | undefined;
  /** Words before those that start it, which end in running them: `ionice -c 3`. The first is a whole path. */
  readonly under?: readonly string[] | undefined;
  /** Told of each process as soon as there is one. */
  onStarted?(pid: number): void;
}

export interface EngineProcess {
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
  const entry = join(dirname(SELF), `main${extname(SELF)}`);
  const node = [options.nodePath ?? process.execPath, ...permissionFlags(readable), entry];
  const [file, ...words] = [...(options.under ?? []), ...node] as [string, ...string[]];
  const child = spawn(file, words, {
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    windowsHide: true,
  });
  if (child.pid === undefined) {
    child.on('error', () => undefined);
    throw new IdlewildError('engine_failed', `no engine process could be started with ${file}`);
  }
  const { pid } = child;
  if (options.niceness !== undefined) setPriority(pid, options.niceness);
  options.onStarted?.(pid);
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
    pid,
    send: pipe.send,
    kill: () => void (isThere() && signalAll(pid, 'SIGKILL')),
    stop: () => process.platform !== 'win32' && isThere() && signalAll(pid, 'SIGSTOP'),
    go: () => void (isThere() && signalAll(pid, 'SIGCONT')),
    gone,
  };
}

/** To a process and those under it: what isolates an engine may be its parent. False when none was there. */
function signalAll(pid: number, signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): boolean {
  const reached = [pid, ...processesUnder(pid)].map((each) => {
    try {
      return process.kill(each, signal);
    } catch {
      // It is gone, or it isolates with rights that we have not; what runs beneath it is ours.
      return false;
    }
  });
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

/**
 * ONNX Runtime 1.30 reports its use to its maker from Linux too, with a database under the user's home, unless it finds
 * this in its environment when it is loaded.
 */
export const NO_TELEMETRY = { ORT_DISABLE_TELEMETRY: '1' } as const;

/** Nothing else, but for what Windows cannot start a program without. */
function environment(): NodeJS.ProcessEnv {
  const systemRoot = process.env['SystemRoot'];
  return process.platform === 'win32' && systemRoot !== undefined
    ? { ...NO_TELEMETRY, SystemRoot: systemRoot }
    : { ...NO_TELEMETRY };
}

/**
 * Flags under which a process may read `readable`, this package and what it imports, and do nothing else that Node can
 * forbid.
 */
export function permissionFlags(readable: readonly string[]): string[] {
  const folders = new Set<string>([packageRoot(SELF)]);
  for (const name of [
    '@idlewild/protocol',
    '@idlewild/graph',
    'onnxruntime-node',
    'onnxruntime-common',
    '@huggingface/tokenizers',
    '@huggingface/jinja',
    '@mlc-ai/web-xgrammar',
  ]) {
    const path = fileURLToPath(import.meta.resolve(name));
    folders.add(packageRoot(path));
    // Dependencies of these, and the links through which packages of a workspace are found.
    for (const modules of modulesFolders(path)) folders.add(modules);
  }
  for (const modules of modulesFolders(fileURLToPath(import.meta.resolve('onnxruntime-node')))) folders.add(modules);
  return [
    '--permission',
    '--allow-addons',
    '--disable-warning=SecurityWarning',
    ...[...folders, ...readable].map((folder) => `--allow-fs-read=${folder}`),
  ];
}

/**
 * The folder of the package that a file belongs to: the last one under `node_modules`, or the one above `src` or
 * `dist`.
 */
function packageRoot(file: string): string {
  const real = realpathSync(file);
  const parts = real.split(sep);
  const modules = parts.lastIndexOf('node_modules');
  if (modules >= 0) return parts.slice(0, modules + (parts[modules + 1]?.startsWith('@') === true ? 3 : 2)).join(sep);
  const source = Math.max(parts.lastIndexOf('src'), parts.lastIndexOf('dist'));
  return parts.slice(0, source).join(sep);
}

function modulesFolders(file: string): string[] {
  const parts = file.split(sep);
  return parts.flatMap((part, i) => (part === 'node_modules' ? [parts.slice(0, i + 1).join(sep)] : []));
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

function reasonOf(code: number | null, signal: NodeJS.Signals | null, broken: string, printed: string): string {
  const how = signal === null ? `exited with code ${code ?? 0}` : `was ended by ${signal}`;
  const pipe =
    signal === 'SIGKILL' && broken !== '' && broken !== 'the pipe was closed'
      ? ` after its pipe broke (${broken})`
      : '';
  return `the engine process ${how}${pipe}${printed === '' ? '' : `; it printed: ${printed}`}`;
}
