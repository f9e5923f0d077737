/**
 * The devices of a territory, as the database knows them: who is enrolled, under which key, with which signed consent.
 *
 * A device's id comes from its key, so nobody can claim another's. A revoked device stays in the table: its key must be
 * recognised to be refused. Who is connected now, and what it is doing, is the session's knowledge, not this file's.
 */
import {
  IdlewildError,
  equalBytes,
  idOfKey,
  type Clock,
  type Crypto,
  type DeviceProfile,
  type DeviceTier,
} from '@idlewild/protocol';
import { sql } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction, DeviceRow } from '../db/schema.ts';
import { together } from '../db/together.ts';
import { transact } from '../db/transact.ts';

export interface Device {
  readonly id: string;
  readonly territory: string;
  readonly name: string;
  /** Ed25519. */
  readonly publicKey: Uint8Array;
  readonly enrolledAtMs: number;
  readonly lastSeenAtMs: number;
  /** By a steward, or because it left. */
  readonly revokedAtMs?: number;
  readonly leftAtMs?: number;
  /** Signed `consent` statement as the device carried it. */
  readonly consent: Uint8Array;
  readonly profile: DeviceProfile;
  /** What a steward, or the invite that let it in, said of it. */
  readonly tier: DeviceTier;
  /** Who lends it, where that is somebody known here. */
  readonly person?: string;
}

/** What an invite makes of a device, whatever the device says. */
export interface Admission {
  /** Id of the invite. */
  readonly invite: string;
  readonly tier: DeviceTier;
  readonly person: string | undefined;
  /** A Signed `invite-vouch` statement of the steward who made it. */
  readonly vouch: Uint8Array | undefined;
}

export interface NewDevice {
  /** A Signed `device-by-invite` statement, as the device carried it. */
  readonly byInvite?: Uint8Array | undefined;
  readonly publicKey: Uint8Array;
  readonly name: string;
  readonly consent: Uint8Array;
  readonly profile: DeviceProfile;
}

export interface Devices {
  /** Inside the caller's transaction. One enrolled already stays as it was. */
  enrol(transaction: DatabaseTransaction, territory: string, device: NewDevice, by: Admission): Promise<Device>;
  get(territory: string, id: string): Promise<Device | undefined>;
  /** With `transaction`, as that transaction sees it. */
  findByKey(territory: string, publicKey: Uint8Array, transaction?: DatabaseTransaction): Promise<Device | undefined>;
  /** By name, revoked ones included. */
  list(territory: string): Promise<Device[]>;
  /** Throws `not_found`; revoking twice is once. Whoever holds its channel must drop it. */
  revoke(order: { readonly territory: string; readonly id: string; readonly actor: string }): Promise<void>;
  /**
   * What a device that is known said of itself at its latest connection. Resolves once it is committed; where it said
   * nothing new, it has been seen and no more.
   */
  describe(known: Device, said: Pick<NewDevice, 'name' | 'consent' | 'profile'>): Promise<void>;
  /** Notes that a device was seen now; in memory, until `flush`. */
  touch(territory: string, id: string): void;
  /** Writes what was noted since. */
  flush(): Promise<void>;
}

export interface DevicesDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly audit: Audit;
}

