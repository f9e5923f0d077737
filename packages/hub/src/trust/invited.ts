/**
 * Pools that an invite names: held to the rules of pools when it is made, and again when a device joins with it.
 *
 * A pool is there as long as a device is in it or a role is bound to it. Where it has gone meanwhile, or its maker may
 * not put a device into it any more, the device joins without, and the audit log says why.
 */
import { IdlewildError, codeOf } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { DatabaseTransaction } from '../db/schema.ts';
import { TERRITORY, type Place } from '../people/standing.ts';
import { touchPeople } from '../people/versions.ts';
import { requireHeld } from './device-trust.ts';
import { TRUST_LIMITS } from './limits.ts';

interface Named {
  readonly place: Place;
  /** Whose invite it is: a person or key. */
  readonly maker: string;
  readonly pool: string;
}

/** Throws `not_found` for a pool that is not there, `forbidden` where somebody has more on it than the maker. */
export async function requirePool(transaction: DatabaseTransaction, { place, maker, pool }: Named): Promise<void> {
  if (!(await isThere(transaction, place.territory, pool)))
    throw new IdlewildError(
      'not_found',
      `there is no pool "${pool}": put a first device into it (idlewild devices pool add), or bind a role to it ` +
        '(idlewild roles bind --pool)',
    );
  await requireHeld(transaction, place, maker, [TERRITORY], pool, `put whoever joins into the pool ${pool}`);
}

export interface Joining extends Named {
  readonly device: { readonly id: string; readonly name: string };
  readonly invite: string;
}

/** Last of all that is done to a device that joins: it has the turn of the territory's people. */
export async function putInvited(transaction: DatabaseTransaction, audit: Audit, joining: Joining): Promise<void> {
  const { place, pool, device, invite } = joining;
  const { territory } = place;
  const why = await whyNot(transaction, joining);
  if (why === undefined) {
    await transaction
      .insertInto('device_pools')
      .values({ territory_id: territory, pool, device_id: device.id })
      .onConflict((on) => on.doNothing())
      .execute();
    await touchPeople(transaction, territory);
  }
  const details = { name: device.name, pool, ...(why === undefined ? { is: 'in' } : { is: 'left out', reason: why }) };
  await audit.append(transaction, { territory, actor: invite, action: 'poolDevice', subject: device.id, details });
}

async function whyNot(transaction: DatabaseTransaction, joining: Joining): Promise<string | undefined> {
  const { place, pool, device } = joining;
  if (!(await isThere(transaction, place.territory, pool))) return 'the pool is gone';
  const rows = await transaction
    .selectFrom('device_pools')
    .select('pool')
    .where('territory_id', '=', place.territory)
    .where('device_id', '=', device.id)
    .execute();
  if (rows.length >= TRUST_LIMITS.poolsOfDeviceMax) return 'the device is in as many pools as it may be';
  try {
    await requirePool(transaction, joining);
    return undefined;
  } catch (error) {
    if (codeOf(error) !== 'forbidden') throw error;
    return 'whoever made the invite may not any more';
  }
}

async function isThere(transaction: DatabaseTransaction, territory: string, pool: string): Promise<boolean> {
  const device = await transaction
    .selectFrom('device_pools')
    .select('pool')
    .where('territory_id', '=', territory)
    .where('pool', '=', pool)
    .limit(1)
    .executeTakeFirst();
  if (device !== undefined) return true;
  const binding = await transaction
    .selectFrom('bindings')
    .select('id')
    .where('territory_id', '=', territory)
    .where('scope_kind', '=', 'pool')
    .where('scope_id', '=', pool)
    .limit(1)
    .executeTakeFirst();
  return binding !== undefined;
}
