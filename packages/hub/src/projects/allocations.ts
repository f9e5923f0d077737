/**
 * Allocations: what a project asked for, what a steward granted of it, and what is left.
 *
 *   asked ──► granted ⇄ changed ──► ended
 *     ├─────► denied                   its time is over, its project was closed, or a steward ended it
 *     └─────► withdrawn                by its project
 *
 * A steward grants what was asked, less or more; several allocations of a project may run at the same time. Every act
 * is kept with its amounts, its note and who did it. What requests spend and hold of one is `holds.ts`'s to change.
 */
import { IdlewildError, newId, type Clock, type Random } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { AllocationAct, Allocations as AllocationColumns } from '../db/schema/projects.ts';
import { locking } from '../db/row-lock.ts';
import { transact } from '../db/transact.ts';
import {
  allocationOf,
  checkAmounts,
  checkNote,
  checkTimes,
  grantedOf,
  isOver,
  stateOf,
  unknownAllocation,
  type Allocation,
  type AllocationEvent,
  type Amounts,
} from './allocation.ts';
import { PROJECT_LIMITS } from './limits.ts';

export interface AllocationAsk extends Amounts {
  readonly project: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly why: string;
  readonly actor: string;
}

/** What is not named stays as it was asked for, or granted. */
export interface AllocationGrant {
  readonly id: string;
  readonly tokens?: number | undefined;
  readonly deviceMs?: number | 'none' | undefined;
  readonly bytes?: number | undefined;
  readonly fromMs?: number | undefined;
  readonly toMs?: number | undefined;
  readonly note: string;
  readonly actor: string;
}

export interface Allocations {
  /** Throws `not_found` for the project, `conflict` for a closed one and for too many, `invalid_request`. */
  ask(ask: AllocationAsk): Promise<Allocation>;
  /** What was asked, or changes what was granted. Throws `not_found`, `conflict` for one that is over. */
  grant(grant: AllocationGrant): Promise<Allocation>;
  /** Of one that is asked for. Throws `not_found`, `conflict`. */
  deny(order: { readonly id: string; readonly note: string; readonly actor: string }): Promise<Allocation>;
  /** By whoever may ask: of one that nobody has answered yet. Throws `not_found`, `conflict`. */
  withdraw(order: { readonly id: string; readonly note: string; readonly actor: string }): Promise<Allocation>;
  /** Of one that is granted, at once; what is being answered is answered to its end. */
  end(order: { readonly id: string; readonly note: string; readonly actor: string }): Promise<Allocation>;
  /** Newest first. */
  list(project?: string): Promise<Allocation[]>;
  get(id: string): Promise<Allocation>;
  /** Oldest first. */
  history(id: string): Promise<AllocationEvent[]>;
}

export interface AllocationsDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'now'>;
  readonly random: Random;
  readonly audit: Audit;
}

