/** Devices that were revoked within the last minute, through whichever replica. */
import type { OpenDatabase } from '../db/open.ts';

const LATELY_MS = 60_000;

export async function revokedLately(
  { db, clock }: Pick<OpenDatabase, 'db' | 'clock'>,
  territory: string,
): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('devices')
    .select('id')
    .where('territory_id', '=', territory)
    .where('revoked_at_ms', '>', clock.now() - LATELY_MS)
    .execute();
  return rows.map(({ id }) => id);
}
