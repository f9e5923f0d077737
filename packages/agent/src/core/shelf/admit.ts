/**
 * Two decisions about room, both pure: whether a model may be loaded into memory now and what goes for it, and which
 * models leave the disk so that a wanted one can come.
 *
 * Only what is wanted less ever makes room, and never what is in use. In memory a swap is dear (seconds in which nobody
 * is answered), so after one there is none for a cool-down, unless the wanted model is asked for far more often; then
 * there is still a shorter one. On the disk the least recently used goes first, and a pinned model never does.
 */
import { AGENT_LIMITS } from '../limits.ts';

export interface Resident {
  readonly cid: string;
  /** Of memory. */
  readonly bytes: number;
  /** Requests per minute. */
  readonly demand: number;
  readonly inUse: boolean;
}

export interface LoadAsk {
  readonly bytes: number;
  readonly demand: number;
  /** Memory of loaded models that are wanted more. */
  readonly keptBytes: number;
  /** Loaded models that are wanted less, the least first. */
  readonly lesser: readonly Resident[];
  readonly memoryBytesMax: number;
  /** Of the machine; `undefined` where nothing tells. */
  readonly freeBytes: number | undefined;
  /** Since a model was unloaded to make room for another; `undefined` before the first time. */
  readonly sinceSwapMs: number | undefined;
}

export type LoadAdmission =
  | { readonly t: 'load'; readonly unload: readonly string[] }
  /** Without `afterMs` it is asked again when anything changes. */
  | { readonly t: 'wait'; readonly why: string; readonly afterMs?: number };

export function admitLoad(ask: LoadAsk): LoadAdmission {
  const { bytes, lesser, memoryBytesMax, keptBytes } = ask;
  const usedBytes = keptBytes + sum(lesser);
  const short = usedBytes + bytes - memoryBytesMax;
  const idle = lesser.filter(({ inUse }) => !inUse);
  const unload: Resident[] = [];
  for (const one of idle) if (sum(unload) < short) unload.push(one);
  if (sum(unload) < short) {
    const freeBytes = Math.max(0, memoryBytesMax - usedBytes);
    const needs = `it needs about ${bytes} bytes of memory; ${freeBytes} of ${memoryBytesMax} lent are free`;
    const answering = sum(lesser) >= short && idle.length < lesser.length;
    return { t: 'wait', why: answering ? `${needs}, and more when the answers under way have ended` : needs };
  }
  const coolMs = unload.length === 0 ? 0 : coolDownMs(ask, unload);
  if (coolMs > 0) {
    const why = 'models were swapped a moment ago, and this one is not asked for clearly more often than those loaded';
    return { t: 'wait', why, afterMs: coolMs };
  }
  const leftBytes = ask.freeBytes === undefined ? undefined : ask.freeBytes + sum(unload) - bytes;
  if (leftBytes !== undefined && leftBytes < AGENT_LIMITS.machineFreeBytesMin) {
    const why = `it needs about ${bytes} bytes of memory, and this machine has only ${ask.freeBytes} free`;
    return { t: 'wait', why, afterMs: AGENT_LIMITS.machineFullMs };
  }
  return { t: 'load', unload: unload.map(({ cid }) => cid) };
}

const sum = (all: readonly Resident[]): number => all.reduce((total, { bytes }) => total + bytes, 0);

/** How long until these may be unloaded for it. */
function coolDownMs({ demand, sinceSwapMs }: LoadAsk, unload: readonly Resident[]): number {
  if (sinceSwapMs === undefined) return 0;
  const theirs = Math.max(...unload.map((one) => one.demand));
  const isClear = demand >= AGENT_LIMITS.swapGain * Math.max(theirs, AGENT_LIMITS.swapDemandMin);
  return (isClear ? AGENT_LIMITS.swapClearMs : AGENT_LIMITS.swapMs) - sinceSwapMs;
}

/** A model of which there is something on the disk. */
export interface OnDisk {
  readonly cid: string;
  /** On the wall clock; 0 when it was never used. */
  readonly usedAtMs: number;
  /** Wanted less than the one that needs room, not pinned, not in use. */
  readonly mayGo: boolean;
  /** Root CID → bytes on the disk. */
  readonly files: ReadonlyMap<string, number>;
}

/** The models to remove, so that `needBytes` fit into the quota; `undefined` when no choice is enough. */
export function chooseEvictions(
  needBytes: number,
  freeBytes: number,
  models: readonly OnDisk[],
): readonly string[] | undefined {
  const gone = new Set<OnDisk>();
  const candidates = models.filter(({ mayGo }) => mayGo).toSorted((left, right) => left.usedAtMs - right.usedAtMs);
  for (;;) {
    if (needBytes <= freeBytes + freedBytes(models, gone)) return [...gone].map(({ cid }) => cid);
    const next = candidates.shift();
    if (next === undefined) return undefined;
    gone.add(next);
  }
}

/** Files that a model shares with one that stays are not freed. */
function freedBytes(models: readonly OnDisk[], gone: ReadonlySet<OnDisk>): number {
  const freed = new Map([...gone].flatMap(({ files }) => [...files]));
  for (const model of models) if (!gone.has(model)) for (const root of model.files.keys()) freed.delete(root);
  return [...freed.values()].reduce((total, bytes) => total + bytes, 0);
}
