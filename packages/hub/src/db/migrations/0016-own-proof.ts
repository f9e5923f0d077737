/**
 * By what somebody is signed in: which passkey, and whether it is her own proof or a steward's word. What was there
 * before counts as a steward's word, for nobody knows any more. A hub of before would take every session for one's own,
 * so it may not work beside. Like every migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';

export async function ownProof({ schema }: Kysely<unknown>): Promise<void> {
  for (const table of ['person_sessions', 'sign_in_approvals']) {
    await schema.alterTable(table).addColumn('passkey_id', 'text').execute();
    await schema
      .alterTable(table)
      .addColumn('is_own', 'integer', (column) => column.notNull().defaultTo(0))
      .execute();
  }
  for (const table of ['passkeys', 'oidc_identities'])
    await schema
      .alterTable(table)
      .addColumn('is_own', 'integer', (column) => column.notNull().defaultTo(0))
      .execute();
  await schema.alterTable('passkeys').addColumn('made_in', 'text').execute();
  // Whose a session is, where only its token is known.
  await schema.createIndex('person_sessions_by_hash').on('person_sessions').column('hash').execute();
}
