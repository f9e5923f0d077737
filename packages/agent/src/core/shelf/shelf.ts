/**
 * The shelf: the models that the hub wants held, fetched into the store and loaded into engines, best first.
 *
 *   fetching ──all bytes verified──► held ──fits the memory──► loading ──► warm
 *      │                              ▲                          │          │ engine died: loading again, and
 *      └── failed (says why, tried again with back-off) ◄────────┴──────────┘ `failed` after several: `trouble.ts`
 *
 * - One worker goes through the wanted models in order; whatever changes (a new wish, a ticket, a retry) wakes it.
 * - What does not fit the lender's disk or memory waits, or takes the room of what is wanted less: `fetching.ts`,
 *   `loading.ts` and, for the decisions, `admit.ts`.
 * - A model that is no longer wanted is unloaded and its bytes removed once its last answer has ended, also when it was
 *   fetched before a restart.
 * - While the device is paused nothing is fetched, loaded or computed: `yielding.ts`.
 * - The wish is the hub's, the consent the lender's: what is refused by `refusal` is neither fetched nor loaded.
 */
import { IdlewildError, asIdlewildError, codeOf, type DeviceModel } from '@idlewild/protocol';
import { removeModel } from '../fetch-model.ts';
import type { WarmModel } from '../lane/attempts.ts';
import { AGENT_LIMITS } from '../limits.ts';
import { createDownloads } from './downloads.ts';
import {
  describe,
  newEntry,
  rest,
  setState,
  unload,
  waitFor,
  type Entry,
  type HoldMessage,
  type ShelfPorts,
  type ShelfState,
} from './entry.ts';
import { fetchEntry, keptFiles } from './fetching.ts';
import { leafOf } from './leaves.ts';
import { loadEntry } from './loading.ts';
import { createTroubles } from './trouble.ts';
import { endRefused, haltEngines, isRefused, resumeEngines, suspendEngines, throttleEngines } from './yielding.ts';

export type { HoldMessage, ShelfPorts } from './entry.ts';

export interface Shelf {
  hold(message: HoldMessage): void;
  /** The ticket of the session, or `undefined` while there is none. */
  setTicket(ticket: string | undefined): void;
  /** The device is paused, as `refusal` says by now: nothing is fetched, loaded or computed. */
  suspend(): void;
  resume(): void;
  /** Engines stand still, or go on unless the device is paused; nothing else changes. */
  halt(is: boolean): void;
  /** Engines compute this share of the time that the lender's limits allow; over 0, at most 1. */
  throttle(share: number): void;
  /** What engines may compute on is another now, as `refusalOfProvider` says. */
  providersChanged(): void;
  /** Work of this model came to its end. */
  finished(cid: string): void;
  /** Answers have ended: what waited for that is done now. */
  answersEnded(): void;
  /** The engine of a model, or the error that says why it is not warm. Counts as a use of the model. */
  warm(cid: string): WarmModel | IdlewildError;
  /** A leaf of a held model for another device: its bytes, `soon` when it is on its way here, or nothing. */
  leaf(cid: string): Promise<Uint8Array | 'soon' | undefined>;
  /** In order of preference. */
  models(): readonly DeviceModel[];
  /** What the hub calls a model that it wants here, or wanted until a moment ago; before it has said so, nothing. */
  nameOf(cid: string): string | undefined;
  slots(): number;
  tokensPerSecond(): number;
  close(): Promise<void>;
}

const { endsBeforeRest, retryMsMin, retryMsMax } = AGENT_LIMITS;

const HOPELESS: ReadonlySet<string> = new Set(['model_invalid', 'model_unsupported', 'model_refused']);

