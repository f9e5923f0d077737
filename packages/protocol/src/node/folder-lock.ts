/**
 * One process per data folder.
 *
 * The lock is SQLite's exclusive file lock: the system releases it when the process dies, however it dies, so there is
 * no stale lock file to clean up and no process id to guess from.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { IdlewildError } from '../errors.ts';

export interface FolderLock {
  /** May be called more than once. */
  release(): void;
}

/** Makes `folder` (0700) if need be and locks it. Throws `data_locked`, or `usage` when it cannot be written. */
export function lockFolder(folder: string, what: string): FolderLock {
  let database: DatabaseSync;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    database = new DatabaseSync(join(folder, 'lock'), { timeout: 0 });
  } catch (cause) {
    throw new IdlewildError('usage', `the data folder ${folder} cannot be used: ${(cause as Error).message}`, {
      cause,
    });
  }
  try {
    database.exec('pragma journal_mode = memory; pragma locking_mode = exclusive; begin exclusive');
  } catch (cause) {
    database.close();
    throw new IdlewildError(
      'data_locked',
      `another ${what} uses the data folder ${folder}; stop it, or give this one a folder of its own`,
      { cause },
    );
  }
  return {
    release() {
      if (database.isOpen) database.close();
    },
  };
}
