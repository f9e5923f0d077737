/**
 * The journal: what an open answer needs to be accounted for after a crash, or gone on with by another replica; sealed,
 * and erased when it completes.
 *
 * An answer is accepted when its record is committed, and only then is it given to a device. Writes share transactions:
 * one that finds the journal idle goes at once, the others wait for company, at most `groupCommitMsMax`. An answer that
 * opens and closes within one batch leaves only its line in `requests`; one that is part of a run is kept until the run
 * ends. The key is a secret of the hub; prompts and tokens never touch the database in the clear, and the database
 * overwrites what is deleted.
 */
import { IdlewildError, codeOf, messageOf, type Clock, type Crypto, type Random, type Timer } from '@idlewild/protocol';
import type { OpenDatabase } from '../../db/open.ts';
import { HUB_LIMITS } from '../../limits.ts';
import type { Log } from '../../log.ts';
import { commitBatch, isKept } from './commit.ts';
import { closeOrphans, type Orphan } from './orphans.ts';
import {
  createSealer,
  type Chunk,
  type CloseRecord,
  type Closing,
  type FactRecord,
  type JournalItem,
  type OpenEntry,
  type OpenRecord,
  type TokenRecord,
} from './records.ts';
import { adoptAnswer, type JournalledAnswer } from './runs.ts';
import type { RunRef } from '../port.ts';

export type { CloseRecord, FactRecord, OpenRecord, TokenRecord } from './records.ts';

export interface Journal {
  /**
   * Resolves when the record is committed; rejects with `disk_full`, `database_unavailable` or `internal` when it
   * cannot be.
   */
  open(record: OpenRecord): Promise<void>;
  /** One emitted token; committed with the next batch. */
  token(request: string, token: TokenRecord): void;
  /** What else happened: that the prompt was read, and the rest where a run may have to tell it again. */
  fact(request: string, fact: FactRecord): void;
  /** Resolves when all that was said of the answer up to now, in this turn of the event loop, is committed. */
  written(request: string): Promise<void>;
  /** Resolves when the end is committed and the record erased, with true, or when another owner has it, with false. */
  close(record: CloseRecord): Promise<boolean>;
  /** Forgets an answer without ending it: whoever takes its run over goes on with it. */
  letGo(request: string): Promise<void>;
  /** Takes over what another owner began; see `adoptAnswer`. */
  adopt(territory: string, run: RunRef): Promise<JournalledAnswer | undefined>;
  /**
   * Ends what nobody will finish; see `closeOrphans`. `patienceMs`: an owner may only have been kept from the database
   * as everybody was, so it has to be seen gone for this long, at one look after the other.
   */
  closeOrphans(patienceMs: number): Promise<readonly Orphan[]>;
  /** Told once of each answer that another owner has taken over. */
  onTakenOver(listener: (request: string) => void): void;
  /** Writes what is waiting, also what waits for its next try. */
  flush(): Promise<void>;
}

export interface JournalDeps {
  readonly database: OpenDatabase;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** Whose answers these are; nothing of another territory is read, written or ended here. */
  readonly territory: string;
  /** This replica, as the owner of what it opens. */
  readonly owner: string;
  readonly log: Log;
}

interface Pending<Item, Result = void> {
  readonly item: Item;
  readonly waiting: { resolve(result: Result): void; reject(error: unknown): void };
  readonly sinceMs: number;
}
interface Entry extends OpenEntry {
  seq: number;
  items: JournalItem[];
}
interface Batch {
  opens: Pending<OpenRecord>[];
  closes: Pending<Closing, boolean>[];
  touched: Set<string>;
  /** Told once it is committed. */
  waiting: (() => void)[];
}

const emptyBatch = (): Batch => ({ opens: [], closes: [], touched: new Set(), waiting: [] });
const isEmpty = ({ opens, closes, touched, waiting }: Batch): boolean =>
  opens.length + closes.length + touched.size + waiting.length === 0;

