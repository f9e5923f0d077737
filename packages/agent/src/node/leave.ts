/**
 * Leaving: goodbye to the hub, a receipt, and then nothing of the device is left on the disk.
 *
 *   drained ──goodbye──► acknowledged, or why not ──note, receipt──► keys, consent, state ──► models ──► note, gone
 *
 * The receipt is written before anything is removed, and says who acknowledged what, or that nobody did: a lender whose
 * hub is away leaves all the same. Interrupted, it is done again and goes on; the hub tells once more what it has
 * signed.
 */
import { accessSync, constants, existsSync, realpathSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { basename, dirname, join, relative, sep } from 'node:path';
import { IdlewildError, asIdlewildError, hex, idOfKey, type DeviceProfile, type Transport } from '@idlewild/protocol';
import { lockFolder, nodeCrypto, nodeRandom, systemClock, type FolderLock } from '@idlewild/protocol/node';
import { z } from 'zod';
import packageJson from '../../package.json' with { type: 'json' };
import type { LeaveOrder, LeaveReport } from '../core/lending/control/control.ts';
import { HISTORY_LIMITS } from '../core/lending/control/limits.ts';
import { sayGoodbye, type Goodbye } from '../core/lending/control/goodbye.ts';
import { openDataFolder, type DataFolder, type DeviceSettings } from './data-folder.ts';
import { LEAVING_FILE, isReceipt, isRemoved, receiptName, removeDeviceFiles, removeFolder } from './device-files.ts';
import { readHistory } from './history.ts';
import { readJson, writeJson } from './whole-file.ts';
import { createWsTransport } from './ws-transport.ts';

const PORTS = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto } as const;

export interface LeaveOptions extends LeaveOrder {
  readonly transport?: Transport | undefined;
  /** What the hub is given to acknowledge it. */
  readonly boundMs?: number | undefined;
}

/** Whether a device is lent from there, or one is there whose leaving was interrupted. */
export const hasDevice = (data: string): boolean =>
  ['device.key', LEAVING_FILE].some((name) => existsSync(join(data, name)));

/** A device that does not run leaves. Throws `not_found` where none is, `data_locked` where one runs after all. */
export async function leaveFolder(data: string, options: LeaveOptions = {}): Promise<LeaveReport> {
  if (!existsSync(join(data, 'device.key'))) {
    const begun = await begunIn(data);
    if (begun !== undefined) return await finish(data, begun, lockFolder(data, 'device'));
    throw new IdlewildError('not_found', `no device is lent from ${data}: there is nothing to leave`);
  }
  const folder = await openDataFolder(data, PORTS);
  try {
    return await leaveWith(folder, options);
  } finally {
    folder.close();
  }
}

/** `folder` is held by the caller and nothing runs in it any more; it is let go of and gone afterwards. */
export async function leaveWith(folder: DataFolder, options: LeaveOptions): Promise<LeaveReport> {
  const { identity } = folder;
  const begun = await begunIn(folder.folder);
  // What an interrupted leaving wrote is no file of others.
  if (options.receipt !== begun?.receipt) checkReceipt(folder.folder, options);
  const deviceId = await idOfKey('dev', identity.publicKey, nodeCrypto);
  const settings = await folder.settings();
  const said = await goodbye(folder, settings, options);
  const own = await ownCount(folder.folder);
  const atMs = said.left?.atMs ?? Date.now();
  const { answers, tokens } = said.left ?? own;
  const receipt = options.receipt ?? begun?.receipt ?? (await receiptIn(folder.folder, atMs, settings !== undefined));
  const report = {
    deviceId,
    acknowledged: said.left !== undefined,
    ...(said.why === undefined ? {} : { why: said.why }),
    ...{ atMs, answers, tokens, receipt },
  };
  const isWritten = existsSync(receipt) && begun?.receipt === receipt;
  // A hub that has acknowledged it once need not be there again; any other receipt is no better than a newer one.
  if (isWritten && begun.acknowledged && !report.acknowledged) {
    return await finish(folder.folder, begun, { release: () => folder.close() });
  }
  // The note first: whoever is interrupted between the two finds out by it where the receipt was to be.
  await writeJson(join(folder.folder, LEAVING_FILE), report);
  if (isWritten || !existsSync(receipt)) await writeJson(receipt, await receiptOf(report, settings, said, folder));
  return await finish(folder.folder, report, { release: () => folder.close() });
}

const leavingSchema = z.object({
  deviceId: z.string(),
  acknowledged: z.boolean(),
  why: z.string().optional(),
  atMs: z.number(),
  answers: z.number(),
  tokens: z.number(),
  receipt: z.string(),
});
type Leaving = z.infer<typeof leavingSchema>;

