/**
 * How far a device is trusted and whose it is: what the database says of it, and nothing that it says itself.
 *
 * Whoever is suspended, or is no member any more, vouches for nobody: until then a device of such a person counts as
 * anybody's (`public`), whatever a steward once said of it, and as nobody's own.
 */
import type { DeviceTier } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import type { Tier } from '../policy/port.ts';

export interface Standing {
  readonly tier: DeviceTier;
  /** Who lends it, where that is somebody known here. */
  readonly person: string | undefined;
  readonly pools: readonly string[];
  /** Version of the territory's people before it was read; a later one may say otherwise. */
  readonly asOf: number;
}

/** Of what nobody has looked up yet. */
export const UNKNOWN_STANDING: Standing = { tier: 'public', person: undefined, pools: [], asOf: -1 };

/** As the one who asks sees it. */
export const tierFor = ({ tier, person }: Standing, asker: string | undefined): Tier =>
  asker !== undefined && person === asker ? 'own' : tier;

/** Ids of one statement; SQLite takes 32,766 variables. */
const IDS_MAX = 1_000;

/** What is not in the result is no device of the territory, or is revoked. */
export async function readStandings(
  db: Database,
  territory: string,
  ids: readonly string[],
  asOf: number,
): Promise<ReadonlyMap<string, Standing>> {
  const standings = new Map<string, Standing>();
  for (let from = 0; from < ids.length; from += IDS_MAX) {
    const some = ids.slice(from, from + IDS_MAX);
    const rows = await db
      .selectFrom('devices')
      .leftJoin('members', (join) =>
        join
          .onRef('members.territory_id', '=', 'devices.territory_id')
          .onRef('members.person_id', '=', 'devices.person_id'),
      )
      .select(['devices.id', 'devices.tier', 'devices.person_id', 'members.state'])
      .where('devices.territory_id', '=', territory)
      .where('devices.revoked_at_ms', 'is', null)
      .where('devices.id', 'in', some)
      .execute();
    const pools = await db
      .selectFrom('device_pools')
      .select(['pool', 'device_id'])
      .where('territory_id', '=', territory)
      .where('device_id', 'in', some)
      .orderBy('pool')
      .execute();
    const poolsOf = Map.groupBy(pools, (row) => row.device_id);
    for (const { id, tier, person_id: person, state } of rows) {
      const isStranded = person !== null && state !== 'active';
      standings.set(id, {
        tier: isStranded ? 'public' : tier,
        person: isStranded ? undefined : (person ?? undefined),
        pools: (poolsOf.get(id) ?? []).map(({ pool }) => pool),
        asOf,
      });
    }
  }
  return standings;
}