export function createJournal(deps: JournalDeps): Journal {
  const { database, clock, log } = deps;
  const keeper = { territory: deps.territory, owner: deps.owner };
  const entries = new Map<string, Entry>();
  let batch = emptyBatch();
  let timer: Timer | undefined;
  let flushing: Promise<void> | undefined;
  /** Ends that could not be written, each waiting for its next try. */
  const retries = new Set<() => Promise<void>>();
  /** Since when each owner was seen to be gone. */
  let goneSinceMs: ReadonlyMap<string, number> = new Map();
  let lastFlushAtMs = Number.NEGATIVE_INFINITY;
  let takenOver: (request: string) => void = () => {};
  const sealer = createSealer(deps);

  /** Who comes back to an answer hears of its end when it is written. */
  const isWaited = ({ item }: Pending<Closing, boolean>): boolean => isKept(item, entries.get(item.request));

  function schedule(): void {
    if (timer !== undefined || flushing !== undefined) return;
    const idleMs = clock.monotonic() - lastFlushAtMs;
    const isWaitedFor = batch.opens.length > 0 || batch.waiting.length > 0 || batch.closes.some(isWaited);
    // Not by a timer of 0 ms, which takes more than one: a caller waits for this.
    if (isWaitedFor && idleMs >= HUB_LIMITS.groupCommitGapMs) return void flush();
    timer = clock.after(isWaitedFor ? HUB_LIMITS.groupCommitGapMs : HUB_LIMITS.groupCommitMsMax, () => {
      void flush();
    });
  }
  /** A waiting token write must not hold back the opening of an answer. */
  function hurry(): void {
    timer?.cancel();
    timer = undefined;
    schedule();
  }

  async function flush(): Promise<void> {
    timer?.cancel();
    timer = undefined;
    // Whoever waited as well may have begun the next: rows of one answer are written one after the other.
    while (flushing !== undefined) await flushing;
    const current = batch;
    if (isEmpty(current)) return;
    batch = emptyBatch();
    flushing = write(current).finally(() => {
      flushing = undefined;
      lastFlushAtMs = clock.monotonic();
      if (!isEmpty(batch)) schedule();
    });
    await flushing;
  }

  async function write(current: Batch): Promise<void> {
    let chunks: readonly Chunk[] = [];
    try {
      chunks = await sealChunks(current);
      const opens = current.opens.map((pending) => pending.item);
      const closes = current.closes.map((pending) => pending.item);
      const { lost, fenced } = await commitBatch(database, keeper, { opens, closes, chunks }, entries);
      for (const { item, waiting } of current.opens) {
        const entry = entries.get(item.request);
        if (entry !== undefined) entry.written = true;
        if (!lost.has(item.request)) waiting.resolve();
        else waiting.reject(new IdlewildError('run_taken_over', 'another replica has this request by now'));
      }
      for (const { item, waiting } of current.closes) {
        forget(item);
        waiting.resolve(!fenced.has(item));
      }
      for (const tell of current.waiting) tell();
      for (const request of lost) tellTakenOver(request);
    } catch (error) {
      const counts = { opens: current.opens.length, closes: current.closes.length };
      log.error({ why: messageOf(error), ...counts }, 'journal batch failed');
      for (const pending of current.opens) failOpen(pending, error);
      for (const pending of current.closes) retryLater(pending, 1);
      batch.waiting.unshift(...current.waiting);
      takeBack(chunks);
    }
  }

  /** A database that is restarted comes back within moments: what was asked meanwhile waits for it. */
  function failOpen(pending: Pending<OpenRecord>, error: unknown): void {
    const { item, waiting, sinceMs } = pending;
    const entry = entries.get(item.request);
    if (codeOf(error) === 'database_unavailable') {
      // Nobody knows whether it was committed.
      if (entry !== undefined) entry.written = true;
      if (clock.monotonic() - sinceMs < HUB_LIMITS.journalOpenMsMax) {
        batch.opens.push(pending);
        return;
      }
      const ignored = { resolve: () => {}, reject: () => {} };
      retryLater({ item: neverBegun(item.request), waiting: ignored, sinceMs }, 1);
    }
    entries.delete(item.request);
    waiting.reject(error);
  }

  /** Unless this replica has taken it over from itself since. */
  function forget({ request, ownerEpoch }: Closing): void {
    if (entries.get(request)?.ownerEpoch === ownerEpoch) entries.delete(request);
  }

  function tellTakenOver(request: string): void {
    if (!entries.delete(request)) return;
    log.warn({ request }, 'another replica went on with this answer');
    takenOver(request);
  }

  /** What a batch did not write goes with a later one, before what came since. */
  function takeBack(chunks: readonly Chunk[]): void {
    for (const { request_id: request, seq, items } of chunks) {
      const entry = entries.get(request);
      if (entry === undefined || items.length === 0) continue;
      entry.items.unshift(...items);
      // Nobody knows whether the commit happened: the row is written again, and longer.
      entry.seq = seq - 1;
      batch.touched.add(request);
    }
    // Not at once: a disk that is full now is full in 20 ms, too. The opening of an answer does not wait for this.
    if (!isEmpty(batch))
      timer ??= clock.after(HUB_LIMITS.journalRetryMs, () => {
        void flush();
      });
  }

  /**
   * The end of an answer is not given up soon: its caller has it already, only the record waits for the disk. Each is
   * tried alone, so that one which can never be written does not hold up the others.
   */
  function retryLater(pending: Pending<Closing, boolean>, tries: number): void {
    const { item, waiting } = pending;
    const retry = async (): Promise<void> => {
      retries.delete(retry);
      again.cancel();
      await flush();
      try {
        if (isBehind(item)) throw new IdlewildError('database_unavailable', 'what came before it is not written yet');
        const { fenced } = await commitBatch(database, keeper, { opens: [], closes: [item], chunks: [] }, entries);
        forget(item);
        waiting.resolve(!fenced.has(item));
      } catch (error) {
        if (tries < HUB_LIMITS.journalTriesMax) return retryLater(pending, tries + 1);
        forget(item);
        waiting.reject(error);
      }
    };
    const again = clock.after(HUB_LIMITS.journalRetryMs, () => {
      void retry();
    });
    retries.add(retry);
  }
  /** Whether its beginning, or tokens that a run may have to tell again, still wait to be written. */
  function isBehind(close: CloseRecord): boolean {
    const entry = entries.get(close.request);
    if (entry !== undefined && entry.items.length > 0 && isKept(close, entry)) return true;
    return batch.opens.some(({ item }) => item.request === close.request);
  }

  /**
   * Sealed rows of this batch: the work of answers that open, and what came since the last batch of those that go on.
   */
  async function sealChunks(current: Batch): Promise<Chunk[]> {
    const closing = new Map(current.closes.map(({ item }) => [item.request, item]));
    const isErased = (request: string): boolean => {
      const close = closing.get(request);
      const entry = entries.get(request);
      return close !== undefined && close.ownerEpoch === entry?.ownerEpoch && !isKept(close, entry);
    };
    const chunks: Chunk[] = [];
    for (const { item } of current.opens) {
      if (!isErased(item.request)) chunks.push(await sealer.work(item));
    }
    for (const request of current.touched) {
      const entry = entries.get(request);
      if (entry === undefined || isErased(request) || entry.items.length === 0) continue;
      entry.seq++;
      chunks.push(await sealer.items({ request, territory: entry.territory }, entry.seq, entry.items.splice(0)));
    }
    return chunks;
  }

  const add = (request: string, item: JournalItem): void => {
    const entry = entries.get(request);
    if (entry === undefined) return;
    entry.items.push(item);
    batch.touched.add(request);
    schedule();
  };
  const isOfRun = (request: string): boolean => entries.get(request)?.run !== undefined;

  return {
    open(record) {
      const { request, territory, run, hold } = record;
      entries.set(request, { seq: 0, territory, run, hold, ownerEpoch: 1, written: false, items: [] });
      return new Promise<void>((resolve, reject) => {
        batch.opens.push({ item: record, waiting: { resolve, reject }, sinceMs: clock.monotonic() });
        hurry();
      });
    },
    token: (request, token) => add(request, isOfRun(request) ? token : token.id),
    fact(request, fact) {
      if (fact.t === 'started' || isOfRun(request)) add(request, fact);
    },
    written(request) {
      if (!isOfRun(request)) return Promise.resolve();
      batch.touched.add(request);
      return new Promise((resolve) => {
        batch.waiting.push(resolve);
        // In a moment: what belongs to it is said in this very turn.
        queueMicrotask(hurry);
      });
    },
    close(record) {
      return new Promise<boolean>((resolve, reject) => {
        const ownerEpoch = entries.get(record.request)?.ownerEpoch;
        batch.closes.push({
          item: { ...record, ownerEpoch },
          waiting: { resolve, reject },
          sinceMs: clock.monotonic(),
        });
        hurry();
      });
    },
    async letGo(request) {
      await flush();
      entries.delete(request);
    },
    async adopt(territory, run) {
      const found = await adoptAnswer(database, { ...keeper, territory }, run, sealer);
      if (found !== undefined && !found.isDone) {
        const { seq, ownerEpoch, hold } = found;
        entries.set(found.request, { seq, territory, run, hold, ownerEpoch, written: true, items: [] });
      }
      return found;
    },
    closeOrphans: (patienceMs) =>
      closeOrphans(database, keeper, sealer, (owners) => {
        const nowMs = clock.monotonic();
        goneSinceMs = new Map(owners.map((gone) => [gone, goneSinceMs.get(gone) ?? nowMs]));
        return (gone) => nowMs - (goneSinceMs.get(gone) ?? nowMs) >= patienceMs;
      }),
    onTakenOver(listener) {
      takenOver = listener;
    },
    async flush() {
      await flush();
      await Promise.all([...retries].map((retry) => retry()));
    },
  };
}

/** The end of what its caller was told did not begin, should it have been committed all the same. */
const neverBegun = (request: string): Closing => ({
  request,
  ownerEpoch: 1,
  state: 'failed',
  reason: 'database_unavailable',
  promptTokens: 0,
  answerTokens: 0,
  failovers: 0,
  exact: true,
});