/** `found`: models that an earlier process left whole; they are told of until the hub says what it wants. */
export function createShelf(ports: ShelfPorts, found: readonly string[] = []): Shelf {
  const shelf: ShelfState = {
    ports,
    entries: found.map((cid) => ({ ...newEntry(cid), state: 'held', fraction: 1 })),
    told: false,
    bases: [],
    ticket: undefined,
    current: undefined,
    working: undefined,
    again: false,
    unwanted: new Map(),
    troubles: createTroubles(ports.clock),
    downloads: createDownloads(ports.clock),
    swept: false,
    waitsForAnswers: false,
    swappedAtMs: undefined,
    look: undefined,
    suspended: false,
    halted: false,
    loading: undefined,
    releasing: undefined,
    ending: new Set(),
    throttled: 1,
    closed: false,
    wake: () => wake(shelf),
  };
  return {
    hold: (message) => hold(shelf, message),
    setTicket(ticket) {
      shelf.ticket = ticket;
      if (ticket === undefined) callOff(shelf, 'fetch');
      else wake(shelf);
    },
    suspend() {
      suspendEngines(shelf);
      callOff(shelf, 'fetch', 'load');
      wake(shelf);
    },
    resume() {
      resumeEngines(shelf);
      wake(shelf);
    },
    halt: (is) => haltEngines(shelf, is),
    throttle: (share) => throttleEngines(shelf, share),
    providersChanged() {
      endRefused(shelf);
      wake(shelf);
    },
    finished: (cid) => shelf.troubles.finished(cid),
    answersEnded() {
      if (shelf.waitsForAnswers) wake(shelf);
    },
    warm: (cid) => warmOf(shelf, cid),
    leaf: (cid) => leafOf(shelf, cid),
    models: () => shelf.entries.map(describe),
    nameOf: (cid) => nameOf(shelf, cid),
    slots: () => Math.max(0, ...shelf.entries.map((entry) => entry.warm?.engine.slots ?? 0)),
    tokensPerSecond: () => Math.max(0, ...shelf.entries.map((entry) => entry.warm?.engine.tokensPerSecond ?? 0)),
    close: () => close(shelf),
  };
}

function hold(shelf: ShelfState, { models, sources }: HoldMessage): void {
  const { ports } = shelf;
  const before = new Map(shelf.entries.map((entry) => [entry.cid, entry]));
  const wanted = ports.forbidden() !== undefined ? [] : [...new Map(models.map((one) => [one.cid, one]))];
  shelf.entries = wanted.map(([cid, model]) => {
    const back = before.get(cid) ?? shelf.unwanted.get(cid) ?? newEntry(cid);
    before.delete(cid);
    shelf.unwanted.delete(cid);
    back.wanted = model;
    return back;
  });
  for (const entry of before.values()) {
    entry.retry?.cancel();
    entry.retry = undefined;
    shelf.unwanted.set(entry.cid, entry);
    if (shelf.current?.entry === entry) shelf.current.abort.abort();
  }
  shelf.told = true;
  shelf.bases = sources.length > 0 ? sources : ['/'];
  ports.onChanged();
  wake(shelf);
}

function nameOf({ entries, unwanted }: ShelfState, cid: string): string | undefined {
  const name = (entries.find((entry) => entry.cid === cid) ?? unwanted.get(cid))?.wanted.name;
  return name === cid ? undefined : name;
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
  while (shelf.again && shelf.told && !shelf.closed) {
    shelf.again = false;
    shelf.waitsForAnswers = false;
    await sweep(shelf);
    for (const entry of [...shelf.entries]) {
      if (shelf.again || shelf.closed) break;
      await advance(shelf, entry);
    }
  }
  shelf.again &&= shelf.told;
}

