/**
 * Who may write of an answer: the owner of its row, and of its run's while it opens.
 *
 * Rows are locked before they are looked at, and runs before requests, in the order of their ids: who takes a run over
 * locks them in this order, too. So a replica that was paused and does not know that another took over writes nothing.
 */
import { locking } from '../../db/row-lock.ts';
import type { DatabaseTransaction } from '../../db/schema.ts';
import { slices } from '../../db/slices.ts';
import type { OpenEntry, OpenRecord } from './records.ts';

/** Whose books these are: nothing of another territory is read or written. */
export interface Keeper {
  readonly territory: string;
  /** The replica that writes. */
  readonly owner: string;
}

interface RunRow {
  readonly territory_id: string;
  readonly id: string;
  readonly owner: string | null;
  readonly epoch: number;
}

/** Before any request. */
export async function lockRuns(
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
export function ofOthersRuns(
  runs: readonly RunRow[],
  owner: string,
  opens: readonly OpenRecord[],
): ReadonlySet<string> {
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

export async function lockRequests(
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

/** `ownerEpoch`: of whom asks, where that is known; the same replica may own the answer once more, as another owner. */
export function isOthers(row: RequestRow | undefined, owner: string, ownerEpoch: number | undefined): boolean {
  if (row === undefined || row.owner === null) return false;
  return row.owner !== owner || (ownerEpoch !== undefined && row.owner_epoch !== ownerEpoch);
}

/**
 * Whether the run goes on that the request is of: another may have begun under the same Idempotency-Key, and so the
 * same id. A request without a row begins in this batch.
 */
export const isOfOpenRun = (
  runs: readonly RunRow[],
  entry: OpenEntry | undefined,
  row: RequestRow | undefined,
): boolean =>
  (row === undefined || row.run_id === entry?.run?.id) &&
  runs.some(({ territory_id, id }) => territory_id === entry?.territory && id === entry.run?.id);
