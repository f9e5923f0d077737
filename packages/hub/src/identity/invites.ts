/**
 * Invites: secrets that let devices enrol, a set number of times until a set moment.
 *
 * The hub keeps the SHA-256 of a join token only. A use is counted in the transaction that enrols the device: however
 * many devices redeem at once, no more of them get in than the invite says, and a device that is enrolled already, for
 * instance because it never heard the answer, uses nothing up.
 */
import {
  IdlewildError,
  hex,
  joinTokenOf,
  newId,
  utf8,
  type Clock,
  type Crypto,
  type DeviceTier,
  type Random,
} from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import { oneAtATime } from '../db/one-at-a-time.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { Admission, Device, Devices, NewDevice } from './devices.ts';
import { turnOf } from '../people/granting.ts';
import { putInvited, requirePool } from '../trust/invited.ts';
import { readmit } from './leaving.ts';
import type { Vouches } from '../trust/vouches.ts';

const SECRET_BYTES = 16;

export interface InviteOrder {
  readonly territory: string;
  /** How many devices may join with it. */
  readonly uses: number;
  readonly expiresInMs: number;
  /** Id of the key that makes it. */
  readonly createdBy: string;
  /** What the devices become that join with it; absent: of a member. */
  readonly tier?: DeviceTier | undefined;
  /** Whose they are then. */
  readonly person?: string | undefined;
  /** Name of the pool into which they are put; throws `not_found` for one that is not there, or `forbidden`. */
  readonly pool?: string | undefined;
  /** Made elsewhere, where a steward signed for it: the hub never has the secret. */
  readonly vouched?: VouchedInvite | undefined;
}

export interface VouchedInvite {
  /** SHA-256 of the join token, in hex. */
  readonly tokenHash: string;
  /** A Signed `invite-vouch` statement. */
  readonly vouch: Uint8Array;
}

export interface NewInvite {
  readonly id: string;
  /** Goes into `encodeInvite`; nobody can read it back later. Of one that was made elsewhere the hub has none. */
  readonly secret: Uint8Array;
  readonly expiresAtMs: number;
}

export interface Invites {
  create(order: InviteOrder): Promise<NewInvite>;
  /**
   * Enrols `device`, or returns it as it is when it is enrolled and has not left. `joinToken`: what `joinTokenOf` made.
   * Throws `join_token_invalid` (unknown, used up, expired) or `device_revoked`.
   */
  redeem(territory: string, joinToken: string, device: NewDevice): Promise<Device>;
}

export interface InvitesDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
  readonly devices: Devices;
  /** Absent: none can be vouched for. */
  readonly vouches?: Pick<Vouches, 'checkInvite' | 'putIn'>;
}

