/**
 * Pools by their devices, and kept answers by when they end, each within a territory: it is how they are looked for.
 * Without, the pools of one device were found among all pools, and SQLite read every kept answer to find the old ones.
 * Hubs of before may work beside. Like every migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';

export async function byDeviceAndExpiry({ schema }: Kysely<unknown>): Promise<void> {
  await schema
    .createIndex('device_pools_of_device')
    .on('device_pools')
    .columns(['territory_id', 'device_id', 'pool'])
    .execute();
  await schema
    .createIndex('kept_answers_of_territory')
    .on('kept_answers')
    .columns(['territory_id', 'expires_at_ms'])
    .execute();
}
