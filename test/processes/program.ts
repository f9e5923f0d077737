/** A program that is run to its end, and what it said. */
import { spawn } from 'node:child_process';

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** `input`: all of its stdin. It has this environment and nothing else. */
export function runProgram(
  program: string,
  words: readonly string[],
  { env, input = '' }: { readonly env: NodeJS.ProcessEnv; readonly input?: string | undefined },
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { env, stdio: 'pipe' });
    let [out, err] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    child.once('error', reject).once('close', (code) => resolve({ code, out, err }));
    // Who ends without reading says so by its end.
    child.stdin.on('error', () => undefined).end(input);
  });
}
