/**
 * Requests by territory and id together, as every query asks for them: of a territory alone SQLite would rather go
 * through all that it ever had than look up a few ids. Hubs of before may work beside. Like every migration, this file
 * is never changed once released.
 */
import type { Kysely } from 'kysely';

export async function requestsOfTerritory({ schema }: Kysely<unknown>): Promise<void> {
  await schema.createIndex('requests_of_territory').unique().on('requests').columns(['territory_id', 'id']).execute();
}