export function createAllocations({ db, clock, random, audit }: AllocationsDeps, territory: string): Allocations {
  const one = (source: Database, id: string) =>
    source.selectFrom('allocations').selectAll().where('territory_id', '=', territory).where('id', '=', id);

  /** Changes one under its lock, and writes down that it did. */
  function act(
    id: string,
    what: AllocationAct,
    actor: string,
    note: string,
    step: (row: AllocationColumns, nowMs: number) => Partial<AllocationColumns>,
  ): Promise<Allocation> {
    checkNote(note);
    return transact(db, async (tx) => {
      const before = await locking(tx, one(tx, id)).executeTakeFirst();
      if (before === undefined) throw unknownAllocation(id);
      const nowMs = clock.now();
      const change = step(before, nowMs);
      const row = { ...before, ...change };
      await tx
        .updateTable('allocations')
        .set(change)
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .execute();
      await writeDown(tx, row, { act: what, actor, nowMs, note });
      const details = { act: what, project: row.project_id, ...grantedOf(row) };
      const action = what === 'withdrawn' ? 'askAllocation' : 'grantAllocation';
      await audit.append(tx, { territory, actor, action, subject: id, details });
      return allocationOf(row, nowMs);
    });
  }

  return {
    async ask({ project, tokens, deviceMs, bytes, fromMs, toMs, why, actor }) {
      checkAmounts({ tokens, deviceMs, bytes });
      checkNote(why);
      checkTimes(fromMs, toMs, clock.now());
      return transact(db, async (tx) => {
        const nowMs = clock.now();
        await checkProject(tx, territory, project, nowMs);
        const row: AllocationColumns = {
          id: newId('alc', random),
          territory_id: territory,
          project_id: project,
          state: 'asked',
          asked_tokens: tokens,
          asked_device_ms: deviceMs ?? 0,
          asked_bytes: bytes,
          why,
          granted_tokens: 0,
          granted_device_ms: null,
          granted_bytes: 0,
          from_ms: fromMs,
          to_ms: toMs,
          spent_tokens: 0,
          spent_device_ms: 0,
          held_tokens: 0,
          created_at_ms: nowMs,
          created_by: actor,
        };
        await tx.insertInto('allocations').values(row).execute();
        await writeDown(tx, row, { act: 'asked', actor, nowMs, note: why });
        const details = { project, tokens };
        await audit.append(tx, { territory, actor, action: 'askAllocation', subject: row.id, details });
        return allocationOf(row, nowMs);
      });
    },
    async grant({ id, tokens, deviceMs, bytes, fromMs, toMs, note, actor }) {
      const before = await one(db, id).executeTakeFirst();
      const what = before?.state === 'granted' ? 'changed' : 'granted';
      return act(id, what, actor, note, (row, nowMs) => {
        if (stateOf(row, nowMs) !== 'asked' && stateOf(row, nowMs) !== 'granted') throw isOver(row, nowMs);
        const isNew = row.state === 'asked';
        const askedMs = row.asked_device_ms === 0 ? null : row.asked_device_ms;
        const next = {
          state: 'granted' as const,
          granted_tokens: tokens ?? (isNew ? row.asked_tokens : row.granted_tokens),
          granted_device_ms: deviceMs === 'none' ? null : (deviceMs ?? (isNew ? askedMs : row.granted_device_ms)),
          granted_bytes: bytes ?? (isNew ? row.asked_bytes : row.granted_bytes),
          from_ms: fromMs ?? row.from_ms,
          to_ms: toMs ?? row.to_ms,
        };
        const { granted_tokens, granted_device_ms, granted_bytes } = next;
        checkAmounts({ tokens: granted_tokens, deviceMs: granted_device_ms ?? undefined, bytes: granted_bytes });
        checkTimes(next.from_ms, next.to_ms, nowMs);
        return next;
      });
    },
    deny: ({ id, note, actor }) =>
      act(id, 'denied', actor, note, (row, nowMs) => {
        if (row.state !== 'asked') throw isOver(row, nowMs);
        return { state: 'denied' };
      }),
    withdraw: ({ id, note, actor }) =>
      act(id, 'withdrawn', actor, note, (row, nowMs) => {
        if (row.state !== 'asked') throw isOver(row, nowMs);
        return { state: 'withdrawn' };
      }),
    end: ({ id, note, actor }) =>
      act(id, 'ended', actor, note, (row, nowMs) => {
        if (stateOf(row, nowMs) !== 'granted') throw isOver(row, nowMs);
        return { state: 'ended' };
      }),
    async list(project) {
      let query = db.selectFrom('allocations').selectAll().where('territory_id', '=', territory);
      if (project !== undefined) query = query.where('project_id', '=', project);
      const rows = await query
        .orderBy('created_at_ms', 'desc')
        .orderBy('id')
        .limit(PROJECT_LIMITS.allocationsShownMax)
        .execute();
      return rows.map((row) => allocationOf(row, clock.now()));
    },
    async get(id) {
      const row = await one(db, id).executeTakeFirst();
      if (row === undefined) throw unknownAllocation(id);
      return allocationOf(row, clock.now());
    },
    async history(id) {
      const rows = await db
        .selectFrom('allocation_history')
        .selectAll()
        .where('territory_id', '=', territory)
        .where('allocation_id', '=', id)
        .orderBy('seq')
        .execute();
      return rows.map((row) => ({
        act: row.act,
        atMs: row.at_ms,
        actor: row.actor,
        tokens: row.tokens,
        deviceMs: row.device_ms ?? undefined,
        bytes: row.bytes,
        fromMs: row.from_ms,
        toMs: row.to_ms,
        note: row.note,
      }));
    },
  };
}