/** Unloads and removes what is no longer wanted. */
async function sweep(shelf: ShelfState): Promise<void> {
  const { folders, onFailed, inUse } = shelf.ports;
  if (!shelf.swept) {
    shelf.swept = true;
    for (const cid of await folders.list()) {
      if (!shelf.entries.some((entry) => entry.cid === cid)) shelf.unwanted.set(cid, newEntry(cid));
    }
  }
  for (const entry of shelf.entries) entry.usedAtMs ??= (await folders.usedAt(entry.cid)) ?? 0;
  for (const entry of [...shelf.unwanted.values()]) {
    if (inUse(entry.cid)) {
      shelf.waitsForAnswers = true;
      continue;
    }
    await unload(shelf, entry, new IdlewildError('engine_failed', `the model ${entry.cid} was taken off this device`));
    try {
      await removeModel(entry.cid, await keptFiles(shelf), shelf.ports);
    } catch (thrown) {
      onFailed(entry.cid, asIdlewildError(thrown, `removing the model ${entry.cid}`));
    }
    // Whoever wants it again meanwhile finds that there is nothing left of it.
    Object.assign(entry, { manifest: undefined, leaves: undefined });
    entry.partial.clear();
    if (shelf.unwanted.get(entry.cid) === entry) shelf.unwanted.delete(entry.cid);
  }
}

/** Takes one entry as far as it can go now. */
async function advance(shelf: ShelfState, entry: Entry): Promise<void> {
  if (entry.warm !== undefined || entry.retry !== undefined || entry.hopeless) return;
  if (shelf.ports.refusal() !== undefined || isRefused(shelf, entry)) return;
  if (rest(shelf, entry)) return;
  const phase = entry.manifest === undefined ? 'fetch' : 'load';
  const abort = new AbortController();
  shelf.current = { entry, phase, abort };
  try {
    if (phase === 'fetch') await fetchEntry(shelf, entry, abort.signal);
    if (entry.manifest !== undefined && shelf.ports.refusal() === undefined) {
      shelf.current = { entry, phase: 'load', abort };
      await loadEntry(shelf, entry, entry.manifest, abort.signal);
    }
  } catch (thrown) {
    if (abort.signal.aborted) setState(shelf, entry, entry.manifest === undefined ? 'fetching' : 'held');
    else failed(shelf, entry, asIdlewildError(thrown, `making the model ${entry.cid} ready`));
  } finally {
    shelf.current = undefined;
    shelf.loading = undefined;
  }
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
  if (codeOf(error) === 'engine_failed' && shelf.troubles.ended(entry.cid, error.message).times >= endsBeforeRest) {
    rest(shelf, entry);
    return;
  }
  const ceilingMs = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(entry.failures - 1, 16));
  waitFor(shelf, entry, Math.round(ceilingMs * (0.5 + ports.random.unit() / 2)));
}

function warmOf(shelf: ShelfState, cid: string): WarmModel | IdlewildError {
  const entry = shelf.entries.find((each) => each.cid === cid);
  if (entry?.warm !== undefined) {
    noteUse(shelf, entry);
    return entry.warm;
  }
  const seen = entry === undefined ? 'not on this device' : [entry.state, entry.reason ?? []].flat().join(': ');
  return new IdlewildError('model_not_ready', `the model ${cid} is not warm here (${seen})`);
}

function noteUse({ ports }: ShelfState, entry: Entry): void {
  const { clock, folders, onFailed } = ports;
  entry.usedAtMs = clock.now();
  if (clock.monotonic() - entry.usedNotedMs < AGENT_LIMITS.useNotedMs) return;
  entry.usedNotedMs = clock.monotonic();
  folders
    .noteUse(entry.cid, entry.usedAtMs)
    .catch((thrown: unknown) => onFailed(entry.cid, asIdlewildError(thrown, `noting a use of ${entry.cid}`)));
}

async function close(shelf: ShelfState): Promise<void> {
  shelf.closed = true;
  shelf.current?.abort.abort();
  shelf.look?.cancel();
  shelf.releasing?.cancel();
  for (const entry of shelf.entries) entry.retry?.cancel();
  await shelf.working;
  const gone = new IdlewildError('engine_failed', 'the device is stopping');
  const all = [...shelf.entries, ...shelf.unwanted.values()];
  await Promise.all(all.map((entry) => unload(shelf, entry, gone)));
}
