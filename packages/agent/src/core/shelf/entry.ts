/** One model on the shelf, what all parts of the shelf share, and how a change of state is told. */
import type {
  IdlewildError,
  BlobSource,
  BlobStore,
  Clock,
  Crypto,
  DeviceModel,
  FileAssembly,
  Manifest,
  Random,
  Timer,
  ToDevice,
  WantedModel,
} from '@idlewild/protocol';
import type { Engine, EngineHost, EngineLimits, Halting } from '@idlewild/engine';
import type { WarmModel } from '../lane/attempts.ts';
import { AGENT_LIMITS } from '../limits.ts';
import type { ModelFolders } from '../model-folders.ts';
import type { Downloads } from './downloads.ts';
import type { Troubles } from './trouble.ts';

export type HoldMessage = Extract<ToDevice, { t: 'hold' }>;

export interface ShelfPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  readonly store: BlobStore;
  readonly folders: ModelFolders;
  readonly engineHost: EngineHost;
  readonly engineLimits: EngineLimits;
  /** Resident bytes that all engines together may take. */
  readonly memoryBytesMax: number;
  /** Memory of the machine that nobody uses; absent where nothing tells. */
  freeMemoryBytes?(): number;
  sourceFor(baseUrl: string, ticket: string): BlobSource;
  /** Why models may not be held or loaded now, or `undefined`. */
  refusal(): IdlewildError | undefined;
  /** Why models, or one of so many bytes, may not lie here whatever the hour, or `undefined`. */
  forbidden(diskBytes?: number): IdlewildError | undefined;
  /** Why nothing may be computed on what an engine says it computes on, or `undefined`. */
  refusalOfProvider(provider: string): IdlewildError | undefined;
  /** Whether answers of this model are running. */
  inUse(cid: string): boolean;
  /** An engine is gone or about to go: its answers end with this error. */
  onEngineGone(cid: string, error: IdlewildError): void;
  onChanged(): void;
  onFailed(cid: string, error: IdlewildError): void;
}

/** A leaf of a file that is being fetched, or was in this fetch. */
export interface PartialLeaf {
  readonly assembly: FileAssembly;
  readonly index: number;
}

export interface Entry {
  readonly cid: string;
  wanted: WantedModel;
  state: DeviceModel['state'];
  fraction: number;
  reason: string | undefined;
  /** Once all bytes are there. */
  manifest: Manifest | undefined;
  warm: WarmModel | undefined;
  /** What its last engine computed on. */
  provider: string | undefined;
  /** Measured by the last load; an estimate before. */
  memoryBytes: number | undefined;
  memoryMeasured: boolean;
  /** On the wall clock, for it outlives restarts; `undefined` until it is looked up. */
  usedAtMs: number | undefined;
  usedNotedMs: number;
  /** When it was removed to make room for another, monotonic; until it is back. */
  evictedAtMs: number | undefined;
  /** Leaves by CID, while the model is fetched. */
  readonly partial: Map<string, PartialLeaf>;
  /** CIDs of all leaves, once somebody asked for one. */
  leaves: ReadonlySet<string> | undefined;
  failures: number;
  /** While set, the entry waits for it. */
  retry: Timer | undefined;
  /** Nothing will change by trying again. */
  hopeless: boolean;
}

export const newEntry = (cid: string, wanted: WantedModel = { cid, name: cid, bytes: 0 }): Entry => ({
  cid,
  wanted,
  state: 'fetching',
  fraction: 0,
  reason: undefined,
  manifest: undefined,
  warm: undefined,
  provider: undefined,
  memoryBytes: undefined,
  memoryMeasured: false,
  usedAtMs: undefined,
  usedNotedMs: Number.NEGATIVE_INFINITY,
  evictedAtMs: undefined,
  partial: new Map(),
  leaves: undefined,
  failures: 0,
  retry: undefined,
  hopeless: false,
});

