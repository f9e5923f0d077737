/**
 * The shelf: the models that the hub wants held, fetched into the store and loaded into engines, best first.
 *
 *   fetching ──all bytes verified──► held ──fits the memory──► loading ──► warm
 *      │                              ▲                          │          │ engine died: loading again, and
 *      └── failed (says why, tried again with back-off) ◄────────┴──────────┘ `failed` after several deaths
 *
 * - One worker goes through the wanted models in order; whatever changes (a new wish, a ticket, a retry) wakes it.
 * - A model that is no longer wanted is unloaded and its bytes removed, also when it was fetched before a restart.
 * - The wish is the hub's, the consent the lender's: what is refused by `refusal` is neither fetched nor loaded.
 */
import {
  IdlewildError,
  asIdlewildError,
  codeOf,
  manifestBytes,
  numericClassOf,
  type BlobSource,
  type BlobStore,
  type Clock,
  type Crypto,
  type DeviceModel,
  type Manifest,
  type Random,
  type Timer,
  type ToDevice,
} from '@idlewild/protocol';
import type { Engine, EngineHost, EngineLimits } from '@idlewild/engine';
import { fetchModel, readManifest, removeModel } from './fetch-model.ts';
import type { WarmModel } from './lane.ts';
import { AGENT_LIMITS } from './limits.ts';
import { loadEngine } from './load-engine.ts';
import type { ModelFolders } from './model-folders.ts';

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
  sourceFor(baseUrl: string, ticket: string): BlobSource;
  /** Why models may not be held or loaded now, or `undefined`. */
  refusal(): IdlewildError | undefined;
  /** An engine is gone or about to go: its answers end with this error. */
  onEngineGone(cid: string, error: IdlewildError): void;
  onChanged(): void;
  onFailed(cid: string, error: IdlewildError): void;
}

export interface Shelf {
  hold(message: HoldMessage): void;
  /** The ticket of the session, or `undefined` while there is none. */
  setTicket(ticket: string | undefined): void;
  /** Looks again: something that `refusal` depends on has changed. */
  wake(): void;
  /** The engine of a model, or the error that says why it is not warm. */
  warm(cid: string): WarmModel | IdlewildError;
  /** In order of preference. */
  models(): readonly DeviceModel[];
  slots(): number;
  tokensPerSecond(): number;
  close(): Promise<void>;
}

interface Entry {
  readonly cid: string;
  state: DeviceModel['state'];
  fraction: number;
  reason: string | undefined;
  manifest: Manifest | undefined;
  warm: WarmModel | undefined;
  warmSinceMs: number;
  /** Measured by the last load; an estimate before. */
  memoryBytes: number | undefined;
  failures: number;
  deaths: number;
  /** While set, the entry waits for it. */
  retry: Timer | undefined;
  /** Nothing will change by trying again. */
  hopeless: boolean;
}

const HOPELESS: ReadonlySet<string> = new Set(['model_invalid', 'model_unsupported', 'model_refused']);

const newEntry = (cid: string): Entry => ({
  cid,
  state: 'fetching',
  fraction: 0,
  reason: undefined,
  manifest: undefined,
  warm: undefined,
  warmSinceMs: 0,
  memoryBytes: undefined,
  failures: 0,
  deaths: 0,
  retry: undefined,
  hopeless: false,
});

/** What the functions below share. */
interface ShelfState {
  readonly ports: ShelfPorts;
  /** Wanted models in order of preference. */
  entries: Entry[];
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
  swept: boolean;
  closed: boolean;
}

