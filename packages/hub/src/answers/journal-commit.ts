/**
 * The journal's statements: one transaction for a batch, and what is read and ended after an owner is gone.
 *
 * An answer has one owner. Its row is locked and its owner looked at in the transaction that writes, so a replica that
 * was paused and does not know that another took over writes nothing. Everything may be tried again after a commit of
 * which nobody knows whether it happened: rows that are there stay as they are, and an end counts once.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { Kysely } from 'kysely';
import { countUsage } from '../callers/usage.ts';
import { locking } from '../db/row-lock.ts';
import { chargeEnded } from '../projects/holds.ts';
import { transact } from '../db/transact.ts';
import type { OpenDatabase } from '../db/open.ts';
import type { DatabaseTransaction, Schema } from '../db/schema.ts';
import { HUB_LIMITS } from '../limits.ts';
import type {
  Chunk,
  CloseRecord,
  Closing,
  FactRecord,
  JournalItem,
  OpenRecord,
  Sealer,
  TokenRecord,
} from './journal-records.ts';
import type { RunRef } from './port.ts';

/** Rows of one statement: databases bound its variables. */
const ROWS_MAX = 1_000;

export interface Batch {
  readonly opens: readonly OpenRecord[];
  readonly closes: readonly Closing[];
  readonly chunks: readonly Chunk[];
}

/** What is known here of an answer that is not closed. */
export interface OpenEntry {
  readonly territory: string;
  readonly run: RunRef | undefined;
  readonly ownerEpoch: number;
  /** What it is charged to. */
  readonly hold: string | undefined;
  written: boolean;
}

/** Whose books these are: nothing of another territory is read or written. */
export interface Keeper {
  readonly territory: string;
  /** The replica that writes. */
  readonly owner: string;
}

export interface Committed {
  /** Requests that belong to another owner by now: nothing of them was written. */
  readonly lost: ReadonlySet<string>;
  /** Ends that were not this owner's to write. */
  readonly fenced: ReadonlySet<Closing>;
}

export async function commitBatch(
  { db, clock }: OpenDatabase,
  { territory, owner }: Keeper,
  { opens, closes, chunks }: Batch,
  entries: ReadonlyMap<string, OpenEntry>,
): Promise<Committed> {
  const nowMs = clock.now();
  return transact(db, async (tx) => {
    const runs = await lockRuns(tx, territory, [
      ...opens.map(({ run }) => run?.id),
      ...closes.map(({ request }) => entries.get(request)?.run?.id),
    ]);
    const late = ofOthersRuns(runs, owner, opens);
    const own = opens.filter(({ request }) => !late.has(request));
    for (const part of slices(own)) await insertOpen(tx, owner, part, nowMs);
    const opened = new Set(opens.map(({ request }) => request));
    const asked = [...chunks.map((chunk) => chunk.request_id), ...closes.map(({ request }) => request)];
    const older = [...new Set(asked)].filter((request) => !opened.has(request));
    const rows = await lockRequests(tx, territory, older);
    const isOthers = (request: string, ownerEpoch: number | undefined): boolean => {
      const row = rows.get(request);
      if (row === undefined || row.owner === null) return false;
      return row.owner !== owner || (ownerEpoch !== undefined && row.owner_epoch !== ownerEpoch);
    };
    const lost = new Set(late);
    for (const request of older) if (isOthers(request, entries.get(request)?.ownerEpoch)) lost.add(request);
    const kept = chunks.filter(({ request_id }) => !lost.has(request_id));
    for (const part of slices(kept)) {
      await tx
        .insertInto('journal')
        .values(part.map(({ request_id, territory_id, seq, sealed }) => ({ request_id, territory_id, seq, sealed })))
        .onConflict((on) =>
          on.columns(['request_id', 'seq']).doUpdateSet((row) => ({ sealed: row.ref('excluded.sealed') })),
        )
        .execute();
    }
    const ended: string[] = [];
    const fenced = new Set<Closing>();
    for (const close of closes) {
      const { request, ownerEpoch } = close;
      if (lost.has(request) || isOthers(request, ownerEpoch)) {
        fenced.add(close);
        continue;
      }
      const entry = entries.get(request);
      // A run may still have to tell it again: its rows go with the run, unless that has gone already.
      const isOfRun = isKept(close, entry) && isOpen(runs, entry, rows.get(request));
      if (await writeEnd(tx, territory, close, { entry, isOfRun, nowMs })) ended.push(request);
    }
    await countUsage(tx, territory, ended);
    await chargeEnded(
      tx,
      territory,
      ended.filter((request) => entries.get(request)?.hold !== undefined),
    );
    return { lost, fenced };
  });
}

