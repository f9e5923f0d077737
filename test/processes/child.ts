/**
 * A process of the tests: it leads a group of its own, is read line by line, and is ended by its id. It stops when its
 * stdin ends, so none outlives the tests however they end.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Child<Line> {
  readonly pid: number;
  /** Every JSON line of its stdout, oldest first. */
  readonly lines: readonly Line[];
  /** All of its stdout and stderr. */
  said(): string;
  /**
   * The first line that passes, of those that came, from the one numbered `from` on, and of those to come. Rejects at
   * the end of the process or after `deadlineMs`.
   */
  line(passes: (line: Line) => boolean, what: string, options?: { from?: number; deadlineMs?: number }): Promise<Line>;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  /** As a power cut would: the whole group at once. */
  kill(): Promise<void>;
  /** As its owner would. */
  stop(): Promise<void>;
}

/** Patience, not a claim: long enough for a machine that is eight times slower than a quiet one. */
export const DEADLINE_MS = 90_000;
const LOOK_MS = 20;
/** The command keeps what it compiled (packages/cli/bin); so do processes that only tests have. */
const COMPILED = join(import.meta.dirname, '../../node_modules/.cache/idlewild/tests');

/** Resolves once `condition` holds, for what no event tells of. Rejects after `deadlineMs`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  deadlineMs = DEADLINE_MS,
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await new Promise((resolve) => {
      setTimeout(resolve, LOOK_MS);
    });
  }
}

export function startChild<Line>(
  script: string,
  words: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Child<Line> {
  const child = spawn(process.execPath, [script, ...words], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
    env: script.endsWith('.ts') ? { NODE_COMPILE_CACHE: COMPILED, ...env } : env,
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${script} could not be started`);
  const lines: Line[] = [];
  const waiting = new Set<() => void>();
  let said = '';
  let isOver = false;
  const look = (): void => {
    for (const again of waiting) again();
  };
  child.stdin.on('error', () => undefined /* one that is gone does not read; `ended` tells */);
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    said += `${line}\n`;
    if (line.startsWith('{')) lines.push(JSON.parse(line) as Line);
    look();
  });
  const ended: Child<Line>['ended'] = new Promise((resolve) => {
    child.once('close', (code, signal) => {
      isOver = true;
      look();
      resolve({ code, signal });
    });
  });
  return {
    pid,
    lines,
    ended,
    said: () => said,
    line: (passes, what, { from = 0, deadlineMs = DEADLINE_MS } = {}) =>
      new Promise((resolve, reject) => {
        const fail = (why: string): void => reject(new Error(`${what}: ${why}; it said: ${said.slice(-2_000)}`));
        const timer = setTimeout(() => settle(() => fail(`not within ${deadlineMs} ms`)), deadlineMs);
        const settle = (act: () => void): void => {
          clearTimeout(timer);
          waiting.delete(again);
          act();
        };
        const again = (): void => {
          const found = lines.slice(from).find(passes);
          if (found !== undefined) settle(() => resolve(found));
          else if (isOver) settle(() => fail('the process ended'));
        };
        waiting.add(again);
        again();
      }),
    async kill() {
      killGroup(pid);
      await ended;
    },
    async stop() {
      child.stdin.end();
      const timer = setTimeout(() => killGroup(pid), DEADLINE_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** `kill -9` of a process and all that it started. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