export interface ShelfState {
  readonly ports: ShelfPorts;
  /** Wanted models in order of preference; before the first hold those that an earlier process left. */
  entries: Entry[];
  /** Whether a hub has said what it wants. */
  told: boolean;
  /** Base URLs of the last hold. */
  bases: readonly string[];
  ticket: string | undefined;
  /** What the worker is doing now, to be called off when it is no longer wanted. */
  current: { readonly entry: Entry; readonly phase: 'fetch' | 'load'; readonly abort: AbortController } | undefined;
  /** Set while the worker runs; resolves when it has nothing left to do. */
  working: Promise<void> | undefined;
  again: boolean;
  /** Models whose engine and bytes are to be removed; at the first hold also what an earlier process left. */
  readonly unwanted: Map<string, Entry>;
  readonly troubles: Troubles;
  readonly downloads: Downloads;
  swept: boolean;
  /** Something waits for answers to end. */
  waitsForAnswers: boolean;
  /** When a model was unloaded last to make room for another, monotonic. */
  swappedAtMs: number | undefined;
  /** The next look at what waits for memory. */
  look: Timer | undefined;
  /** While the device is paused: no engine computes. */
  suspended: boolean;
  /** Engines stand still for a moment, one that is being loaded as well. */
  halted: boolean;
  /** The process of a model that is being loaded. */
  loading: Halting | undefined;
  /** When memory is given back, too. */
  releasing: Timer | undefined;
  /** Engines on their way out. */
  readonly ending: Set<Engine>;
  /** Share of their own share of the time that engines compute, by the lender's wish of the moment. */
  throttled: number;
  closed: boolean;
  wake(): void;
}

export function setState({ ports }: ShelfState, entry: Entry, state: Entry['state'], reason?: string): void {
  if (entry.state === state && entry.reason === reason) return;
  entry.state = state;
  entry.reason = reason;
  ports.onChanged();
}

export function waitFor(shelf: ShelfState, entry: Entry, afterMs: number): void {
  entry.retry = shelf.ports.clock.after(afterMs, () => {
    entry.retry = undefined;
    shelf.wake();
  });
}

/** Whether its engine ended by itself and the model is to be left alone for that; it is waked afterwards. */
export function rest(shelf: ShelfState, entry: Entry): boolean {
  const trouble = shelf.troubles.of(entry.cid);
  if (trouble === undefined) return false;
  const { times, untilMs, why } = trouble;
  if (times < AGENT_LIMITS.endsBeforeRest) setState(shelf, entry, 'loading');
  else setState(shelf, entry, 'failed', why);
  entry.retry?.cancel();
  waitFor(shelf, entry, untilMs - shelf.ports.clock.monotonic());
  return true;
}

export function describe({ cid, state, fraction, reason, warm, memoryBytes, memoryMeasured }: Entry): DeviceModel {
  return {
    cid,
    state,
    fraction,
    ...(memoryMeasured && memoryBytes !== undefined ? { memoryBytes } : {}),
    ...(reason === undefined ? {} : { reason: reason.slice(0, 512) }),
    ...(warm === undefined
      ? {}
      : {
          numericClass: warm.numericClass,
          tokensPerSecond: warm.engine.tokensPerSecond,
          prefillTokensPerSecond: warm.engine.prefillTokensPerSecond,
          ...(warm.engine.sharedCost === undefined ? {} : { sharedCost: warm.engine.sharedCost }),
        }),
  };
}

/** Ends an engine; its answers go back to the hub. */
export async function unload(shelf: ShelfState, entry: Entry, error: IdlewildError): Promise<void> {
  const { warm } = entry;
  if (warm === undefined) return;
  entry.warm = undefined;
  shelf.ports.onEngineGone(entry.cid, error);
  await endEngine(shelf, warm.engine);
}

/** While the device is paused none is given time to finish what it does. */
export async function endEngine(shelf: ShelfState, engine: Engine, atOnce = shelf.suspended): Promise<void> {
  shelf.ending.add(engine);
  try {
    await engine.close({ atOnce });
  } finally {
    shelf.ending.delete(engine);
  }
}
