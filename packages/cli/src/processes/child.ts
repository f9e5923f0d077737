/**
 * A command of ours as a process of its own: started with a pipe to its stdin that says, by closing, that we are gone,
 * and read line by line.
 *
 * It leads its own process group, so a terminal's Ctrl-C reaches it through us alone, and whatever it started ends with
 * it. However we end, even by kill -9, it notices and stops.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { EXIT } from '../exit-codes.ts';

const COMMAND = fileURLToPath(new URL('../../bin/idlewild.mjs', import.meta.url));
const SAID_CHARACTERS_MAX = 4_096;

export interface ChildEnd {
  readonly code: number;
  /** The error that it printed last, if it printed any. */
  readonly problem: { readonly code: string; readonly message: string } | undefined;
}

export interface Child {
  readonly pid: number;
  readonly ended: Promise<ChildEnd>;
  /** One line to its stdin, which stays open. */
  say(line: string): void;
  /** Asks it to stop, and ends its whole group when `graceMs` are over. */
  stop(graceMs: number): Promise<void>;
  /** Ends its whole group at once, as a power cut would. */
  kill(): void;
}

export interface ChildOptions {
  /** Each JSON line of its stdout. */
  onLine(value: Readonly<Record<string, unknown>>): void;
}

/** Runs `idlewild WORDS --json --stop-with-stdin`. */
export function startChild(words: readonly string[], { onLine }: ChildOptions): Child {
  const child = spawn(process.execPath, [COMMAND, ...words, '--json', '--stop-with-stdin'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: process.platform !== 'win32',
    windowsHide: true,
  });
  const { stdin, stdout, stderr } = child;
  // A child that is gone cannot read; its end is told by `ended` alone.
  stdin.on('error', () => undefined);
  createInterface({ input: stdout }).on('line', (line) => onLine(JSON.parse(line) as Record<string, unknown>));
  let said = '';
  stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-SAID_CHARACTERS_MAX);
  });
  const ended = new Promise<ChildEnd>((resolve) => {
    child.once('error', (error) =>
      resolve({ code: EXIT.failed, problem: { code: 'internal', message: error.message } }),
    );
    child.once('close', (code, signal) => resolve({ code: code ?? EXIT.failed, problem: problemIn(said, signal) }));
  });
  return {
    pid: child.pid ?? 0,
    ended,
    say: (line) => void stdin.write(`${line}\n`),
    async stop(graceMs) {
      child.kill('SIGTERM');
      const timer = setTimeout(() => killGroup(child), graceMs);
      await ended;
      clearTimeout(timer);
    },
    kill: () => killGroup(child),
  };
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    if (process.platform === 'win32') child.kill('SIGKILL');
    else process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

const FAULT = /^(?:Uncaught )?\w*Error\b.*: /;

function problemIn(said: string, signal: NodeJS.Signals | null): ChildEnd['problem'] {
  const lines = said.trim().split('\n');
  const last = lines.at(-1) ?? '';
  if (last === '') return signal === null ? undefined : { code: 'internal', message: `it was ended by ${signal}` };
  try {
    return (JSON.parse(last) as { error: { code: string; message: string } }).error;
  } catch {
    // Not one of our own lines, such as a fault of the runtime, which says its version at the end.
    return { code: 'internal', message: lines.findLast((line) => FAULT.test(line)) ?? last };
  }
}
