/**
 * The journal: what an open answer needs to be accounted for after a crash, sealed, and erased when it completes.
 *
 * An answer is accepted when its record is committed, and only then is it given to a device. Writes share transactions:
 * one that finds the journal idle goes at once, the others wait for company, at most `groupCommitMsMax`. An answer that
 * opens and closes within one batch leaves only its line in `requests`. The key is a secret of the data directory;
 * prompts and tokens never touch the database in the clear, and the database overwrites what is deleted.
 */
import {
  concat,
  decodeCbor,
  encodeCbor,
  utf8,
  type AnswerWork,
  type Clock,
  type Crypto,
  type Random,
  type Timer,
} from '@idlewild/protocol';
import { countUsage } from '../callers/usage.ts';
import type { Database } from '../db/schema.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';

export interface OpenRecord {
  readonly request: string;
  readonly territory: string;
  readonly key: string;
  readonly model: string;
  readonly work: Omit<AnswerWork, 'tokens'>;
}

export interface CloseRecord {
  readonly request: string;
  readonly state: 'done' | 'failed' | 'cancelled';
  readonly reason: string | undefined;
  readonly promptTokens: number;
  readonly answerTokens: number;
  /** Of the prompt's tokens; 0 where nobody says. */
  readonly cachedTokens?: number;
  /** How long devices had it. */
  readonly deviceMs?: number;
  readonly failovers: number;
  readonly exact: boolean;
  readonly receipt?: {
    readonly lease: string;
    readonly device: string;
    readonly epoch: number;
    readonly statement: Uint8Array;
  };
}

export interface Journal {
  /** Resolves when the record is committed; rejects with `disk_full` or `internal` when it cannot be. */
  open(record: OpenRecord): Promise<void>;
  /** One emitted token; committed with the next batch. */
  token(request: string, id: number): void;
  /** Resolves when the end is committed and the record erased. */
  close(record: CloseRecord): Promise<void>;
  /** Closes what a crash left open, as failed; returns how many there were and how many tokens they had. */
  recover(): Promise<readonly { readonly request: string; readonly answerTokens: number }[]>;
  /** Writes what is waiting, also what waits for its next try. */
  flush(): Promise<void>;
}

export interface JournalDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  /** 32 bytes. */
  readonly key: Uint8Array;
  readonly log: Log;
}

interface Waiting {
  resolve(): void;
  reject(error: unknown): void;
}
interface Pending<Item> {
  readonly item: Item;
  readonly waiting: Waiting;
}
interface OpenEntry {
  seq: number;
  territory: string;
  written: boolean;
  tokens: number[];
}
type Owner = Pick<OpenRecord, 'request' | 'territory'>;
interface Batch {
  opens: Pending<OpenRecord>[];
  closes: Pending<CloseRecord>[];
  touched: Set<string>;
}

const emptyBatch = (): Batch => ({ opens: [], closes: [], touched: new Set() });

