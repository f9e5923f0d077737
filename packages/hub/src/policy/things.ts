/**
 * Whose a device or a key is, and what policies may see of it beside its id. Held as long as the territory's version
 * stands still; what is not there is asked for again.
 */
import type { MaybePromise } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import { poolsOf } from '../people/directory.ts';
import { ACTIONS, type Action } from './actions.ts';
import { POLICY_LIMITS } from './limits.ts';
import type { Resource } from './port.ts';

export interface Things {
  /** `on` with what is known of it; at once where nothing needs to be read. */
  whole(action: Action, on: Resource, version: number): MaybePromise<Resource>;
}

export function createThings(db: Database, territory: string): Things {
  const known = new Map<string, { readonly version: number; readonly facts: Partial<Resource> }>();
  async function read(kind: 'Device' | 'Key', id: string, version: number): Promise<Partial<Resource>> {
    const facts = kind === 'Device' ? await deviceFacts(db, territory, id) : await keyFacts(db, territory, id);
    known.delete(id);
    if (facts === undefined) return {};
    known.set(id, { version, facts });
    if (known.size > POLICY_LIMITS.thingsMax) known.delete(known.keys().next().value as string);
    return facts;
  }
  return {
    whole(action, on, version) {
      const kind = ACTIONS[action];
      if (on.id === undefined || (kind !== 'Device' && kind !== 'Key')) return on;
      const entry = known.get(on.id);
      if (entry?.version === version) return { ...entry.facts, ...on };
      return read(kind, on.id, version).then((facts) => ({ ...facts, ...on }));
    },
  };
}

async function deviceFacts(db: Database, territory: string, id: string): Promise<Partial<Resource> | undefined> {
  const row = await db
    .selectFrom('devices')
    .select(['person_id', 'tier'])
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const pools = await poolsOf(db, territory, id);
  return { tier: row.tier, pools, ...(row.person_id === null ? {} : { person: row.person_id }) };
}

async function keyFacts(db: Database, territory: string, id: string): Promise<Partial<Resource> | undefined> {
  const row = await db
    .selectFrom('keys')
    .select(['person_id', 'project_id'])
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  return {
    ...(row.person_id === null ? {} : { person: row.person_id }),
    ...(row.project_id === null ? {} : { project: row.project_id }),
  };
}