export function createShelf(ports: ShelfPorts): Shelf {
  const shelf: ShelfState = {
    ports,
    entries: [],
    bases: [],
    ticket: undefined,
    current: undefined,
    working: undefined,
    again: false,
    unwanted: new Map(),
    swept: false,
    closed: false,
  };
  return {
    hold: (message) => hold(shelf, message),
    setTicket(ticket) {
      shelf.ticket = ticket;
      if (ticket === undefined) callOff(shelf, 'fetch');
      else wake(shelf);
    },
    wake() {
      if (ports.refusal() !== undefined) callOff(shelf, 'fetch', 'load');
      wake(shelf);
    },
    warm: (cid) => warmOf(shelf, cid),
    models: () => shelf.entries.map(describe),
    slots: () => Math.max(0, ...shelf.entries.map((entry) => entry.warm?.engine.slots ?? 0)),
    tokensPerSecond: () => Math.max(0, ...shelf.entries.map((entry) => entry.warm?.engine.tokensPerSecond ?? 0)),
    close: () => close(shelf),
  };
}

function hold(shelf: ShelfState, { models, sources }: HoldMessage): void {
  const { ports } = shelf;
  const before = new Map(shelf.entries.map((entry) => [entry.cid, entry]));
  const wanted = ports.refusal()?.code === 'consent_refused' ? [] : [...new Set(models.map((model) => model.cid))];
  shelf.entries = wanted.map((cid) => {
    const back = before.get(cid) ?? shelf.unwanted.get(cid) ?? newEntry(cid);
    before.delete(cid);
    shelf.unwanted.delete(cid);
    return back;
  });
  for (const entry of before.values()) {
    entry.retry?.cancel();
    shelf.unwanted.set(entry.cid, entry);
    if (shelf.current?.entry === entry) shelf.current.abort.abort();
  }
  shelf.bases = sources.length > 0 ? sources : ['/'];
  ports.onChanged();
  wake(shelf);
}

/** Calls off what the worker is doing, if it is of these phases. */
function callOff(shelf: ShelfState, ...phases: readonly ('fetch' | 'load')[]): void {
  if (shelf.current !== undefined && phases.includes(shelf.current.phase)) shelf.current.abort.abort();
}

function wake(shelf: ShelfState): void {
  shelf.again = true;
  if (shelf.closed || shelf.working !== undefined) return;
  shelf.working = work(shelf).finally(() => {
    shelf.working = undefined;
    if (shelf.again) wake(shelf);
  });
}

/** The worker: never throws, because every failure belongs to one entry. */
async function work(shelf: ShelfState): Promise<void> {
  while (shelf.again && !shelf.closed) {
    shelf.again = false;
    await sweep(shelf);
    for (const entry of [...shelf.entries]) {
      if (shelf.again || shelf.closed) break;
      await advance(shelf, entry);
    }
  }
}

/** Unloads and removes what is no longer wanted. */
async function sweep(shelf: ShelfState): Promise<void> {
  const { folders, onFailed } = shelf.ports;
  if (!shelf.swept && shelf.bases.length > 0) {
    shelf.swept = true;
    for (const cid of await folders.list()) {
      if (!shelf.entries.some((entry) => entry.cid === cid)) shelf.unwanted.set(cid, newEntry(cid));
    }
  }
  for (const entry of [...shelf.unwanted.values()]) {
    await unload(shelf, entry, new IdlewildError('engine_failed', `the model ${entry.cid} was taken off this device`));
    try {
      await removeModel(entry.cid, keptFiles(shelf), shelf.ports);
    } catch (thrown) {
      onFailed(entry.cid, asIdlewildError(thrown, `removing the model ${entry.cid}`));
    }
    if (shelf.unwanted.get(entry.cid) !== entry) continue;
    shelf.unwanted.delete(entry.cid);
  }
}

/** Root CIDs that wanted models share with others. */
const keptFiles = (shelf: ShelfState): ReadonlySet<string> =>
  new Set(shelf.entries.flatMap((entry) => entry.manifest?.files.map(({ file }) => file.toString()) ?? []));

