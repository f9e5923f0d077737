/**
 * How a device goes for good, by its lender's wish, and how it may come back.
 *
 *   enrolled ──leave──► left ──a new invite──► enrolled
 *
 * A device that left counts as revoked in everything that asks whether it may be here; that it left is written down
 * beside, because its lender may change their mind, and a steward's revocation is not the lender's to undo. Leaving
 * twice is once: who did not hear the answer asks again and is told the same.
 */
import { IdlewildError, type Clock } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import type { Admission, Device, NewDevice } from './devices.ts';

/** What the hub can say of a device at its leaving. */
export interface Left {
  readonly atMs: number;
  /** Answers that it finished, and the tokens of these answers. */
  readonly answers: number;
  readonly tokens: number;
}

export interface LeavingDeps {
  readonly db: Database;
  readonly clock: Clock;
  readonly audit: Audit;
}

/**
 * Resolves once it is committed. `actor`: its lender; absent: the device itself. Throws `device_revoked` for one that a
 * steward revoked, `not_found`.
 */
export async function leave(
  { db, clock, audit }: LeavingDeps,
  { territory, id, actor = id }: { readonly territory: string; readonly id: string; readonly actor?: string },
): Promise<Left> {
  const atMs = await transact(db, async (transaction) => {
    const now = clock.now();
    const gone = await transaction
      .updateTable('devices')
      .set({ revoked_at_ms: now, left_at_ms: now })
      .where('territory_id', '=', territory)
      .where('id', '=', id)
      .where('revoked_at_ms', 'is', null)
      .returning('name')
      .executeTakeFirst();
    if (gone !== undefined) {
      const details = { name: gone.name };
      await audit.append(transaction, { territory, actor, action: 'leaveDevice', subject: id, details });
      return now;
    }
    const known = await transaction
      .selectFrom('devices')
      .select('left_at_ms')
      .where('territory_id', '=', territory)
      .where('id', '=', id)
      .executeTakeFirst();
    if (known === undefined) throw new IdlewildError('not_found', `there is no device ${id} in this territory`);
    if (known.left_at_ms !== null) return known.left_at_ms;
    throw new IdlewildError('device_revoked', `a steward revoked the device ${id} before it left`);
  });
  return { atMs, ...(await given(db, territory, id)) };
}

/** What a device gave, by the receipts that the hub accepted. */
export async function given(db: Database, territory: string, id: string): Promise<Omit<Left, 'atMs'>> {
  const counted = await db
    .selectFrom('receipts')
    .innerJoin('requests', (join) =>
      join
        .onRef('requests.id', '=', 'receipts.request_id')
        .onRef('requests.territory_id', '=', 'receipts.territory_id'),
    )
    .select((row) => [row.fn.countAll().as('answers'), row.fn.sum('requests.answer_tokens').as('tokens')])
    .where('receipts.territory_id', '=', territory)
    .where('receipts.device_id', '=', id)
    .executeTakeFirst();
  // Sums and counts come as text from PostgreSQL, and nothing sums to null.
  return { answers: Number(counted?.answers ?? 0), tokens: Number(counted?.tokens ?? 0) };
}

/** One that left is here again, under the same id, inside the transaction that counts the use of its invite. */
export async function readmit(
  transaction: DatabaseTransaction,
  { clock, audit }: Pick<LeavingDeps, 'clock' | 'audit'>,
  known: Device,
  { name, consent, profile }: NewDevice,
  { invite: actor, tier, person }: Admission,
): Promise<Device> {
  const { territory, id } = known;
  const atMs = clock.now();
  await transaction
    .updateTable('devices')
    .set({
      name,
      consent,
      profile_json: JSON.stringify(profile),
      enrolled_at_ms: atMs,
      last_seen_at_ms: atMs,
      revoked_at_ms: null,
      left_at_ms: null,
      tier,
      person_id: person ?? null,
    })
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .execute();
  await audit.append(transaction, { territory, actor, action: 'enrolDevice', subject: id, details: { name, tier } });
  const { leftAtMs: _, revokedAtMs: __, person: ___, ...rest } = known;
  const lender = person === undefined ? {} : { person };
  return { ...rest, ...lender, tier, name, consent, profile, enrolledAtMs: atMs, lastSeenAtMs: atMs };
}
