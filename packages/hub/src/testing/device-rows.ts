/** Devices as rows, for tests that ask whose they are and never speak with one. */
import type { Database } from '../db/schema.ts';

export interface DeviceRow {
  readonly id: string;
  readonly territory: string;
  readonly person: string | null;
  /** Its id, if nothing else is said. */
  readonly name?: string;
  /** One that says nothing, if none is given; a community has each once. */
  readonly key?: Uint8Array;
}

export async function addDevice(db: Database, { id, territory, person, name = id, key }: DeviceRow): Promise<void> {
  await db
    .insertInto('devices')
    .values({
      id,
      territory_id: territory,
      person_id: person,
      name,
      public_key: key ?? new Uint8Array(32),
      enrolled_at_ms: 0,
      last_seen_at_ms: 0,
      revoked_at_ms: null,
      consent: new Uint8Array(1),
      profile_json: '{}',
    })
    .execute();
}
