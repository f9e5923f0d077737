/**
 * The newest rules of use that were seen on this machine, of each community and each steward who signed them: what
 * keeps a hub from showing older ones to a proxy that was started again, or to a steward who signs.
 *
 * A file in the data folder, read anew each time, for several proxies share it. It holds versions and times and no
 * rules. Who removes it forgets, and takes the hub's next word for the newest.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { SeenRules, SeenVersion } from '@idlewild/client';
import { IdlewildError, messageOf } from '@idlewild/protocol';
import { z } from 'zod';
import { defaultDataFolder } from './data-folder.ts';

export const seenRulesFile = (folder: string = defaultDataFolder()): string => join(folder, 'rules.seen.json');

const count = z.int().min(0);
const schema = z.object({
  v: z.literal(1),
  /** By community, then by steward. */
  seen: z.record(z.string(), z.record(z.string(), z.object({ version: count, issuedAtMs: count }))),
});
type Seen = z.infer<typeof schema>['seen'];

/** Throws `data_corrupt` for a file that cannot be read, and `usage` where nothing can be written. */
export function seenRulesIn(file: string = seenRulesFile()): SeenRules {
  return {
    of: (territory) => new Map(Object.entries(read(file)[territory] ?? {})),
    note(territory, steward, { version, issuedAtMs }: SeenVersion) {
      const all = read(file);
      write(file, { ...all, [territory]: { ...all[territory], [steward]: { version, issuedAtMs } } });
    },
  };
}

function read(file: string): Seen {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new IdlewildError('data_corrupt', `${file} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  try {
    return schema.parse(JSON.parse(text)).seen;
  } catch (cause) {
    const lost = 'removing it forgets which rules of use were seen, so that a hub could show older ones';
    throw new IdlewildError('data_corrupt', `${file} is damaged; ${lost}: ask a steward for the version first`, {
      cause,
    });
  }
}

function write(file: string, seen: Seen): void {
  const next = `${file}.${process.pid}`;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(next, `${JSON.stringify({ v: 1, seen }, undefined, 2)}\n`, { mode: 0o600, flush: true });
    renameSync(next, file);
  } catch (cause) {
    const message = `cannot remember in ${file} which rules of use were seen: ${messageOf(cause)}`;
    throw new IdlewildError('usage', `${message}; make the folder writable, or name another by XDG_DATA_HOME`, {
      cause,
    });
  }
}
