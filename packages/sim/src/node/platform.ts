/** What a simulation takes from the machine: a turn of its event loop, a folder, and real time for reports. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Resolves when everything that was ready has run. */
export const yieldToPlatform = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

export interface TemporaryFolder {
  readonly path: string;
  remove(): void;
}

/** In memory where the machine has a file system there: what is tested is the file's contents, not the disk. */
export function createTemporaryFolder(): TemporaryFolder {
  const inMemory = '/dev/shm';
  const root = statSync(inMemory, { throwIfNoEntry: false })?.isDirectory() === true ? inMemory : tmpdir();
  const path = mkdtempSync(join(root, 'idlewild-sim-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export const realMs = (): number => performance.now();