function* slices<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let from = 0; from < items.length; from += ROWS_MAX) yield items.slice(from, from + ROWS_MAX);
}

async function insertOpen(
  tx: DatabaseTransaction,
  owner: string,
  opens: readonly OpenRecord[],
  nowMs: number,
): Promise<void> {
  await tx
    .insertInto('requests')
    .values(
      opens.map(({ request, territory, key, model, work, text, run, hold }) => ({
        id: request,
        territory_id: territory,
        key_id: key,
        model_cid: model,
        state: 'open' as const,
        reason: null,
        created_at_ms: nowMs,
        finished_at_ms: null,
        prompt_tokens: 0,
        answer_tokens: 0,
        failovers: 0,
        exact: 1 as const,
        counts_prompt: work.choice === 0 ? (1 as const) : (0 as const),
        owner,
        owner_epoch: 1,
        run_id: run?.id ?? null,
        choice: run?.choice ?? 0,
        data_class: text.dataClass,
        cause: text.cause ?? null,
        hold_id: hold ?? null,
      })),
    )
    .onConflict((on) => on.column('id').doNothing())
    .execute();
}

interface RunRow {
  readonly territory_id: string;
  readonly id: string;
  readonly owner: string | null;
  readonly epoch: number;
}

/** Before any request: who takes a run over locks it in this order, too. */
async function lockRuns(
  tx: DatabaseTransaction,
  territory: string,
  of: readonly (string | undefined)[],
): Promise<readonly RunRow[]> {
  const runs: RunRow[] = [];
  for (const part of slices([...new Set(of.filter((id) => id !== undefined))])) {
    const columns = ['territory_id', 'id', 'owner', 'epoch'] as const;
    const those = tx.selectFrom('runs').select(columns).where('territory_id', '=', territory).where('id', 'in', part);
    runs.push(...(await locking(tx, those.orderBy('id')).execute()));
  }
  return runs;
}

/** Of answers that open: those whose run another owner has by now, who begins them itself. */
function ofOthersRuns(runs: readonly RunRow[], owner: string, opens: readonly OpenRecord[]): ReadonlySet<string> {
  const late = new Set<string>();
  for (const { request, territory, run } of opens) {
    if (run === undefined) continue;
    const row = runs.find(({ territory_id, id }) => territory_id === territory && id === run.id);
    if (row?.owner !== owner || row.epoch !== run.epoch) late.add(request);
  }
  return late;
}

interface RequestRow {
  readonly id: string;
  readonly owner: string | null;
  readonly owner_epoch: number;
  readonly run_id: string | null;
}

async function lockRequests(
  tx: DatabaseTransaction,
  territory: string,
  requests: readonly string[],
): Promise<ReadonlyMap<string, RequestRow>> {
  const rows = new Map<string, RequestRow>();
  for (const part of slices(requests)) {
    const columns = ['id', 'owner', 'owner_epoch', 'run_id'] as const;
    const own = tx.selectFrom('requests').select(columns).where('territory_id', '=', territory);
    for (const row of await locking(tx, own.where('id', 'in', part).orderBy('id')).execute()) rows.set(row.id, row);
  }
  return rows;
}

/**
 * Whether the run goes on that the request is of: another may have begun under the same Idempotency-Key, and so the
 * same id. A request without a row begins in this batch.
 */
const isOpen = (runs: readonly RunRow[], entry: OpenEntry | undefined, row: RequestRow | undefined): boolean =>
  (row === undefined || row.run_id === entry?.run?.id) &&
  runs.some(({ territory_id, id }) => territory_id === entry?.territory && id === entry.run?.id);

const MICRO = 1_000_000;

