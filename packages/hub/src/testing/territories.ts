/** Territories as rows, for tests of rooms that are given one and ask nothing of it. */
import type { Database } from '../db/schema.ts';

/** Each is called what its id is, and may be there already. */
export async function addTerritories(db: Database, ...ids: readonly string[]): Promise<void> {
  const rows = ids.map((id) => ({ id, name: id, public_key: new Uint8Array(32), created_at_ms: 0 }));
  await db
    .insertInto('territories')
    .values(rows)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}
