/** This machine, for service managers: commands with a deadline and bounded output, files written whole. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Machine, Ran } from './manager.ts';

/** Stopping a service waits until its answers are finished, for which it has half of this. */
const RUN_MS_MAX = 60_000;
const OUTPUT_BYTES_MAX = 1_048_576;

export const thisMachine: Machine = {
  run: (program, words) =>
    new Promise<Ran>((resolve) => {
      const options = { timeout: RUN_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX, windowsHide: true } as const;
      execFile(program, [...words], options, (error, out, err) => {
        resolve({ code: codeOf(error), out, err });
      });
    }),
  read(path) {
    try {
      const bytes = readFileSync(path);
      return bytes[0] === 0xff && bytes[1] === 0xfe ? bytes.subarray(2).toString('utf16le') : bytes.toString('utf8');
    } catch (error) {
      if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
      throw error;
    }
  },
  write(path, content) {
    mkdirSync(dirname(path), { recursive: true });
    const beside = `${path}.new`;
    writeFileSync(beside, content, { mode: 0o600 });
    renameSync(beside, path);
  },
  remove: (path) => rmSync(path, { force: true }),
  exists: existsSync,
  wait: (ms) =>
    new Promise((resolve) => {
      setTimeout(resolve, ms);
    }),
};

function codeOf(error: Error | null): number {
  if (error === null) return 0;
  const { code, killed } = error as { code?: number | string | null; killed?: boolean };
  if (typeof code === 'number') return code;
  if (killed === true) return 124;
  return code === 'ENOENT' ? 127 : 1;
}
