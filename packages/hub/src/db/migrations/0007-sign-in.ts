/**
 * How people sign in: sessions, one-time links, passkeys, OpenID providers and whom they know, programs that wait for
 * approval, steps that were taken. `../schema/sign-in.ts` says what each column means. Like every migration, this file
 * is never changed once released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function signIn(db: Kysely<unknown>, columns: ColumnTypes): Promise<void> {
  await sessions(db, columns);
  await links(db, columns);
  await passkeys(db, columns);
  await providers(db, columns);
  await programs(db, columns);
}

async function sessions({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('person_sessions')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('person_id', 'text', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('via', 'text', (column) => column.notNull())
    .addColumn('label', 'text', (column) => column.notNull())
    .addColumn('signed_in_at_ms', instant, (column) => column.notNull())
    .addColumn('seen_at_ms', instant, (column) => column.notNull())
    .addColumn('expires_at_ms', instant, (column) => column.notNull())
    .addColumn('ended_at_ms', instant)
    .addUniqueConstraint('person_sessions_hash', ['territory_id', 'hash'])
    .execute();
  await schema
    .createIndex('person_sessions_by_person')
    .on('person_sessions')
    .columns(['territory_id', 'person_id'])
    .execute();
}

async function links({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('sign_in_links')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('hash', 'text', (column) => column.notNull())
    .addColumn('person_id', 'text')
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('groups_json', 'text', (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('expires_at_ms', instant, (column) => column.notNull())
    .addColumn('used_at_ms', instant)
    .addColumn('used_by', 'text')
    .addColumn('withdrawn_at_ms', instant)
    .addUniqueConstraint('sign_in_links_hash', ['territory_id', 'hash'])
    .execute();
}

async function passkeys({ schema }: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('passkeys')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('person_id', 'text', (column) => column.notNull())
    .addColumn('credential_id', 'text', (column) => column.notNull())
    .addColumn('public_key', bytes, (column) => column.notNull())
    .addColumn('counter', 'bigint', (column) => column.notNull())
    .addColumn('transports_json', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('is_synced', 'integer', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('used_at_ms', instant)
    .addUniqueConstraint('passkeys_credential', ['territory_id', 'credential_id'])
    .execute();
  await schema.createIndex('passkeys_by_person').on('passkeys').columns(['territory_id', 'person_id']).execute();
}

async function providers({ schema }: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('oidc_providers')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('issuer', 'text', (column) => column.notNull())
    .addColumn('client_id', 'text', (column) => column.notNull())
    .addColumn('client_secret', bytes)
    .addColumn('admission_json', 'text', (column) => column.notNull())
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addUniqueConstraint('oidc_providers_name', ['territory_id', 'name'])
    .execute();
  await schema
    .createTable('oidc_identities')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('provider_id', 'text', (column) => column.notNull().references('oidc_providers.id').onDelete('cascade'))
    .addColumn('subject', 'text', (column) => column.notNull())
    .addColumn('person_id', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('used_at_ms', instant)
    .addPrimaryKeyConstraint('oidc_identities_primary', ['territory_id', 'provider_id', 'subject'])
    .execute();
  await schema
    .createIndex('oidc_identities_by_person')
    .on('oidc_identities')
    .columns(['territory_id', 'person_id'])
    .execute();
}

async function programs({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('sign_in_approvals')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('hash', 'text', (column) => column.notNull())
    .addColumn('user_code', 'text', (column) => column.notNull())
    .addColumn('label', 'text', (column) => column.notNull())
    .addColumn('address', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('expires_at_ms', instant, (column) => column.notNull())
    .addColumn('person_id', 'text')
    .addColumn('is_denied', 'integer', (column) => column.notNull().defaultTo(0))
    .addPrimaryKeyConstraint('sign_in_approvals_primary', ['territory_id', 'hash'])
    .addUniqueConstraint('sign_in_approvals_code', ['territory_id', 'user_code'])
    .execute();
  await schema
    .createTable('sign_in_steps')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('expires_at_ms', instant, (column) => column.notNull())
    .addPrimaryKeyConstraint('sign_in_steps_primary', ['territory_id', 'id'])
    .execute();
}
