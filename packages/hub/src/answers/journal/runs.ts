/**
 * What is kept of a run's answers, whose caller may come back for them: read by whoever takes the run over, erased when
 * it ends.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { OpenDatabase } from '../../db/open.ts';
import { locking } from '../../db/row-lock.ts';
import type { DatabaseTransaction } from '../../db/schema.ts';
import { transact } from '../../db/transact.ts';
import type { RunRef } from '../port.ts';
import type { Keeper } from './ownership.ts';
import type { FactRecord, JournalItem, OpenRecord, Sealer, TokenRecord } from './records.ts';

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
