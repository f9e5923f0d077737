/**
 * Who vouches for devices: the stewards' public keys as people of the territory told them, and for each device the last
 * chain that one of these keys signed. The hub checks chains so that it shows none in vain; what a caller believes is
 * between it and the keys that it pinned, for the hub could make up a list of its own.
 */
import {
  IdlewildError,
  LIMITS,
  VOUCH_CHAIN,
  decodeCbor,
  encodeCbor,
  equalBytes,
  idOfKey,
  inviteVouchSchema,
  openStatement,
  verifyVouch,
  type Clock,
  type Crypto,
  type DeviceTier,
  type VouchChain,
} from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import { oneAtATime } from '../db/one-at-a-time.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { touchPeople } from '../people/versions.ts';
import { TRUST_LIMITS } from './limits.ts';

export interface StewardKey {
  readonly id: string;
  readonly name: string;
  /** Ed25519. */
  readonly publicKey: Uint8Array;
  readonly addedAtMs: number;
  readonly addedBy: string;
  readonly removedAtMs?: number;
}

/** What a device is shown with. */
export interface KnownVouch {
  readonly chain: VouchChain;
  readonly steward: string;
  readonly expiresAtMs: number;
}

interface Act {
  readonly territory: string;
  readonly actor: string;
}

export interface Vouches {
  /** The same key twice is once. Throws `conflict` for one that was removed, and beyond bounds. */
  addSteward(order: Act & { readonly publicKey: Uint8Array; readonly name: string }): Promise<StewardKey>;
  /** Of what it signed nothing is shown any more. Throws `not_found`. */
  removeSteward(order: Act & { readonly id: string }): Promise<void>;
  /** Removed ones included. */
  stewards(territory: string): Promise<StewardKey[]>;
  /**
   * Keeps a chain for a device, in the place of the one before. Throws `not_found`, and what `verifyVouch` throws for a
   * chain that no listed steward signed for it.
   */
  put(order: Act & { readonly device: string; readonly chain: VouchChain }): Promise<KnownVouch>;
  /** The same inside the caller's transaction. */
  putIn(
    transaction: DatabaseTransaction,
    order: Act & { readonly device: string; readonly chain: VouchChain },
  ): Promise<KnownVouch>;
  /** Throws `signature_invalid` for an invite that no listed steward signed, of another tier, or for too long. */
  checkInvite(transaction: DatabaseTransaction, territory: string, vouch: Uint8Array, tier: DeviceTier): Promise<void>;
  /** Those of these devices for whom somebody vouches now. */
  of(territory: string, devices: readonly string[]): Promise<ReadonlyMap<string, KnownVouch>>;
}

export interface VouchesDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly clock: Pick<Clock, 'now'>;
  readonly audit: Audit;
  /** Key of the territory. */
  readonly territoryKey: Uint8Array;
}

/** Ids of one statement; SQLite takes 32,766 variables. */
const IDS_MAX = 1_000;

