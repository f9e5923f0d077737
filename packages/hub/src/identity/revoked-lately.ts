/**
 * Devices that were revoked through whichever replica are dropped by the one that has their channel, also when the bus
 * lost the word of it. A look goes back to before the last one that succeeded: a database that was out of reach for
 * long hides nobody.
 */
import { messageOf, type Clock, type Timer } from '@idlewild/protocol';
import type { OpenDatabase } from '../db/open.ts';
import type { Log } from '../log.ts';
import { FLEET_LIMITS } from '../replicas/limits.ts';
import type { LocalSessions } from '../session/sessions.ts';

/** What was being written while somebody looked is seen by a later look. */
const LATELY_MS = 60_000;
const REVOKED = 'a steward of the territory revoked this device';
const LEFT = 'this device has left the territory';

export interface RevokedDeps {
  readonly database: Pick<OpenDatabase, 'db' | 'clock'>;
  readonly clock: Pick<Clock, 'after'>;
  readonly log: Log;
}

/** Whether each of these is revoked, in their order. */
export async function areRevoked(
  { db }: Pick<OpenDatabase, 'db'>,
  territory: string,
  ids: readonly string[],
): Promise<readonly boolean[]> {
  const rows = await db
    .selectFrom('devices')
    .select('id')
    .where('territory_id', '=', territory)
    .where('revoked_at_ms', 'is not', null)
    .where('id', 'in', ids)
    .execute();
  const revoked = new Set(rows.map(({ id }) => id));
  return ids.map((id) => revoked.has(id));
}

export function watchRevoked(
  { database, clock, log }: RevokedDeps,
  territory: string,
  local: Pick<LocalSessions, 'drop' | 'count'>,
): { stop(): void } {
  let timer: Timer;
  /** When the last look that succeeded began, by the database's time. */
  let lookedAtMs = database.clock.now();
  const look = async (): Promise<void> => {
    // Nobody to drop; the next look goes back to the last one.
    if (local.count() === 0) return;
    const beganAtMs = database.clock.now();
    const rows = await database.db
      .selectFrom('devices')
      .select(['id', 'left_at_ms'])
      .where('territory_id', '=', territory)
      .where('revoked_at_ms', '>', lookedAtMs - LATELY_MS)
      .execute();
    lookedAtMs = Math.max(lookedAtMs, beganAtMs);
    for (const { id, left_at_ms: left } of rows) local.drop(id, 'device_revoked', left === null ? REVOKED : LEFT);
  };
  const round = (): void => {
    timer = clock.after(FLEET_LIMITS.revokedReadMs, round);
    look().catch((error: unknown) => log.error({ why: messageOf(error) }, 'revoked devices could not be read'));
  };
  timer = clock.after(FLEET_LIMITS.revokedReadMs, round);
  return { stop: () => timer.cancel() };
}
