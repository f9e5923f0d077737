/**
 * What a steward signed of each version of the rules of use. `../schema/use.ts` says what the column means. A hub of
 * before would let sealed prompts past the rules, so it may not work beside. Like every migration, this file is never
 * changed once released.
 */
import type { Kysely } from 'kysely';

export async function signedUse({ schema }: Kysely<unknown>): Promise<void> {
  await schema.alterTable('use_rules').addColumn('signed', 'text').execute();
}
