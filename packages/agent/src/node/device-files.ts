/**
 * Every file and folder that a device makes in its own, and how they are removed when it leaves.
 *
 * Nothing else is touched: a lender may have named a folder that holds other things. What identifies the device goes
 * first, so that an interrupted removal leaves bytes of models and no key; by a note of it, done again, it goes on.
 */
import { lstat, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CONTROL_FILES } from './control.ts';
import { HISTORY_FOLDER } from './history.ts';
import { PAUSE_FILE } from './kept-pause.ts';
import { ENERGY_FILE } from './power/energy-file.ts';

const FILES: readonly string[] = [
  'device.key',
  'device.json',
  'consent.json',
  'lending.json',
  ENERGY_FILE,
  PAUSE_FILE,
  'device.log',
  'device.log.1',
  ...CONTROL_FILES,
];
const FOLDERS: readonly string[] = [HISTORY_FOLDER, 'models', 'blobs'];
/** Held while the rest is removed. */
const LOCK = ['lock', 'lock-journal'];
/** That a leaving has begun to remove things, and what is to be told of it; the last to go. */
export const LEAVING_FILE = 'leaving.json';
/** What goes when the device leaves; `device.json.new` is one that was being written. */
export const isRemoved = (name: string): boolean =>
  [...FILES, ...FOLDERS, LEAVING_FILE].includes(name.replace(/\.new$/, '')) || LOCK.includes(name);

/** What a device that left leaves; several, if it came and went. */
const RECEIPT = /^left-\d{8}T\d{6}Z\.json$/;
export const isReceipt = (name: string): boolean => RECEIPT.test(name);
export const receiptName = (atMs: number): string =>
  `left-${new Date(atMs).toISOString().replaceAll(/[-:]|\.\d+/g, '')}.json`;

export interface Removed {
  readonly bytes: number;
  /** What lies there and is not the device's. */
  readonly leftAlone: readonly string[];
}

/** Removes all but receipts, of which the newest may have any name, and the lock, which the caller holds. */
export async function removeDeviceFiles(folder: string, receipt: string): Promise<Removed> {
  let bytes = 0;
  for (const name of [...FILES, ...FOLDERS].flatMap((each) => [each, `${each}.new`])) {
    const path = join(folder, name);
    bytes += await bytesOf(path);
    await rm(path, { recursive: true, force: true });
  }
  const isOurs = (name: string): boolean => isRemoved(name) || isReceipt(name) || name === receipt;
  return { bytes, leftAlone: (await readdir(folder)).filter((name) => !isOurs(name)).sort() };
}

/** After the lock was let go: what was kept until then, and the folder itself where nothing is in it. */
export async function removeFolder(folder: string): Promise<void> {
  for (const name of [...LOCK, `${LEAVING_FILE}.new`, LEAVING_FILE]) await rm(join(folder, name), { force: true });
  if ((await readdir(folder)).length > 0) return;
  // A link, what is mounted there, or a place where we may make nothing and remove nothing: then it stays, empty.
  await rmdir(folder).catch(() => undefined);
}

/** Folders of models are links to what is in the store: a file counts by its last name. */
async function bytesOf(path: string): Promise<number> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return 0;
  if (!found.isDirectory()) return found.nlink > 1 ? 0 : found.size;
  const all = await Promise.all((await readdir(path)).map((name) => bytesOf(join(path, name))));
  return all.reduce((sum, each) => sum + each, 0);
}