export function createJournal(deps: JournalDeps): Journal {
  const { db, clock, log } = deps;
  const entries = new Map<string, OpenEntry>();
  let batch = emptyBatch();
  let timer: Timer | undefined;
  let flushing: Promise<void> | undefined;
  /** Ends that could not be written, each waiting for its next try. */
  const retries = new Set<() => Promise<void>>();
  let lastFlushAtMs = Number.NEGATIVE_INFINITY;
  const seal = createSealer(deps);

  function schedule(): void {
    if (timer !== undefined || flushing !== undefined) return;
    const idleMs = clock.monotonic() - lastFlushAtMs;
    const opens = batch.opens.length > 0;
    // Not by a timer of 0 ms, which takes more than one: a caller waits for this.
    if (opens && idleMs >= HUB_LIMITS.groupCommitGapMs) return void flush();
    timer = clock.after(opens ? HUB_LIMITS.groupCommitGapMs : HUB_LIMITS.groupCommitMsMax, () => {
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
    if (flushing !== undefined) await flushing;
    const current = batch;
    if (current.opens.length + current.closes.length + current.touched.size === 0) return;
    batch = emptyBatch();
    flushing = write(current).finally(() => {
      flushing = undefined;
      lastFlushAtMs = clock.monotonic();
      if (batch.opens.length + batch.closes.length + batch.touched.size > 0) schedule();
    });
    await flushing;
  }

  async function write(current: Batch): Promise<void> {
    const chunks = await sealChunks(current);
    try {
      await commitBatch(
        db,
        clock.now(),
        current.opens.map((pending) => pending.item),
        current.closes.map((pending) => pending.item),
        chunks,
        entries,
      );
      for (const { item, waiting } of current.opens) {
        const entry = entries.get(item.request);
        if (entry !== undefined) entry.written = true;
        waiting.resolve();
      }
      for (const { item, waiting } of current.closes) {
        entries.delete(item.request);
        waiting.resolve();
      }
    } catch (error) {
      log.error(
        { why: (error as Error).message, opens: current.opens.length, closes: current.closes.length },
        'journal batch failed',
      );
      for (const { item, waiting } of current.opens) {
        entries.delete(item.request);
        waiting.reject(error);
      }
      for (const pending of current.closes) retryLater(pending, 1);
      takeBack(chunks);
    }
  }

  /** Tokens of a batch that was not written go with a later one, before those that came since. */
  function takeBack(chunks: readonly Chunk[]): void {
    for (const { request_id: request, ids } of chunks) {
      const entry = entries.get(request);
      if (entry === undefined || ids.length === 0) continue;
      entry.tokens.unshift(...ids);
      batch.touched.add(request);
    }
    // Not at once: a disk that is full now is full in 20 ms, too. The opening of an answer does not wait for this.
    if (batch.touched.size > 0)
      timer ??= clock.after(HUB_LIMITS.journalRetryMs, () => {
        void flush();
      });
  }

  /**
   * The end of an answer is not given up soon: its caller has it already, only the record waits for the disk. Each is
   * tried alone, so that one which can never be written does not hold up the others.
   */
  function retryLater(pending: Pending<CloseRecord>, tries: number): void {
    const retry = (): Promise<void> => {
      retries.delete(retry);
      again.cancel();
      const { item, waiting } = pending;
      return commitBatch(db, clock.now(), [], [item], [], entries).then(
        () => {
          entries.delete(item.request);
          waiting.resolve();
        },
        (error: unknown) => {
          if (tries < HUB_LIMITS.journalTriesMax) return retryLater(pending, tries + 1);
          entries.delete(item.request);
          waiting.reject(error);
        },
      );
    };
    const again = clock.after(HUB_LIMITS.journalRetryMs, () => {
      void retry();
    });
    retries.add(retry);
  }

  /**
   * Sealed rows of this batch: the work of answers that open, and the tokens since the last batch of those that go on.
   */
  async function sealChunks(current: Batch): Promise<Chunk[]> {
    const closing = new Set(current.closes.map((pending) => pending.item.request));
    const chunks: Chunk[] = [];
    for (const { item } of current.opens) {
      if (!closing.has(item.request)) chunks.push(await seal.work(item));
    }
    for (const request of current.touched) {
      const entry = entries.get(request);
      if (entry === undefined || closing.has(request) || entry.tokens.length === 0) continue;
      entry.seq++;
      chunks.push(await seal.tokens({ request, territory: entry.territory }, entry.seq, entry.tokens.splice(0)));
    }
    return chunks;
  }

  return {
    open(record) {
      entries.set(record.request, { seq: 0, territory: record.territory, written: false, tokens: [] });
      return new Promise<void>((resolve, reject) => {
        batch.opens.push({ item: record, waiting: { resolve, reject } });
        hurry();
      });
    },
    token(request, id) {
      const entry = entries.get(request);
      if (entry === undefined) return;
      entry.tokens.push(id);
      batch.touched.add(request);
      schedule();
    },
    close(record) {
      return new Promise<void>((resolve, reject) => {
        batch.closes.push({ item: record, waiting: { resolve, reject } });
        schedule();
      });
    },
    recover: () => recoverOpen(db, clock, seal),
    async flush() {
      await flush();
      await Promise.all([...retries].map((retry) => retry()));
    },
  };
}

interface JournalRow {
  readonly request_id: string;
  readonly territory_id: string;
  readonly seq: number;
  readonly sealed: Uint8Array;
}
/** A row, and the token ids that are sealed in it. */
interface Chunk extends JournalRow {
  readonly ids: readonly number[];
}

function createSealer({ crypto, random, key }: Pick<JournalDeps, 'crypto' | 'random' | 'key'>): {
  work(record: OpenRecord): Promise<Chunk>;
  tokens(owner: Owner, seq: number, ids: readonly number[]): Promise<Chunk>;
  unseal(row: JournalRow): Promise<unknown>;
} {
  const NONCE_BYTES = 12;
  const bound = (request: string, seq: number): Uint8Array => utf8(`idlewild/v1/journal\n${request}\n${seq}`);
  const seal = async ({ request, territory }: Owner, seq: number, value: unknown): Promise<JournalRow> => {
    const nonce = random.bytes(NONCE_BYTES);
    return {
      request_id: request,
      territory_id: territory,
      seq,
      sealed: concat([nonce, await crypto.seal(key, nonce, encodeCbor(value), bound(request, seq))]),
    };
  };
  return {
    work: async (record) => ({ ...(await seal(record, 0, record.work)), ids: [] }),
    tokens: async (owner, seq, ids) => ({ ...(await seal(owner, seq, ids)), ids }),
    async unseal({ request_id, seq, sealed }) {
      const plain = await crypto.open(
        key,
        sealed.subarray(0, NONCE_BYTES),
        sealed.subarray(NONCE_BYTES),
        bound(request_id, seq),
      );
      return decodeCbor(plain, 'a journal entry');
    },
  };
}

async function commitBatch(
  db: Database,
  nowMs: number,
  opens: readonly OpenRecord[],
  closes: readonly CloseRecord[],
  chunks: readonly Chunk[],
  entries: ReadonlyMap<string, OpenEntry>,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    if (opens.length > 0) {
      await tx
        .insertInto('requests')
        .values(
          opens.map((open) => ({
            id: open.request,
            territory_id: open.territory,
            key_id: open.key,
            model_cid: open.model,
            state: 'open' as const,
            reason: null,
            created_at_ms: nowMs,
            finished_at_ms: null,
            prompt_tokens: 0,
            answer_tokens: 0,
            failovers: 0,
            exact: 1,
            counts_prompt: open.work.choice === 0 ? (1 as const) : (0 as const),
          })),
        )
        .execute();
    }
    if (chunks.length > 0)
      await tx
        .insertInto('journal')
        .values(chunks.map(({ request_id, territory_id, seq, sealed }) => ({ request_id, territory_id, seq, sealed })))
        .execute();
    const ended: string[] = [];
    for (const close of closes) {
      const { numUpdatedRows } = await tx
        .updateTable('requests')
        .set({
          state: close.state,
          reason: close.reason ?? null,
          finished_at_ms: nowMs,
          prompt_tokens: close.promptTokens,
          answer_tokens: close.answerTokens,
          cached_tokens: close.cachedTokens ?? 0,
          device_ms: Math.round(close.deviceMs ?? 0),
          failovers: close.failovers,
          exact: close.exact ? 1 : 0,
        })
        .where('id', '=', close.request)
        .where('state', '=', 'open')
        .executeTakeFirstOrThrow();
      if (numUpdatedRows > 0n) ended.push(close.request);
      if (entries.get(close.request)?.written !== false)
        await tx.deleteFrom('journal').where('request_id', '=', close.request).execute();
      const territory = entries.get(close.request)?.territory;
      if (close.receipt !== undefined && territory !== undefined) {
        const { lease, device, epoch, statement } = close.receipt;
        await tx
          .insertInto('receipts')
          .values({
            lease,
            territory_id: territory,
            request_id: close.request,
            device_id: device,
            epoch,
            statement,
            created_at_ms: nowMs,
          })
          .execute();
      }
    }
    await countUsage(tx, ended);
  });
}

async function recoverOpen(
  db: Database,
  clock: Clock,
  seal: ReturnType<typeof createSealer>,
): Promise<{ request: string; answerTokens: number }[]> {
  const left = await db.selectFrom('requests').select('id').where('state', '=', 'open').execute();
  const recovered: { request: string; answerTokens: number }[] = [];
  for (const { id } of left) {
    const chunks = await db
      .selectFrom('journal')
      .selectAll()
      .where('request_id', '=', id)
      .where('seq', '>', 0)
      .orderBy('seq')
      .execute();
    let answerTokens = 0;
    for (const chunk of chunks) answerTokens += ((await seal.unseal(chunk)) as number[]).length;
    await db.transaction().execute(async (tx) => {
      await tx
        .updateTable('requests')
        .set({ state: 'failed', reason: 'hub_restarted', finished_at_ms: clock.now(), answer_tokens: answerTokens })
        .where('id', '=', id)
        .where('state', '=', 'open')
        .execute();
      await tx.deleteFrom('journal').where('request_id', '=', id).execute();
      await countUsage(tx, [id]);
    });
    recovered.push({ request: id, answerTokens });
  }
  return recovered;
}