/** False when it had ended already. */
async function writeEnd(
  tx: DatabaseTransaction,
  territory: string,
  close: Closing,
  {
    entry,
    isOfRun,
    nowMs,
  }: { readonly entry: OpenEntry | undefined; readonly isOfRun: boolean; readonly nowMs: number },
): Promise<boolean> {
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
      device_id: close.device ?? null,
      energy_uwh: close.energyWh === undefined ? null : Math.round(close.energyWh * MICRO),
      failovers: close.failovers,
      exact: close.exact ? 1 : 0,
    })
    .where('territory_id', '=', territory)
    .where('id', '=', close.request)
    .where('state', '=', 'open')
    .executeTakeFirstOrThrow();
  if ((entry?.written !== false || isKept(close, entry)) && !isOfRun)
    await tx
      .deleteFrom('journal')
      .where('territory_id', '=', territory)
      .where('request_id', '=', close.request)
      .execute();
  if (close.receipt !== undefined && entry !== undefined) {
    const { lease, device, epoch, statement } = close.receipt;
    await tx
      .insertInto('receipts')
      .values({
        lease,
        territory_id: entry.territory,
        request_id: close.request,
        device_id: device,
        epoch,
        statement,
        created_at_ms: nowMs,
      })
      .onConflict((on) => on.column('lease').doNothing())
      .execute();
  }
  return numUpdatedRows > 0n;
}

/** Whether the journal's rows outlive the end of the answer. */
export const isKept = (close: CloseRecord, entry: OpenEntry | undefined): boolean =>
  entry?.run !== undefined && close.state === 'done';

/**
 * Erases what the journal kept of a run's answers; the caller's transaction ends the run. They are no run's from then
 * on, for the same Idempotency-Key may name another one later.
 */
export async function eraseRun(transaction: DatabaseTransaction, territory: string, runId: string): Promise<void> {
  await transaction
    .deleteFrom('journal')
    .where('territory_id', '=', territory)
    .where('request_id', 'in', (from) =>
      from.selectFrom('requests').select('id').where('territory_id', '=', territory).where('run_id', '=', runId),
    )
    .execute();
  await transaction
    .updateTable('requests')
    .set({ run_id: null })
    .where('territory_id', '=', territory)
    .where('run_id', '=', runId)
    .execute();
}

/** An answer of a run as the journal has it. */
export interface JournalledAnswer {
  readonly request: string;
  /** Id of the caller's key. */
  readonly key: string;
  readonly countsPrompt: boolean;
  /** As it was when it was first asked. */
  readonly text: OpenRecord['text'];
  readonly isDone: boolean;
  readonly ownerEpoch: number;
  /** Number of its last row. */
  readonly seq: number;
  readonly tokens: readonly TokenRecord[];
  readonly attempts: readonly Extract<FactRecord, { t: 'attempt' }>[];
  readonly started: Extract<FactRecord, { t: 'started' }> | undefined;
  readonly finished: Extract<FactRecord, { t: 'finished' }> | undefined;
  readonly failovers: number;
  readonly exact: boolean;
  /** What it is charged to. */
  readonly hold?: string | undefined;
}

/**
 * Makes `owner` the owner of a run's answer and reads what is journalled of it; `undefined` when there is none that
 * goes on or ended well. Throws `run_taken_over` when the run is no longer this owner's.
 */
export async function adoptAnswer(
  { db }: OpenDatabase,
  { territory, owner }: Keeper,
  run: RunRef,
  sealer: Sealer,
): Promise<JournalledAnswer | undefined> {
  const found = await transact(db, async (tx) => {
    const row = await locking(
      tx,
      tx.selectFrom('runs').select(['owner', 'epoch']).where('territory_id', '=', territory).where('id', '=', run.id),
    ).executeTakeFirst();
    if (row?.owner !== owner || row.epoch !== run.epoch)
      throw new IdlewildError('run_taken_over', 'another replica took this request over; ask again under its key');
    const request = await locking(
      tx,
      tx
        .selectFrom('requests')
        .select(['id', 'key_id', 'counts_prompt', 'state', 'owner_epoch', 'failovers', 'exact', 'data_class', 'cause'])
        .select('hold_id')
        .where('territory_id', '=', territory)
        .where('run_id', '=', run.id)
        .where('choice', '=', run.choice)
        .where('state', 'in', ['open', 'done'])
        .orderBy('created_at_ms', 'desc')
        .limit(1),
    ).executeTakeFirst();
    if (request === undefined) return undefined;
    if (request.state === 'open') {
      await tx
        .updateTable('requests')
        .set({ owner, owner_epoch: request.owner_epoch + 1 })
        .where('territory_id', '=', territory)
        .where('id', '=', request.id)
        .execute();
    }
    const rows = await tx
      .selectFrom('journal')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('request_id', '=', request.id)
      .where('seq', '>', 0)
      .orderBy('seq')
      .execute();
    return { request, rows };
  });
  if (found === undefined) return undefined;
  const { request, rows } = found;
  const items: JournalItem[] = [];
  for (const row of rows) items.push(...(await sealer.unseal(row)));
  const facts = items.filter((item) => typeof item === 'object' && 't' in item);
  return {
    request: request.id,
    key: request.key_id,
    countsPrompt: request.counts_prompt === 1,
    text: { dataClass: request.data_class, cause: request.cause ?? undefined },
    isDone: request.state === 'done',
    ownerEpoch: request.state === 'open' ? request.owner_epoch + 1 : request.owner_epoch,
    seq: rows.at(-1)?.seq ?? 0,
    tokens: items.filter((item): item is TokenRecord => typeof item === 'object' && !('t' in item)),
    attempts: facts.filter((fact) => fact.t === 'attempt'),
    started: facts.find((fact) => fact.t === 'started'),
    finished: facts.find((fact) => fact.t === 'finished'),
    failovers: request.failovers,
    exact: request.exact === 1,
    hold: request.hold_id ?? undefined,
  };
}

