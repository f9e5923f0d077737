/**
 * A passkey in a further community: of somebody who joins there as herself, or who is signed in to several in one
 * browser while she adds it.
 *
 * Each community has a row of its own, which goes when she goes, and which it may remove. What the authenticator counts
 * is one number for all of them, so a copy is noticed wherever it comes.
 */
import { IdlewildError, newId, type Random } from '@idlewild/protocol';
import type { Selectable } from 'kysely';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { Passkeys } from '../db/schema/sign-in.ts';
import { communitiesOf } from '../people/communities.ts';
import type { Speaker } from '../people/proved.ts';
import { SIGN_IN_LIMITS } from './limits.ts';

type Row = Selectable<Passkeys>;

/** The passkey of a session elsewhere, from now on one of `territory`; its id there. */
export async function bringPasskey(
  transaction: DatabaseTransaction,
  random: Random,
  { territory, from }: { readonly territory: string; readonly from: Speaker },
): Promise<string | undefined> {
  if (from.passkey === undefined) return undefined;
  const row = await transaction
    .selectFrom('passkeys')
    .selectAll()
    .where('territory_id', '=', from.territory)
    .where('id', '=', from.passkey)
    .where('person_id', '=', from.person)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  return copyPasskey(transaction, random, row, { territory, isOwn: from.isOwn });
}

/** Its id there. Throws `conflict` where it is known, or there are too many. */
export async function copyPasskey(
  transaction: DatabaseTransaction,
  random: Random,
  row: Row,
  { territory, isOwn }: { readonly territory: string; readonly isOwn: boolean },
): Promise<string> {
  const { count } = await transaction
    .selectFrom('passkeys')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('territory_id', '=', territory)
    .where('person_id', '=', row.person_id)
    .executeTakeFirstOrThrow();
  if (count >= SIGN_IN_LIMITS.passkeysPerPerson)
    throw new IdlewildError('conflict', `you have ${count} passkeys in the other community; remove one there first`);
  const id = newId('pky', random);
  const made_in = row.made_in ?? row.territory_id;
  const copy = { ...row, id, territory_id: territory, is_own: isOwn ? 1 : 0, made_in, used_at_ms: null } as const;
  const added = await transaction
    .insertInto('passkeys')
    .values(copy)
    .onConflict((conflict) => conflict.columns(['territory_id', 'credential_id']).doNothing())
    .returning('id')
    .execute();
  if (added.length === 0)
    throw new IdlewildError(
      'conflict',
      'this passkey is known in the other community already, as somebody’s; use another',
    );
  return id;
}

/** Where the same passkey is in other communities, it counts on from here. */
export async function shareCounter(transaction: Database, row: Row, counter: number): Promise<void> {
  if (counter === 0) return;
  const others = (await communitiesOf(transaction, row.person_id)).filter(({ id }) => id !== row.territory_id);
  if (others.length === 0) return;
  await transaction
    .updateTable('passkeys')
    .set({ counter })
    .where(
      'territory_id',
      'in',
      others.map(({ id }) => id),
    )
    .where('person_id', '=', row.person_id)
    .where('credential_id', '=', row.credential_id)
    .where('public_key', '=', row.public_key)
    .where('counter', '<', counter)
    .execute();
}
