/**
 * Where things lie when nobody says otherwise, as each system wants it, and what a hub that runs here leaves there for
 * the commands on the same machine: its address and its steward's key.
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export function defaultDataFolder(
  env: Readonly<Record<string, string | undefined>> = process.env,
  platform: string = process.platform,
): string {
  if (platform === 'win32') return join(env.LOCALAPPDATA ?? join(homedir(), 'AppData', 'Local'), 'Idlewild');
  if (platform === 'darwin') return join(homedir(), 'Library', 'Application Support', 'Idlewild');
  const base = env.XDG_DATA_HOME;
  // The specification tells us to ignore relative paths.
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.local', 'share'), 'idlewild');
}

/** Of the device that this machine lends; `named` is what its lender wrote. */
export const deviceFolder = (named: string | undefined): string =>
  resolve(named ?? join(defaultDataFolder(), 'device'));

export const ADDRESS_FILE = 'address.json';
export const STEWARD_KEY_FILE = 'steward.key';

/** What `up` notes in its data folder while it runs. */
export interface NotedHub {
  readonly url: string;
  readonly pid: number;
}

export function notedHub(data: string): NotedHub | undefined {
  const text = readIfThere(join(data, ADDRESS_FILE));
  if (text === undefined) return undefined;
  const { url, pid } = JSON.parse(text) as Partial<NotedHub>;
  return typeof url === 'string' && typeof pid === 'number' ? { url, pid } : undefined;
}

export const stewardKey = (data: string): string | undefined => readIfThere(join(data, STEWARD_KEY_FILE))?.trim();

/** `undefined` for a file that is not there or not ours to read. */
function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}