export function createVouches({ db, crypto, clock, audit, territoryKey }: VouchesDeps): Vouches {
  async function keyRows(source: Database, territory: string) {
    return source
      .selectFrom('steward_keys')
      .selectAll()
      .where('territory_id', '=', territory)
      .orderBy('added_at_ms')
      .orderBy('id')
      .execute();
  }

  const listedKeys = async (source: Database, territory: string): Promise<Uint8Array[]> =>
    (await keyRows(source, territory)).filter((row) => row.removed_at_ms === null).map((row) => row.public_key);

  async function putIn(
    transaction: DatabaseTransaction,
    { territory, actor, device, chain }: Act & { readonly device: string; readonly chain: VouchChain },
  ): Promise<KnownVouch> {
    const row = await deviceRow(transaction, territory, device);
    const stewards = await listedKeys(transaction, territory);
    const expected = { stewards, territory: territoryKey, device: row.public_key, nowMs: clock.now() };
    const vouched = await verifyVouch(chain, expected, crypto);
    const { tier, issuedAtMs, expiresAtMs } = vouched;
    const steward = await idOfKey('stk', vouched.steward, crypto);
    const carried = encodeCbor([...chain]);
    const said = { steward_id: steward, chain: carried, issued_at_ms: issuedAtMs, expires_at_ms: expiresAtMs };
    await transaction
      .insertInto('device_vouches')
      .values({ territory_id: territory, device_id: device, ...said })
      .onConflict((on) => on.columns(['territory_id', 'device_id']).doUpdateSet(said))
      .execute();
    await touchPeople(transaction, territory);
    const details = { name: row.name, steward, tier, expiresAtMs };
    await audit.append(transaction, { territory, actor, action: 'vouchDevice', subject: device, details });
    return { chain, steward, expiresAtMs };
  }

  return {
    async addSteward({ territory, actor, publicKey, name }) {
      const id = await idOfKey('stk', publicKey, crypto);
      return transact(db, async (transaction) => {
        await oneAtATime(transaction, `steward keys ${territory}`);
        const rows = await keyRows(transaction, territory);
        const known = rows.find((row) => row.id === id);
        if (known !== undefined && known.removed_at_ms === null) return stewardOf(known);
        if (known !== undefined)
          throw new IdlewildError('conflict', `the key ${id} was removed, and does not come back; make another`);
        if (rows.length >= TRUST_LIMITS.stewardKeysMax)
          throw new IdlewildError('conflict', `there are ${rows.length} stewards' keys, and there can be no more`);
        const row = {
          id,
          territory_id: territory,
          public_key: publicKey,
          name,
          added_at_ms: clock.now(),
          added_by: actor,
          removed_at_ms: null,
        };
        await transaction.insertInto('steward_keys').values(row).execute();
        await audit.append(transaction, { territory, actor, action: 'addSteward', subject: id, details: { name } });
        return stewardOf(row);
      });
    },
    async removeSteward({ territory, actor, id }) {
      await transact(db, async (transaction) => {
        const row = (await keyRows(transaction, territory)).find((each) => each.id === id);
        if (row === undefined)
          throw new IdlewildError('not_found', `there is no steward's key ${id} in this territory`);
        if (row.removed_at_ms !== null) return;
        await transaction
          .updateTable('steward_keys')
          .set({ removed_at_ms: clock.now() })
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .execute();
        await touchPeople(transaction, territory);
        const details = { name: row.name, is: 'removed' };
        await audit.append(transaction, { territory, actor, action: 'addSteward', subject: id, details });
      });
    },
    async stewards(territory) {
      return (await keyRows(db, territory)).map(stewardOf);
    },
    put: (order) => transact(db, (transaction) => putIn(transaction, order)),
    putIn,
    async checkInvite(transaction, territory, vouch, tier) {
      const refuse = (why: string): IdlewildError =>
        new IdlewildError('signature_invalid', `the steward's word for the invite does not count: ${why}`);
      const { statement, key } = await openStatement('invite-vouch', vouch, inviteVouchSchema, crypto);
      const stewards = await listedKeys(transaction, territory);
      if (!stewards.some((listed) => equalBytes(listed, key))) throw refuse('no steward of the list signed it');
      if (!equalBytes(statement.territory, territoryKey)) throw refuse('it is of another territory');
      if (statement.tier !== tier) throw refuse(`it says ${statement.tier}, and the invite ${tier}`);
      const { issuedAtMs, expiresAtMs } = statement;
      if (expiresAtMs - issuedAtMs > LIMITS.vouchMsMax || expiresAtMs <= clock.now()) throw refuse('its time is wrong');
    },
    async of(territory, devices) {
      const known = new Map<string, KnownVouch>();
      for (let from = 0; from < devices.length; from += IDS_MAX) {
        const rows = await db
          .selectFrom('device_vouches as vouch')
          .innerJoin('steward_keys as steward', (join) =>
            join.onRef('steward.territory_id', '=', 'vouch.territory_id').onRef('steward.id', '=', 'vouch.steward_id'),
          )
          .innerJoin('devices as device', (join) =>
            join.onRef('device.territory_id', '=', 'vouch.territory_id').onRef('device.id', '=', 'vouch.device_id'),
          )
          .select(['vouch.device_id', 'vouch.chain', 'vouch.steward_id', 'vouch.expires_at_ms'])
          .where('vouch.territory_id', '=', territory)
          .where('vouch.device_id', 'in', devices.slice(from, from + IDS_MAX))
          .where('vouch.expires_at_ms', '>', clock.now())
          .where('steward.removed_at_ms', 'is', null)
          .where('device.revoked_at_ms', 'is', null)
          .execute();
        for (const row of rows) {
          const { device_id: device, steward_id: steward, expires_at_ms: expiresAtMs } = row;
          known.set(device, { chain: chainOf(row.chain), steward, expiresAtMs });
        }
      }
      return known;
    },
  };
}

/** As it was written here. */
const chainOf = (carried: Uint8Array): VouchChain =>
  (decodeCbor(carried, 'a chain') as Uint8Array[]).slice(0, VOUCH_CHAIN.statementsMax);

async function deviceRow(transaction: DatabaseTransaction, territory: string, id: string) {
  const row = await transaction
    .selectFrom('devices')
    .select(['name', 'public_key'])
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .where('revoked_at_ms', 'is', null)
    .executeTakeFirst();
  if (row === undefined) throw new IdlewildError('not_found', `there is no device ${id} in this territory`);
  return row;
}

interface KeyRow {
  readonly id: string;
  readonly name: string;
  readonly public_key: Uint8Array;
  readonly added_at_ms: number;
  readonly added_by: string;
  readonly removed_at_ms: number | null;
}

const stewardOf = (row: KeyRow): StewardKey => ({
  id: row.id,
  name: row.name,
  publicKey: row.public_key,
  addedAtMs: row.added_at_ms,
  addedBy: row.added_by,
  ...(row.removed_at_ms === null ? {} : { removedAtMs: row.removed_at_ms }),
});
