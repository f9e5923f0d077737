/**
 * A program at a terminal: a real one, made by util-linux's `script`, which is read as a person reads it and at whose
 * keys a person would press. When `script` is ended the terminal hangs up, so no program outlives the tests.
 */
import { spawn, spawnSync } from 'node:child_process';
import { DEADLINE_MS, until } from './child.ts';

export interface Terminal {
  readonly pid: number;
  /** All that was drawn, without colours and without what moves the cursor. */
  shown(): string;
  /** Resolves once this was drawn since the last one that was waited for. */
  shows(what: RegExp): Promise<void>;
  press(keys: string): void;
  /** Of the program, as a shell has it: 128 and the signal where one ended it. */
  readonly ended: Promise<number | null>;
  kill(): void;
}

export const KEYS = { ctrlC: '\u0003', enter: '\r', up: '\u001b[A', down: '\u001b[B' } as const;

/** Why there is none here. */
export const noTerminal = (): string | undefined => {
  const { stdout } = spawnSync('script', ['--version'], { encoding: 'utf8' });
  return stdout?.includes('util-linux') ? undefined : 'there is no `script` of util-linux here';
};

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

// oxlint-disable-next-line no-control-regex
const STEERING = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007]*\u0007|[@-Z\\-_])/g;

export function openTerminal(words: readonly string[], env: NodeJS.ProcessEnv, columns = 80): Terminal {
  const command = `stty cols ${columns} rows 50; exec ${words.map(quoted).join(' ')}`;
  const child = spawn('script', ['-q', '-f', '-e', '-c', command, '/dev/null'], {
    env: { ...env, TERM: 'xterm', SHELL: '/bin/sh' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error('script could not be started');
  let raw = '';
  let seen = 0;
  let isOver = false;
  child.stdin.on('error', () => undefined /* one that is gone reads no keys; `ended` tells */);
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    raw += text;
  });
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      isOver = true;
      resolve(code);
    });
  });
  const shown = (): string => raw.replace(STEERING, '').replaceAll('\r', '');
  return {
    pid,
    shown,
    ended,
    async shows(what) {
      const found = (): RegExpExecArray | null => new RegExp(what).exec(shown().slice(seen));
      await until(() => found() !== null || isOver, `the screen shows ${what}`, 2 * DEADLINE_MS).catch(
        (error: unknown) => {
          throw new Error(`${(error as Error).message}; it showed: ${shown().slice(-2_000)}`);
        },
      );
      const match = found();
      if (match === null) throw new Error(`${what} was not shown before the end: ${shown().slice(-2_000)}`);
      seen += match.index + match[0].length;
    },
    press: (keys) => void child.stdin.write(keys),
    kill: () => void child.kill('SIGKILL'),
  };
}