export function createInvites({ db, crypto, random, clock, audit, devices, vouches }: InvitesDeps): Invites {
  const hashOf = async (joinToken: string): Promise<string> => hex(await crypto.sha256(utf8(joinToken)));

  function vouchesFor(): Pick<Vouches, 'checkInvite' | 'putIn'> {
    if (vouches === undefined) throw new IdlewildError('internal', 'nobody here can look at what stewards signed');
    return vouches;
  }

  /** Counts one use. */
  async function use(transaction: DatabaseTransaction, territory: string, joinToken: string): Promise<Admission> {
    const hash = await hashOf(joinToken);
    const invite = await transaction
      .selectFrom('invites')
      .select(['id', 'uses_left', 'expires_at_ms', 'tier', 'person_id', 'vouch'])
      .where('territory_id', '=', territory)
      .where('hash', '=', hash)
      .executeTakeFirst();
    const refuse = (reason: 'unknown' | 'expired' | 'used', why: string): IdlewildError =>
      new IdlewildError('join_token_invalid', `the join token ${why}; ask a steward for a new invite`, {
        details: { reason, ...(invite === undefined ? {} : { invite: invite.id }) },
      });
    if (invite === undefined) throw refuse('unknown', 'is unknown here');
    if (clock.now() >= invite.expires_at_ms)
      throw refuse('expired', `expired at ${new Date(invite.expires_at_ms).toISOString()}`);
    // The condition is part of the update: on a database with many writers, reading first would not be enough.
    const used = await transaction
      .updateTable('invites')
      .set((row) => ({ uses_left: row('uses_left', '-', 1) }))
      .where('territory_id', '=', territory)
      .where('id', '=', invite.id)
      .where('uses_left', '>', 0)
      .returning('id')
      .execute();
    if (used.length === 0) throw refuse('used', 'has been used up');
    return {
      invite: invite.id,
      tier: invite.tier,
      person: invite.person_id ?? undefined,
      vouch: invite.vouch ?? undefined,
    };
  }

  async function poolOf(
    transaction: DatabaseTransaction,
    territory: string,
    joinToken: string,
  ): Promise<{ readonly pool: string; readonly maker: string } | undefined> {
    const invite = await transaction
      .selectFrom('invites')
      .select(['pool', 'created_by'])
      .where('territory_id', '=', territory)
      .where('hash', '=', await hashOf(joinToken))
      .executeTakeFirst();
    return invite === undefined || invite.pool === null ? undefined : { pool: invite.pool, maker: invite.created_by };
  }

  return {
    async create({ territory, uses, expiresInMs, createdBy, tier = 'member', person, pool, vouched }) {
      const id = newId('inv', random);
      const secret = random.bytes(SECRET_BYTES);
      const nowMs = clock.now();
      const expiresAtMs = nowMs + expiresInMs;
      const hash = vouched?.tokenHash ?? (await hashOf(joinTokenOf(secret)));
      await db.transaction().execute(async (transaction) => {
        if (pool !== undefined) {
          await turnOf(transaction, territory);
          await requirePool(transaction, { place: { territory, nowMs }, maker: createdBy, pool });
        }
        if (vouched !== undefined) await vouchesFor().checkInvite(transaction, territory, vouched.vouch, tier);
        await transaction
          .insertInto('invites')
          .values({
            id,
            territory_id: territory,
            hash,
            uses_left: uses,
            expires_at_ms: expiresAtMs,
            created_by: createdBy,
            created_at_ms: nowMs,
            tier,
            person_id: person ?? null,
            vouch: vouched?.vouch ?? null,
            pool: pool ?? null,
          })
          .execute();
        const named = { ...(person === undefined ? {} : { person }), ...(pool === undefined ? {} : { pool }) };
        const details = { uses, expiresAtMs, tier, ...named };
        await audit.append(transaction, { territory, actor: createdBy, action: 'createInvite', subject: id, details });
      });
      return { id, secret, expiresAtMs };
    },
    async redeem(territory, joinToken, device) {
      return db.transaction().execute(async (transaction) => {
        const named = await poolOf(transaction, territory, joinToken);
        // Whoever changes rights takes this turn first of all.
        if (named !== undefined) await turnOf(transaction, territory);
        // Two of one device at the same time use the token once.
        await oneAtATime(transaction, `device ${territory} ${hex(device.publicKey)}`);
        const known = await devices.findByKey(territory, device.publicKey, transaction);
        if (known !== undefined && known.leftAtMs === undefined) return admitted(known);
        const by = await use(transaction, territory, joinToken);
        const admittedNow =
          known === undefined
            ? await devices.enrol(transaction, territory, device, by)
            : await readmit(transaction, { clock, audit }, known, device, by);
        if (by.vouch !== undefined && device.byInvite !== undefined) {
          const chain = [by.vouch, device.byInvite];
          await vouchesFor().putIn(transaction, { territory, device: admittedNow.id, chain, actor: by.invite });
        }
        if (named !== undefined) {
          const place = { territory, nowMs: clock.now() };
          await putInvited(transaction, audit, { place, ...named, device: admittedNow, invite: by.invite });
        }
        return admittedNow;
      });
    },
  };
}

/** `device`, unless it was revoked: then throws `device_revoked`. */
export function admitted(device: Device): Device {
  if (device.revokedAtMs === undefined) return device;
  const when = new Date(device.revokedAtMs).toISOString();
  throw new IdlewildError('device_revoked', `the device ${device.id} was revoked by a steward at ${when}`);
}
