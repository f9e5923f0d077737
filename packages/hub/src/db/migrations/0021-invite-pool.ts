/**
 * Into which pool the devices go that join with an invite. A hub of before would let them join without, so it may not
 * work beside. Like every migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';

export async function invitePool({ schema }: Kysely<unknown>): Promise<void> {
  await schema.alterTable('invites').addColumn('pool', 'text').execute();
}