export function createDevices({ db, crypto, clock, audit }: DevicesDeps): Devices {
  let seen = new Map<string, Sighting>();
  const readRow = together<Wanted, DeviceRow | undefined>(READ_MAX, (wanted) => readRows(db, wanted));
  const describe = together<Description, void>(DESCRIPTIONS_MAX, (said) => writeDescriptions(db, said));
  const touch = (territory: string, id: string): void => {
    seen.set(place(territory, id), { territory, id, atMs: clock.now() });
  };

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
    async enrol(transaction, territory, { publicKey, name, consent, profile }, { invite: actor, tier, person }) {
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
          tier,
          person_id: person ?? null,
        })
        .onConflict((on) => on.columns(['territory_id', 'id']).doNothing())
        .returning('id')
        .execute();
      if (inserted.length > 0) {
        await audit.append(transaction, {
          territory,
          actor,
          action: 'enrolDevice',
          subject: id,
          details: { name, tier },
        });
      }
      return existing(transaction, territory, id);
    },
    get: (territory, id) => readIn(db, territory, id),
    async findByKey(territory, publicKey, transaction) {
      const id = await idOfKey('dev', publicKey, crypto);
      if (transaction !== undefined) return readIn(transaction, territory, id);
      const row = await readRow({ territory, id });
      return row === undefined ? undefined : deviceOf(row, seen.get(place(territory, id))?.atMs);
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
        const { numUpdatedRows } = await transaction
          .updateTable('devices')
          .set({ revoked_at_ms: clock.now() })
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .where('revoked_at_ms', 'is', null)
          .executeTakeFirst();
        if (numUpdatedRows === 0n) return;
        const details = { name: device.name };
        await audit.append(transaction, { territory, actor, action: 'revokeDevice', subject: id, details });
      });
    },
    async describe(known, said) {
      const { territory, id } = known;
      const profileJson = JSON.stringify(said.profile);
      const isKnown =
        known.name === said.name &&
        equalBytes(known.consent, said.consent) &&
        JSON.stringify(known.profile) === profileJson;
      if (isKnown) touch(territory, id);
      else await describe({ territory, id, ...said, profileJson, atMs: clock.now() });
    },
    touch,
    async flush() {
      if (seen.size === 0) return;
      const writing = seen;
      seen = new Map();
      try {
        await writeSeen(db, [...writing.values()]);
      } catch (error) {
        // Nothing is lost: what was noted meanwhile is newer and stays on top.
        seen = new Map([...writing, ...seen]);
        throw error;
      }
    },
  };
}

interface Sighting {
  readonly territory: string;
  readonly id: string;
  readonly atMs: number;
}

/** Rows in one statement, of three values each; SQLite takes 32,766. */
const SIGHTINGS_MAX = 2_000;

/** In one statement for thousands. Another replica may have seen it later. */
async function writeSeen(db: Database, sightings: readonly Sighting[]): Promise<void> {
  const sorted = sightings.toSorted(byPlace);
  for (let from = 0; from < sorted.length; from += SIGHTINGS_MAX) {
    const some = sorted.slice(from, from + SIGHTINGS_MAX);
    const rows = some.map(
      ({ territory, id, atMs }) => sql`(cast(${territory} as text), cast(${id} as text), cast(${atMs} as bigint))`,
    );
    await transact(db, (transaction) =>
      sql`update devices set last_seen_at_ms = seen.column3 from (values ${sql.join(rows)}) as seen
        where devices.territory_id = seen.column1 and devices.id = seen.column2
          and devices.last_seen_at_ms < seen.column3`.execute(transaction),
    );
  }
}

interface Description extends Sighting {
  readonly name: string;
  readonly consent: Uint8Array;
  readonly profileJson: string;
}

/** So many that said something new share a transaction: about 50 ms of PostgreSQL. */
const DESCRIPTIONS_MAX = 128;
/** So many that are asked for at the same time are read by one statement: about 5 ms of PostgreSQL. */
const READ_MAX = 256;

interface Wanted {
  readonly territory: string;
  readonly id: string;
}

async function readRows(db: Database, wanted: readonly Wanted[]): Promise<(DeviceRow | undefined)[]> {
  const found = new Map<string, DeviceRow>();
  for (const [territory, some] of Map.groupBy(wanted, (each) => each.territory)) {
    const ids = some.map(({ id }) => id);
    const rows = db.selectFrom('devices').selectAll().where('territory_id', '=', territory).where('id', 'in', ids);
    for (const row of await rows.execute()) found.set(place(territory, row.id), row);
  }
  return wanted.map(({ territory, id }) => found.get(place(territory, id)));
}

async function writeDescriptions(db: Database, descriptions: readonly Description[]): Promise<void[]> {
  const sorted = descriptions.toSorted(byPlace);
  await transact(db, async (transaction) => {
    for (const { territory, id, name, consent, profileJson, atMs } of sorted) {
      await transaction
        .updateTable('devices')
        .set({ name, consent, profile_json: profileJson, last_seen_at_ms: atMs })
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .execute();
    }
  });
  return [];
}

/** Whoever writes many rows goes through them in this order, so that two replicas do not wait for each other. */
const byPlace = (a: Sighting, b: Sighting): number => (place(a.territory, a.id) < place(b.territory, b.id) ? -1 : 1);

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
    ...(row.left_at_ms === null ? {} : { leftAtMs: row.left_at_ms }),
    consent: row.consent,
    profile: JSON.parse(row.profile_json) as DeviceProfile,
    tier: row.tier,
    ...(row.person_id === null ? {} : { person: row.person_id }),
  };
}
