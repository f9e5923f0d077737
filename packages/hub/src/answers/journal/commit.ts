/**
 * One transaction for a batch of the journal: what opened, what came since, what ended.
 *
 * Nothing is written of what another owner has by now (`ownership.ts`). All of it may be tried again after a commit of
 * which nobody knows whether it happened: rows that are there stay as they are, and an end counts once.
 */
import { countUsage } from '../../callers/usage.ts';
import type { OpenDatabase } from '../../db/open.ts';
import type { DatabaseTransaction } from '../../db/schema.ts';
import { slices } from '../../db/slices.ts';
import { transact } from '../../db/transact.ts';
import { chargeEnded } from '../../projects/charging.ts';
import { isOfOpenRun, isOthers, lockRequests, lockRuns, ofOthersRuns, type Keeper } from './ownership.ts';
import type { Chunk, CloseRecord, Closing, OpenEntry, OpenRecord } from './records.ts';

export interface Batch {
  readonly opens: readonly OpenRecord[];
  readonly closes: readonly Closing[];
  readonly chunks: readonly Chunk[];
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
    const isLost = (request: string, ownerEpoch: number | undefined): boolean =>
      isOthers(rows.get(request), owner, ownerEpoch);
    const lost = new Set(late);
    for (const request of older) if (isLost(request, entries.get(request)?.ownerEpoch)) lost.add(request);
    const kept = chunks.filter(({ request_id }) => !lost.has(request_id));
    for (const part of slices(kept)) await putChunks(tx, part);
    const ended: string[] = [];
    const fenced = new Set<Closing>();
    for (const close of closes) {
      const { request, ownerEpoch } = close;
      if (lost.has(request) || isLost(request, ownerEpoch)) {
        fenced.add(close);
        continue;
      }
      const entry = entries.get(request);
      // A run may still have to tell it again: its rows go with the run, unless that has gone already.
      const isOfRun = isKept(close, entry) && isOfOpenRun(runs, entry, rows.get(request));
      if (await writeEnd(tx, territory, close, { entry, isOfRun, nowMs })) ended.push(request);
    }
    await countUsage(tx, territory, ended);
    await chargeEnded(tx, territory, ended);
    return { lost, fenced };
  });
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

async function putChunks(tx: DatabaseTransaction, chunks: readonly Chunk[]): Promise<void> {
  await tx
    .insertInto('journal')
    .values(chunks.map(({ request_id, territory_id, seq, sealed }) => ({ request_id, territory_id, seq, sealed })))
    .onConflict((on) =>
      on.columns(['request_id', 'seq']).doUpdateSet((row) => ({ sealed: row.ref('excluded.sealed') })),
    )
    .execute();
}

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