/** Takes one entry as far as it can go now. */
async function advance(shelf: ShelfState, entry: Entry): Promise<void> {
  if (entry.warm !== undefined || entry.retry !== undefined || entry.hopeless) return;
  if (shelf.ports.refusal() !== undefined) return;
  const phase = entry.manifest === undefined ? 'fetch' : 'load';
  const abort = new AbortController();
  shelf.current = { entry, phase, abort };
  try {
    if (phase === 'fetch') await fetch(shelf, entry, abort.signal);
    if (entry.manifest !== undefined && shelf.ports.refusal() === undefined) {
      shelf.current = { entry, phase: 'load', abort };
      await load(shelf, entry, entry.manifest, abort.signal);
    }
  } catch (thrown) {
    if (abort.signal.aborted) setState(shelf, entry, entry.manifest === undefined ? 'fetching' : 'held');
    else failed(shelf, entry, asIdlewildError(thrown, `making the model ${entry.cid} ready`));
  } finally {
    shelf.current = undefined;
  }
}

async function fetch(shelf: ShelfState, entry: Entry, signal: AbortSignal): Promise<void> {
  const { ports, ticket } = shelf;
  let toldMs = ports.clock.monotonic();
  entry.manifest = await readManifest(entry.cid, ports);
  if (entry.manifest === undefined) {
    if (ticket === undefined) return;
    setState(shelf, entry, 'fetching');
    await ports.folders.note(entry.cid);
    const sources = shelf.bases.map((base) => ports.sourceFor(base, ticket));
    entry.manifest = await fetchModel(entry.cid, ports, {
      sources,
      signal,
      onBlame: ({ message }) => ports.onFailed(entry.cid, new IdlewildError('blob_mismatch', message)),
      onFraction(fraction) {
        entry.fraction = fraction;
        if (ports.clock.monotonic() - toldMs < AGENT_LIMITS.progressMs) return;
        toldMs = ports.clock.monotonic();
        ports.onChanged();
      },
    });
  }
  entry.failures = 0;
  entry.fraction = 1;
  setState(shelf, entry, 'held');
}

async function load(shelf: ShelfState, entry: Entry, manifest: Manifest, signal: AbortSignal): Promise<void> {
  const { ports } = shelf;
  entry.memoryBytes ??= Math.ceil(manifestBytes(manifest) * AGENT_LIMITS.memoryPerFileByte);
  if (!(await makeRoom(shelf, entry, entry.memoryBytes))) return;
  setState(shelf, entry, 'loading');
  const model = await ports.folders.prepare(entry.cid, manifest);
  const engine = await loadEngine(ports, model, ports.engineLimits, signal);
  const { engineBuild, provider, fingerprint } = engine;
  const numericClass = await numericClassOf(
    { model: entry.cid, engineBuild, provider, fingerprint, precision: 'f32' },
    ports.crypto,
  );
  if (signal.aborted) return engine.close();
  entry.warm = { engine, numericClass };
  entry.warmSinceMs = ports.clock.monotonic();
  entry.memoryBytes = engine.memoryBytes > 0 ? engine.memoryBytes : entry.memoryBytes;
  entry.failures = 0;
  engine.onDeath((reason) => died(shelf, entry, engine, reason));
  setState(shelf, entry, 'warm');
}

/** Unloads less wanted models, the least first, if that makes enough room. */
async function makeRoom(shelf: ShelfState, entry: Entry, bytes: number): Promise<boolean> {
  const { memoryBytesMax } = shelf.ports;
  const used = (): number =>
    shelf.entries.reduce((sum, each) => sum + (each.warm === undefined ? 0 : (each.memoryBytes ?? 0)), 0);
  const lesser = shelf.entries.slice(shelf.entries.indexOf(entry) + 1).filter((each) => each.warm !== undefined);
  const freeable = lesser.reduce((sum, each) => sum + (each.memoryBytes ?? 0), 0);
  if (used() - freeable + bytes > memoryBytesMax) {
    setState(
      shelf,
      entry,
      'held',
      `it needs about ${bytes} bytes of memory; ${memoryBytesMax - used()} of ${memoryBytesMax} lent are free`,
    );
    return false;
  }
  while (used() + bytes > memoryBytesMax) {
    const least = lesser.pop() as Entry;
    const reason = 'it made room for a model that is wanted more';
    await unload(shelf, least, new IdlewildError('engine_failed', `the model ${least.cid} was unloaded: ${reason}`));
    setState(shelf, least, 'held', reason);
  }
  return true;
}