/** An answer that nobody will finish; how many tokens it had. */
export interface Orphan {
  readonly request: string;
  readonly answerTokens: number;
}

/**
 * Ends answers whose owner is gone and to which no caller can come back any more, as failed with `hub_restarted`. An
 * owner is gone when the register has not seen it for `replicaLiveMs` by the database's time, or never had it; `owner`,
 * who asks, is not. `judge` is told of all that are gone, and says whose answers are to be ended by now.
 */
export async function closeOrphans(
  database: OpenDatabase,
  keeper: Keeper,
  sealer: Sealer,
  judge: (owners: readonly string[]) => (owner: string) => boolean,
): Promise<readonly Orphan[]> {
  const { territory } = keeper;
  const orphans: Orphan[] = [];
  const found = await orphansIn(database, database.db, keeper);
  const isDue = judge([...new Set(found.map((orphan) => orphan.owner ?? NOBODY))]);
  for (const { id } of found.filter((orphan) => isDue(orphan.owner ?? NOBODY))) {
    const rows = await database.db
      .selectFrom('journal')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('request_id', '=', id)
      .where('seq', '>', 0)
      .orderBy('seq')
      .execute();
    let answerTokens = 0;
    for (const row of rows) answerTokens += (await sealer.unseal(row)).filter(isToken).length;
    const isEnded = await transact(database.db, async (tx) => {
      const [still] = await orphansIn(database, tx, keeper, id);
      if (still === undefined) return false;
      await tx
        .updateTable('requests')
        .set({
          state: 'failed',
          reason: 'hub_restarted',
          finished_at_ms: database.clock.now(),
          answer_tokens: answerTokens,
          owner_epoch: still.owner_epoch + 1,
        })
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .execute();
      await tx.deleteFrom('journal').where('territory_id', '=', territory).where('request_id', '=', id).execute();
      await countUsage(tx, territory, [id]);
      await chargeEnded(tx, territory, [id]);
      return true;
    });
    if (isEnded) orphans.push({ request: id, answerTokens });
  }
  return orphans;
}

/** Of requests of a hub that wrote down no owners. */
const NOBODY = '';

const isToken = (item: JournalItem): boolean => typeof item === 'number' || !('t' in item);

/** With `id`, that one alone, locked. */
function orphansIn(
  { nowMs }: OpenDatabase,
  db: Kysely<Schema>,
  { territory, owner }: Keeper,
  id?: string,
): Promise<{ id: string; owner: string | null; owner_epoch: number }[]> {
  const query = db
    .selectFrom('requests')
    .select(['requests.id', 'requests.owner', 'requests.owner_epoch'])
    .where('requests.state', '=', 'open')
    .where('requests.territory_id', '=', territory)
    .where(({ or, eb }) => or([eb('requests.owner', 'is', null), eb('requests.owner', '!=', owner)]))
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('replicas')
            .select('replicas.id')
            .whereRef('replicas.id', '=', 'requests.owner')
            .where(({ eb }) => eb('replicas.seen_at_ms', '>', eb(nowMs(), '-', HUB_LIMITS.replicaLiveMs))),
        ),
      ),
    )
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('runs')
            .select('runs.id')
            .whereRef('runs.territory_id', '=', 'requests.territory_id')
            .whereRef('runs.id', '=', 'requests.run_id'),
        ),
      ),
    );
  if (id === undefined) return query.limit(ROWS_MAX).execute();
  const one = query.where('requests.id', '=', id);
  return (db.isTransaction ? locking(db, one) : one).execute();
}