/** Those of a project that is closed: what was asked is denied, what was granted ends. */
export async function endAllocations(
  tx: DatabaseTransaction,
  territory: string,
  { project, actor, nowMs }: { readonly project: string; readonly actor: string; readonly nowMs: number },
): Promise<void> {
  const open = tx
    .selectFrom('allocations')
    .selectAll()
    .where('territory_id', '=', territory)
    .where('project_id', '=', project)
    .where('state', 'in', ['asked', 'granted'])
    .orderBy('id');
  for (const row of await locking(tx, open).execute()) {
    const state = row.state === 'asked' ? 'denied' : 'ended';
    await tx
      .updateTable('allocations')
      .set({ state })
      .where('territory_id', '=', territory)
      .where('id', '=', row.id)
      .execute();
    await writeDown(tx, { ...row, state }, { act: state, actor, nowMs, note: 'the project was closed' });
  }
}

async function checkProject(tx: DatabaseTransaction, territory: string, project: string, nowMs: number): Promise<void> {
  const query = tx
    .selectFrom('projects')
    .select(['name', 'state'])
    .where('territory_id', '=', territory)
    .where('id', '=', project);
  // Locked, so that the project is not closed, and no more are asked for, at the same moment.
  const row = await locking(tx, query).executeTakeFirst();
  if (row === undefined) throw new IdlewildError('not_found', `there is no project ${project} in this territory`);
  if (row.state === 'closed') throw new IdlewildError('conflict', `the project ${row.name} is closed`);
  const open = await tx
    .selectFrom('allocations')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('territory_id', '=', territory)
    .where('project_id', '=', project)
    .where(({ eb, or, and }) =>
      or([eb('state', '=', 'asked'), and([eb('state', '=', 'granted'), eb('to_ms', '>', nowMs)])]),
    )
    .executeTakeFirstOrThrow();
  if (open.count < PROJECT_LIMITS.openAllocationsMax) return;
  throw new IdlewildError(
    'conflict',
    `the project ${row.name} has ${PROJECT_LIMITS.openAllocationsMax} allocations that run or wait already; ` +
      'wait for an answer, or have one of them changed',
  );
}

interface Deed {
  readonly act: AllocationAct;
  readonly actor: string;
  readonly nowMs: number;
  readonly note: string;
}

/** Under the lock of the allocation, whose acts are counted so. */
async function writeDown(
  tx: DatabaseTransaction,
  row: AllocationColumns,
  { act, actor, nowMs, note }: Deed,
): Promise<void> {
  const last = await tx
    .selectFrom('allocation_history')
    .select(({ fn }) => fn.max('seq').as('seq'))
    .where('territory_id', '=', row.territory_id)
    .where('allocation_id', '=', row.id)
    .executeTakeFirst();
  const wasAsked = act === 'asked';
  await tx
    .insertInto('allocation_history')
    .values({
      territory_id: row.territory_id,
      allocation_id: row.id,
      seq: (last?.seq ?? 0) + 1,
      act,
      at_ms: nowMs,
      actor,
      tokens: wasAsked ? row.asked_tokens : row.granted_tokens,
      device_ms: wasAsked ? row.asked_device_ms : row.granted_device_ms,
      bytes: wasAsked ? row.asked_bytes : row.granted_bytes,
      from_ms: row.from_ms,
      to_ms: row.to_ms,
      note,
    })
    .execute();
}