async function unload(shelf: ShelfState, entry: Entry, error: IdlewildError): Promise<void> {
  const { warm } = entry;
  if (warm === undefined) return;
  entry.warm = undefined;
  shelf.ports.onEngineGone(entry.cid, error);
  await warm.engine.close();
}

/** One failed attempt, not a dead device: the model is loaded again, a bounded number of times. */
function died(shelf: ShelfState, entry: Entry, engine: Engine, reason: string): void {
  const { ports } = shelf;
  if (entry.warm?.engine !== engine) return;
  const error = new IdlewildError('engine_failed', `the engine of ${entry.cid} died: ${reason}`);
  entry.deaths = ports.clock.monotonic() - entry.warmSinceMs >= AGENT_LIMITS.settledEngineMs ? 1 : entry.deaths + 1;
  entry.warm = undefined;
  ports.onFailed(entry.cid, error);
  ports.onEngineGone(entry.cid, error);
  if (entry.deaths > AGENT_LIMITS.reloadsMax) {
    setState(shelf, entry, 'failed', `${error.message} (${entry.deaths} times in a row)`);
    return waitFor(shelf, entry, AGENT_LIMITS.retryMsMax);
  }
  setState(shelf, entry, 'loading');
  waitFor(shelf, entry, Math.min(AGENT_LIMITS.reloadMsMax, AGENT_LIMITS.reloadMsMin * 2 ** (entry.deaths - 1)));
}

function failed(shelf: ShelfState, entry: Entry, error: IdlewildError): void {
  const { ports } = shelf;
  entry.hopeless = HOPELESS.has(error.code);
  entry.failures += 1;
  // What the store has lost since (a damaged file, a removed block) must be fetched again.
  if (codeOf(error) === 'blob_not_found') entry.manifest = undefined;
  setState(shelf, entry, 'failed', error.message);
  ports.onFailed(entry.cid, error);
  if (entry.hopeless) return;
  const ceilingMs = Math.min(AGENT_LIMITS.retryMsMax, AGENT_LIMITS.retryMsMin * 2 ** Math.min(entry.failures - 1, 16));
  waitFor(shelf, entry, Math.round(ceilingMs * (0.5 + ports.random.unit() / 2)));
}

function waitFor(shelf: ShelfState, entry: Entry, afterMs: number): void {
  entry.retry = shelf.ports.clock.after(afterMs, () => {
    entry.retry = undefined;
    wake(shelf);
  });
}

function setState(shelf: ShelfState, entry: Entry, state: Entry['state'], reason?: string): void {
  if (entry.state === state && entry.reason === reason) return;
  entry.state = state;
  entry.reason = reason;
  shelf.ports.onChanged();
}

function warmOf(shelf: ShelfState, cid: string): WarmModel | IdlewildError {
  const entry = shelf.entries.find((each) => each.cid === cid);
  if (entry?.warm !== undefined) return entry.warm;
  const seen = entry === undefined ? 'not on this device' : [entry.state, entry.reason ?? []].flat().join(': ');
  return new IdlewildError('model_not_ready', `the model ${cid} is not warm here (${seen})`);
}

function describe({ cid, state, fraction, reason, warm }: Entry): DeviceModel {
  return {
    cid,
    state,
    fraction,
    ...(reason === undefined ? {} : { reason: reason.slice(0, 512) }),
    ...(warm === undefined
      ? {}
      : {
          numericClass: warm.numericClass,
          tokensPerSecond: warm.engine.tokensPerSecond,
          prefillTokensPerSecond: warm.engine.prefillTokensPerSecond,
        }),
  };
}

async function close(shelf: ShelfState): Promise<void> {
  shelf.closed = true;
  shelf.current?.abort.abort();
  for (const entry of shelf.entries) entry.retry?.cancel();
  await shelf.working;
  const gone = new IdlewildError('engine_failed', 'the device is stopping');
  await Promise.all(shelf.entries.map((entry) => unload(shelf, entry, gone)));
}
