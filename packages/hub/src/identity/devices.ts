/**
 * The devices of a territory, as the database knows them: who is enrolled, under which key, with which signed consent.
 *
 * A device's id comes from its key, so nobody can claim another's. A revoked device stays in the table: its key must be
 * recognised to be refused. Who is connected now, and what it is doing, is the session's knowledge, not this file's.
 */
import { IdlewildError, idOfKey, type Clock, type Crypto, type DeviceProfile } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction, DeviceRow } from '../db/schema.ts';

export interface Device {
  readonly id: string;
  readonly territory: string;
  readonly name: string;
  /** Ed25519. */
  readonly publicKey: Uint8Array;
  readonly enrolledAtMs: number;
  readonly lastSeenAtMs: number;
  readonly revokedAtMs?: number;
  /** Signed `consent` statement as the device carried it. */
  readonly consent: Uint8Array;
  readonly profile: DeviceProfile;
}

export interface NewDevice {
  readonly publicKey: Uint8Array;
  readonly name: string;
  readonly consent: Uint8Array;
  readonly profile: DeviceProfile;
}

export interface Devices {
  /** Inside the caller's transaction; `actor` is the invite that let it in. One enrolled already stays as it was. */
  enrol(transaction: DatabaseTransaction, territory: string, device: NewDevice, actor: string): Promise<Device>;
  get(territory: string, id: string): Promise<Device | undefined>;
  /** With `transaction`, as that transaction sees it. */
  findByKey(territory: string, publicKey: Uint8Array, transaction?: DatabaseTransaction): Promise<Device | undefined>;
  /** By name, revoked ones included. */
  list(territory: string): Promise<Device[]>;
  /** Throws `not_found`; revoking twice is once. Whoever holds its channel must drop it. */
  revoke(order: { readonly territory: string; readonly id: string; readonly actor: string }): Promise<void>;
  /** What a device said of itself at its latest connection. Throws `not_found`. */
  describe(territory: string, id: string, said: Pick<NewDevice, 'name' | 'consent' | 'profile'>): Promise<void>;
  /** Notes that a device was seen now; in memory, until `flush`. */
  touch(territory: string, id: string): void;
  /** Writes what was noted since, in one transaction. */
  flush(): Promise<void>;
}

export interface DevicesDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly audit: Audit;
}

export function createDevices({ db, crypto, clock, audit }: DevicesDeps): Devices {
  let seen = new Map<string, { territory: string; id: string; atMs: number }>();

  const readIn = async (source: Database, territory: string, id: string): Promise<Device | undefined> => {
    const row = await source
      .selectFrom('devices')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('id', '=', id)
      .executeTakeFirst();
    return row === undefined ? undefined : deviceOf(row, seen.get(place(territory, id))?.atMs);
  };
  const existing = async (source: Database, territory: string, id: string): Promise<Device> => {
    const device = await readIn(source, territory, id);
    if (device === undefined) throw new IdlewildError('not_found', `there is no device ${id} in this territory`);
    return device;
  };

  return {
    async enrol(transaction, territory, { publicKey, name, consent, profile }, actor) {
      const id = await idOfKey('dev', publicKey, crypto);
      const atMs = clock.now();
      const inserted = await transaction
        .insertInto('devices')
        .values({
          id,
          territory_id: territory,
          name,
          public_key: publicKey,
          enrolled_at_ms: atMs,
          last_seen_at_ms: atMs,
          revoked_at_ms: null,
          consent,
          profile_json: JSON.stringify(profile),
        })
        .onConflict((on) => on.columns(['territory_id', 'id']).doNothing())
        .returning('id')
        .execute();
      if (inserted.length > 0) {
        await audit.append(transaction, { territory, actor, action: 'enrolDevice', subject: id, details: { name } });
      }
      return existing(transaction, territory, id);
    },
    get: (territory, id) => readIn(db, territory, id),
    async findByKey(territory, publicKey, transaction) {
      return readIn(transaction ?? db, territory, await idOfKey('dev', publicKey, crypto));
    },
    async list(territory) {
      const rows = await db
        .selectFrom('devices')
        .selectAll()
        .where('territory_id', '=', territory)
        .orderBy('name')
        .orderBy('id')
        .execute();
      return rows.map((row) => deviceOf(row, seen.get(place(territory, row.id))?.atMs));
    },
    async revoke({ territory, id, actor }) {
      await db.transaction().execute(async (transaction) => {
        const device = await existing(transaction, territory, id);
        if (device.revokedAtMs !== undefined) return;
        await transaction
          .updateTable('devices')
          .set({ revoked_at_ms: clock.now() })
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .execute();
        const details = { name: device.name };
        await audit.append(transaction, { territory, actor, action: 'revokeDevice', subject: id, details });
      });
    },
    async describe(territory, id, { name, consent, profile }) {
      const { numUpdatedRows } = await db
        .updateTable('devices')
        .set({ name, consent, profile_json: JSON.stringify(profile), last_seen_at_ms: clock.now() })
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .executeTakeFirst();
      if (numUpdatedRows === 0n) throw new IdlewildError('not_found', `there is no device ${id} in this territory`);
    },
    touch(territory, id) {
      seen.set(place(territory, id), { territory, id, atMs: clock.now() });
    },
    async flush() {
      if (seen.size === 0) return;
      const writing = seen;
      seen = new Map();
      try {
        await db.transaction().execute(async (transaction) => {
          for (const { territory, id, atMs } of writing.values()) {
            await transaction
              .updateTable('devices')
              .set({ last_seen_at_ms: atMs })
              .where('territory_id', '=', territory)
              .where('id', '=', id)
              .execute();
          }
        });
      } catch (error) {
        // Nothing is lost: what was noted meanwhile is newer and stays on top.
        seen = new Map([...writing, ...seen]);
        throw error;
      }
    },
  };
}

const place = (territory: string, id: string): string => `${territory} ${id}`;

function deviceOf(row: DeviceRow, seenAtMs = 0): Device {
  return {
    id: row.id,
    territory: row.territory_id,
    name: row.name,
    publicKey: row.public_key,
    enrolledAtMs: row.enrolled_at_ms,
    lastSeenAtMs: Math.max(row.last_seen_at_ms, seenAtMs),
    ...(row.revoked_at_ms === null ? {} : { revokedAtMs: row.revoked_at_ms }),
    consent: row.consent,
    profile: JSON.parse(row.profile_json) as DeviceProfile,
  };
}
