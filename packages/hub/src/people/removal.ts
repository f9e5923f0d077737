/**
 * Everything that goes with a member who is removed: her sessions and every way to sign in, her own keys, bindings and
 * memberships of groups, and her devices.
 *
 * Devices are handed back: a device is lent by a member, and what nobody of the territory answers for sees none of its
 * prompts. They count as having left, so that an invite lets the same device in again. What she did stays in the audit
 * log under her id; her name stays nowhere, unless another territory of this hub knows her.
 */
import type { Audit } from '../audit/audit.ts';
import type { DatabaseTransaction } from '../db/schema.ts';
import { touchPeople } from './versions.ts';

export interface Removed {
  readonly name: string;
  /** Ids of devices that were handed back: whoever holds their channels drops them. */
  readonly devices: readonly string[];
  /** How many of her own keys were revoked. */
  readonly keys: number;
}

export async function removeMember(
  transaction: DatabaseTransaction,
  { audit, nowMs }: { readonly audit: Audit; readonly nowMs: number },
  { territory, id, actor }: { readonly territory: string; readonly id: string; readonly actor: string },
  name: string,
): Promise<Removed> {
  await removeWaysIn(transaction, territory, id, nowMs);
  const keys = await transaction
    .updateTable('keys')
    .set({ revoked_at_ms: nowMs })
    .where('territory_id', '=', territory)
    .where('person_id', '=', id)
    .where('revoked_at_ms', 'is', null)
    .returning('id')
    .execute();
  const devices = await handBack(transaction, territory, id, nowMs);
  await removeRights(transaction, territory, id);
  await touchPeople(transaction, territory);
  const details = { name, keys: keys.length, devices: devices.length };
  await audit.append(transaction, { territory, actor, action: 'removeMember', subject: id, details });
  return { name, devices, keys: keys.length };
}

async function removeWaysIn(
  transaction: DatabaseTransaction,
  territory: string,
  id: string,
  nowMs: number,
): Promise<void> {
  await transaction
    .updateTable('person_sessions')
    .set({ ended_at_ms: nowMs })
    .where('territory_id', '=', territory)
    .where('person_id', '=', id)
    .where('ended_at_ms', 'is', null)
    .execute();
  // What stays says no more whose machine it was.
  await transaction
    .updateTable('person_sessions')
    .set({ label: '' })
    .where('territory_id', '=', territory)
    .where('person_id', '=', id)
    .execute();
  await transaction
    .updateTable('sign_in_links')
    .set({ withdrawn_at_ms: nowMs })
    .where('territory_id', '=', territory)
    .where((row) => row.or([row('person_id', '=', id), row('created_by', '=', id)]))
    .where('used_at_ms', 'is', null)
    .where('withdrawn_at_ms', 'is', null)
    .execute();
  for (const table of ['passkeys', 'oidc_identities', 'sign_in_approvals'] as const) {
    await transaction.deleteFrom(table).where('territory_id', '=', territory).where('person_id', '=', id).execute();
  }
}

async function handBack(
  transaction: DatabaseTransaction,
  territory: string,
  id: string,
  nowMs: number,
): Promise<string[]> {
  const rows = await transaction
    .updateTable('devices')
    .set({ revoked_at_ms: nowMs, left_at_ms: nowMs, person_id: null })
    .where('territory_id', '=', territory)
    .where('person_id', '=', id)
    .where('revoked_at_ms', 'is', null)
    .returning('id')
    .execute();
  // What she could still let in.
  await transaction
    .updateTable('invites')
    .set({ uses_left: 0 })
    .where('territory_id', '=', territory)
    .where((row) => row.or([row('person_id', '=', id), row('created_by', '=', id)]))
    .execute();
  return rows.map((row) => row.id).sort();
}

async function removeRights(transaction: DatabaseTransaction, territory: string, id: string): Promise<void> {
  await transaction
    .deleteFrom('bindings')
    .where('territory_id', '=', territory)
    .where('subject_kind', '=', 'person')
    .where('subject_id', '=', id)
    .execute();
  for (const table of ['group_members', 'members'] as const) {
    await transaction.deleteFrom(table).where('territory_id', '=', territory).where('person_id', '=', id).execute();
  }
  // Of the whole hub: only where no other territory has her as a member.
  await transaction
    .deleteFrom('people')
    .where('id', '=', id)
    .where((row) =>
      row.not(
        row.exists(row.selectFrom('members').select('person_id').whereRef('members.person_id', '=', 'people.id')),
      ),
    )
    .execute();
}
