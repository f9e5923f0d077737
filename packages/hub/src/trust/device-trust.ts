/**
 * What stewards say of devices: how far each is trusted, whose it is, and in which pools. The only way to any of it;
 * what a device says of itself is nowhere read here.
 *
 * Each change counts a version of the territory's people, so that every replica knows within a second, and is in the
 * audit log with what was before.
 */
import { IdlewildError, codeOf, type Clock, type DeviceTier } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { requireGrant, turnOf, type RoleGrant } from '../people/granting.ts';
import { groupName } from '../people/names.ts';
import { TERRITORY, type Place, type Scope } from '../people/standing.ts';
import { touchPeople } from '../people/versions.ts';
import { TRUST_LIMITS } from './limits.ts';

interface OnDevice {
  readonly territory: string;
  readonly id: string;
  readonly actor: string;
}

export interface DeviceTrust {
  /**
   * Whether anything changed. Absent: stays as it is; `person` of `null` is nobody. Throws `not_found` for a device
   * that is none here or revoked, `invalid_request` for a person who is no member.
   */
  set(order: OnDevice & { readonly tier?: DeviceTier; readonly person?: string | null }): Promise<boolean>;
  /**
   * Twice is once. Throws `not_found`, `invalid_request` for no name of a pool, `conflict` beyond bounds, `forbidden`
   * where somebody has more on the pool than the actor has on the device.
   */
  addToPool(order: OnDevice & { readonly pool: string }): Promise<void>;
  /** Throws `not_found` also for one that is not in it. */
  removeFromPool(order: OnDevice & { readonly pool: string }): Promise<void>;
  /** Names of its pools, of each device that is in one. */
  pools(territory: string): Promise<ReadonlyMap<string, readonly string[]>>;
}

export interface DeviceTrustDeps {
  readonly db: Database;
  readonly audit: Audit;
  /** The database's. */
  readonly clock: Pick<Clock, 'now'>;
}

export function createDeviceTrust({ db, audit, clock }: DeviceTrustDeps): DeviceTrust {
  return {
    async set({ territory, id, actor, tier, person }) {
      return transact(db, async (transaction) => {
        const before = await existing(transaction, territory, id);
        if (typeof person === 'string') await expectMember(transaction, territory, person);
        const after = { tier: tier ?? before.tier, person_id: person === undefined ? before.person_id : person };
        if (after.tier === before.tier && after.person_id === before.person_id) return false;
        await transaction
          .updateTable('devices')
          .set(after)
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .execute();
        await touchPeople(transaction, territory);
        const details = {
          name: before.name,
          tier: after.tier,
          tierBefore: before.tier,
          ...(after.person_id === before.person_id
            ? {}
            : { person: after.person_id ?? 'nobody', personBefore: before.person_id ?? 'nobody' }),
        };
        await audit.append(transaction, { territory, actor, action: 'tierDevice', subject: id, details });
        return true;
      });
    },
    async addToPool({ territory, id, actor, pool }) {
      const name = groupName(pool);
      await transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        const device = await existing(transaction, territory, id);
        const rows = await transaction
          .selectFrom('device_pools')
          .select('pool')
          .where('territory_id', '=', territory)
          .where('device_id', '=', id)
          .execute();
        if (rows.some((row) => row.pool === name)) return;
        if (rows.length >= TRUST_LIMITS.poolsOfDeviceMax)
          throw new IdlewildError(
            'conflict',
            `${device.name} is in ${rows.length} pools, and no device may be in more`,
          );
        const scopes = [TERRITORY, ...rows.map((row) => ({ kind: 'pool', id: row.pool }) as const)];
        const place = { territory, nowMs: clock.now() };
        await requireHeld(transaction, place, actor, scopes, name, `put ${device.name} into the pool ${name}`);
        await transaction
          .insertInto('device_pools')
          .values({ territory_id: territory, pool: name, device_id: id })
          .onConflict((on) => on.doNothing())
          .execute();
        await touchPeople(transaction, territory);
        const details = { name: device.name, pool: name, is: 'in' };
        await audit.append(transaction, { territory, actor, action: 'poolDevice', subject: id, details });
      });
    },
    async removeFromPool({ territory, id, actor, pool }) {
      await transact(db, async (transaction) => {
        const device = await existing(transaction, territory, id);
        const { numDeletedRows } = await transaction
          .deleteFrom('device_pools')
          .where('territory_id', '=', territory)
          .where('device_id', '=', id)
          .where('pool', '=', pool)
          .executeTakeFirst();
        if (numDeletedRows === 0n)
          throw new IdlewildError('not_found', `the device ${device.name} is not in a pool "${pool}"`);
        await touchPeople(transaction, territory);
        const details = { name: device.name, pool, is: 'out' };
        await audit.append(transaction, { territory, actor, action: 'poolDevice', subject: id, details });
      });
    },
    async pools(territory) {
      const rows = await db
        .selectFrom('device_pools')
        .select(['device_id', 'pool'])
        .where('territory_id', '=', territory)
        .orderBy('pool')
        .execute();
      return new Map(
        [...Map.groupBy(rows, (row) => row.device_id)].map(([device, of]) => [device, of.map(({ pool }) => pool)]),
      );
    },
  };
}

/**
 * Whoever has a role on the pool has it on the device from now on, so the actor has to hold it there: in the whole
 * territory, or on a pool in which the device is.
 */
export async function requireHeld(
  transaction: DatabaseTransaction,
  place: Place,
  actor: string,
  scopes: readonly Scope[],
  pool: string,
  how: string,
): Promise<void> {
  const bound = await transaction
    .selectFrom('bindings')
    .select(['role', 'expires_at_ms'])
    .distinct()
    .where('territory_id', '=', place.territory)
    .where('scope_kind', '=', 'pool')
    .where('scope_id', '=', pool)
    .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', place.nowMs)]))
    .execute();
  let refused: unknown;
  for (const scope of scopes) {
    const grants = bound.map((row): RoleGrant => ({ role: row.role, scope, untilMs: row.expires_at_ms }));
    try {
      return await requireGrant(transaction, place, actor, grants, how);
    } catch (error) {
      if (codeOf(error) !== 'forbidden') throw error;
      refused ??= error;
    }
  }
  throw refused;
}

async function existing(transaction: DatabaseTransaction, territory: string, id: string) {
  const row = await transaction
    .selectFrom('devices')
    .select(['name', 'tier', 'person_id'])
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .where('revoked_at_ms', 'is', null)
    .executeTakeFirst();
  if (row === undefined) throw new IdlewildError('not_found', `there is no device ${id} in this territory`);
  return row;
}

async function expectMember(transaction: DatabaseTransaction, territory: string, person: string): Promise<void> {
  const row = await transaction
    .selectFrom('members')
    .select('person_id')
    .where('territory_id', '=', territory)
    .where('person_id', '=', person)
    .executeTakeFirst();
  if (row === undefined)
    throw new IdlewildError('invalid_request', `person: ${person} is no member here, so no device can be theirs`);
}
