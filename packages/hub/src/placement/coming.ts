/**
 * Whether it is worth waiting for a device that may serve a request, and if not, what to tell who asked.
 *
 * A model that is being loaded is always worth it. One that has to be fetched first is, where the one who asks may be
 * served by some devices only and these have none: it is fetched for such requests. Then small models come within a
 * request's patience; for larger ones the caller comes back.
 */
import { stateOf, type ConnectedDevice } from '../session/connected-device.ts';
import type { Ask } from './circle.ts';
import type { PlacedModel } from './community.ts';
import { PLACEMENT_LIMITS } from './limits.ts';
import type { Narrow } from './narrow.ts';

export interface Outlook {
  /** `undefined`: not worth waiting for. */
  readonly coming: 'loading' | 'fetching' | undefined;
  /** Of those who may serve it and do not hold it, to be added to what is said of those who do; may be empty. */
  readonly words: string;
}

export interface OutlookFrom {
  readonly devices: Iterable<ConnectedDevice>;
  maySee(device: ConnectedDevice): boolean;
  /** That it was told, or is about to be, to have the model ready. */
  isMeant(device: ConnectedDevice, cid: string): boolean;
  modelAt(cid: string): PlacedModel | undefined;
  /** What is known of requests like it; `undefined`: not every device may serve it, but one that does was ready. */
  readonly narrow: Narrow | undefined;
  readonly nowMs: number;
}

export const isLive = (device: ConnectedDevice): boolean =>
  device.lends.kinds.includes('answers') && ['ready', 'busy'].includes(stateOf(device));

export const isReadyFor = (device: ConnectedDevice, models: readonly string[]): boolean =>
  models.every((cid) => device.status.models.some((model) => model.cid === cid && model.state === 'warm'));

export function outlookFor(ask: Ask, from: OutlookFrom): Outlook {
  const { narrow, nowMs } = from;
  const isUnplanned = narrow?.unmetSinceMs !== undefined && nowMs - narrow.unmetSinceMs < PLACEMENT_LIMITS.planMsMax;
  let [fetching, able, full] = [0, 0, 0];
  let isSmall = false;
  for (const device of from.devices) {
    // Who is ready for it is no news: whatever speaks against such a device does so still.
    if (!isLive(device) || !from.maySee(device) || isReadyFor(device, ask.models)) continue;
    const missing = ask.models.filter((cid) => !isNear(device, cid, from));
    if (missing.length === 0) return { coming: 'loading', words: '' };
    if (narrow === undefined || missing.some((cid) => isStuck(device, cid))) continue;
    const isWanted = missing.every((cid) => from.isMeant(device, cid));
    if (!isWanted && !(isUnplanned && couldHold(device, ask.models, from))) {
      full += 1;
      continue;
    }
    if (isWanted) fetching += 1;
    else able += 1;
    isSmall ||= bytesLeft(device, missing, from) <= PLACEMENT_LIMITS.awaitedBytesMax;
  }
  if (isSmall) return { coming: 'fetching', words: '' };
  return { coming: undefined, words: wordsOf(ask, { fetching: fetching + able, full }, from) };
}

/** Ready, or on the way into memory. */
function isNear(device: ConnectedDevice, cid: string, { isMeant }: OutlookFrom): boolean {
  const held = device.status.models.find((model) => model.cid === cid);
  if (held?.state === 'warm' || held?.state === 'loading') return true;
  return held?.state === 'held' && held.reason === undefined && isMeant(device, cid);
}

/** It says itself that it gets no further. */
function isStuck(device: ConnectedDevice, cid: string): boolean {
  const held = device.status.models.find((model) => model.cid === cid);
  return held?.state === 'failed' || (held?.state === 'held' && held.reason !== undefined);
}

function couldHold({ status: { lent } }: ConnectedDevice, cids: readonly string[], { modelAt }: OutlookFrom): boolean {
  const models = cids.map(modelAt);
  const sum = (of: 'bytes' | 'memoryBytes'): number =>
    models.reduce((all, model) => all + (model?.[of] ?? Number.POSITIVE_INFINITY), 0);
  return lent === undefined || (lent.memoryBytes >= sum('memoryBytes') && lent.diskBytes >= sum('bytes'));
}

function bytesLeft(device: ConnectedDevice, cids: readonly string[], { modelAt }: OutlookFrom): number {
  const leftOf = (cid: string): number =>
    (modelAt(cid)?.bytes ?? Number.POSITIVE_INFINITY) *
    (1 - (device.status.models.find((model) => model.cid === cid)?.fraction ?? 0));
  return cids.reduce((sum, cid) => sum + leftOf(cid), 0);
}

const inUnits = (bytes: number): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`;

function wordsOf(
  ask: Ask,
  { fetching, full }: { readonly fetching: number; readonly full: number },
  { modelAt }: OutlookFrom,
): string {
  const models = ask.models.map(modelAt).filter((model) => model !== undefined);
  const sum = (of: 'bytes' | 'memoryBytes'): number => models.reduce((all, model) => all + model[of], 0);
  if (fetching > 0)
    return `; one that may serve you is to fetch it, ${inUnits(sum('bytes'))}: try again in some minutes`;
  if (full === 0) return '';
  const [who, has] = full === 1 ? ['1 other that may serve you', 'has'] : [`${full} others that may serve you`, 'have'];
  const room = `${inUnits(sum('memoryBytes'))} of memory and ${inUnits(sum('bytes'))} of disk`;
  return `; ${who} ${has} no room for it: it takes ${room}`;
}
