/**
 * What stewards say of devices: how far each is trusted, whose it is, and in which pools. The only way to any of it;
 * what a device says of itself is nowhere read here.
 *
 * Each change counts a version of the territory's people, so that every replica knows within a second, and is in the
 * audit log with what was before.
 */
import { IdlewildError, type DeviceTier } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { groupName } from '../people/names.ts';
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
  /** Twice is once. Throws `not_found`, `invalid_request` for no name of a pool, `conflict` beyond bounds. */
  addToPool(order: OnDevice & { readonly pool: string }): Promise<void>;
  /** Throws `not_found` also for one that is not in it. */
  removeFromPool(order: OnDevice & { readonly pool: string }): Promise<void>;
  /** Names of its pools, of each device that is in one. */
  pools(territory: string): Promise<ReadonlyMap<string, readonly string[]>>;
}

export function createDeviceTrust({ db, audit }: { readonly db: Database; readonly audit: Audit }): DeviceTrust {
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
