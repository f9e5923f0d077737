/**
 * Signed heads of the audit log and hashes of its Merkle tree; and a way to count acts of one kind.
 * `../schema/audit-heads.ts` says what each column means. Like every migration, this file is never changed once
 * released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function audit({ schema }: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('audit_heads')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('size', 'integer', (column) => column.notNull())
    .addColumn('root', bytes, (column) => column.notNull())
    .addColumn('epoch', 'integer', (column) => column.notNull())
    .addColumn('at_ms', instant, (column) => column.notNull())
    .addColumn('statement', bytes, (column) => column.notNull())
    .addColumn('certificate', bytes, (column) => column.notNull())
    .addPrimaryKeyConstraint('audit_heads_primary', ['territory_id', 'size'])
    .execute();
  await schema
    .createTable('audit_nodes')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('level', 'integer', (column) => column.notNull())
    .addColumn('place', 'integer', (column) => column.notNull())
    .addColumn('hash', bytes, (column) => column.notNull())
    .addPrimaryKeyConstraint('audit_nodes_primary', ['territory_id', 'level', 'place'])
    .execute();
  await schema.createIndex('audit_by_action').on('audit').columns(['territory_id', 'action', 'at_ms']).execute();
}