/** Of a leaving that was interrupted. */
const begunIn = (folder: string): Promise<Leaving | undefined> =>
  readJson(join(folder, LEAVING_FILE), leavingSchema, 'remove the folder by hand');

/** The receipt is on the disk: what is left of the device goes, however often that takes. */
async function finish(folder: string, begun: Leaving, lock: Pick<FolderLock, 'release'>): Promise<LeaveReport> {
  try {
    const { bytes, leftAlone } = await removeDeviceFiles(folder, basename(begun.receipt));
    lock.release();
    await removeFolder(folder);
    const { why, ...report } = begun;
    return { ...report, ...(why === undefined ? {} : { why }), freedBytes: bytes, leftAlone };
  } finally {
    lock.release();
  }
}

/**
 * Throws `usage` for a receipt that would take the place of something, cannot be written, or would go with the device:
 * before the hub is told anything.
 */
export function checkReceipt(folder: string, { receipt }: LeaveOrder): void {
  if (receipt === undefined) return;
  const why = existsSync(receipt) ? 'it is there already' : whyNotAt(receipt, folder);
  if (why !== undefined) throw new IdlewildError('usage', `${receipt}: ${why}; name another file for the receipt`);
}

function whyNotAt(receipt: string, folder: string): string | undefined {
  const parent = dirname(receipt);
  try {
    accessSync(parent, constants.W_OK);
  } catch {
    return `nothing can be written into ${parent}`;
  }
  const [first = ''] = relative(realpathSync(folder), join(realpathSync(parent), basename(receipt))).split(sep);
  return isRemoved(first) ? 'it would be removed with the device' : undefined;
}

interface Said {
  readonly left?: Goodbye['left'];
  readonly statement?: Uint8Array;
  readonly why?: string;
}

async function goodbye(
  folder: DataFolder,
  settings: DeviceSettings | undefined,
  { transport = createWsTransport({ clock: systemClock }), boundMs }: LeaveOptions,
): Promise<Said> {
  if (settings === undefined) return { why: 'it had joined no community' };
  try {
    const consent = await folder.consent();
    if (consent === undefined) return { why: 'its lender had agreed to nothing' };
    const { url, pin: spkiPin, session, territory, name } = settings;
    const hub = { url, spkiPin, session, territory };
    return await sayGoodbye(
      { ...PORTS, transport },
      { ...folder, name, profile: plainProfile(), consent, hub },
      boundMs,
    );
  } catch (thrown) {
    return { why: asIdlewildError(thrown, 'saying goodbye').message };
  }
}

/** Of a device that offers nothing: what it measured of itself does not matter any more. */
const plainProfile = (): DeviceProfile => ({
  platform: process.platform,
  arch: process.arch,
  cores: availableParallelism(),
  memoryBytes: totalmem(),
  gflops: 0,
  agentVersion: packageJson.version,
  engineBuild: '',
  fingerprint: '',
  providers: [],
});

async function ownCount(folder: string): Promise<{ readonly answers: number; readonly tokens: number }> {
  const work = (await readHistory(folder, HISTORY_LIMITS.daysMax, Date.now())).flatMap((day) => day.work);
  return {
    answers: work.reduce((sum, each) => sum + each.answers, 0),
    tokens: work.reduce((sum, each) => sum + each.tokens, 0),
  };
}

/** One that an interrupted leaving wrote is not written again. */
async function receiptIn(folder: string, atMs: number, isNew: boolean): Promise<string> {
  const newest = (await readdir(folder)).filter(isReceipt).sort().at(-1);
  return join(folder, isNew || newest === undefined ? receiptName(atMs) : newest);
}

async function receiptOf(
  { deviceId, acknowledged, why, atMs, answers, tokens }: Omit<LeaveReport, 'freedBytes' | 'leftAlone'>,
  settings: DeviceSettings | undefined,
  { statement }: Said,
  { identity }: DataFolder,
): Promise<object> {
  const { territory, url, name } = settings ?? {};
  return {
    what: acknowledged
      ? 'This device left a community of Idlewild, and its hub signed that it did.'
      : 'This device left a community of Idlewild, and nobody acknowledged it.',
    device: deviceId,
    name,
    community: territory === undefined ? undefined : await idOfKey('ter', territory, nodeCrypto),
    hub: url,
    leftAt: new Date(atMs).toISOString(),
    acknowledged,
    why,
    countedBy: acknowledged ? 'the hub' : 'the device',
    answers,
    tokens,
    deviceKey: hex(identity.publicKey),
    communityKey: territory === undefined ? undefined : hex(territory),
    signed: statement === undefined ? undefined : Buffer.from(statement).toString('base64'),
  };
}
