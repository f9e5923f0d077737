/**
 * Who may make and revoke keys, and with what in them: service keys of the territory, and keys that are a person's own.
 *
 * A key is a gift like any other: its role is held by who makes it, in the whole territory, for as long as the key
 * lasts, so no key makes one that may do more or lasts longer. A person's own key does what both may, so it ends with
 * her rights by itself; it is made by her, or by an own key of hers within what that key may do.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { KeyFacts, KeyOrder, Keys, NewKey, RevokeOrder } from '../identity/keys.ts';
import { actorOf, personOf, type Principal } from '../identity/principal.ts';
import { requireGrant, requirePermissions, turnOf } from './granting.ts';
import { PEOPLE_LIMITS } from './limits.ts';
import { existingRole } from './roles.ts';
import { boundTo, groupsOf, permissionsOf, TERRITORY, type Place, type Scope } from './standing.ts';
import { keepingASteward, requireOver } from './stewards.ts';

export type KeyWish = Pick<KeyOrder, 'role' | 'name' | 'expiresInMs' | 'limits' | 'project' | 'dataClass'>;

export interface ListedKey extends KeyFacts {
  /** What its owner is called. */
  readonly personName?: string;
  /** `YYYY-MM-DD` in UTC; absent: nothing of it has ended yet. */
  readonly lastUsedDay?: string;
}

export interface KeyDesk {
  /** One of the territory. Throws `not_found` for a role or project that there is not, `forbidden`. */
  make(asker: Principal, wish: KeyWish): Promise<NewKey>;
  /** One of the asker's own. Throws `forbidden` where nobody is behind the asker, or for a project she is not in. */
  makeOwn(asker: Principal, wish: KeyWish): Promise<NewKey>;
  /** Newest first. */
  list(territory: string): Promise<ListedKey[]>;
  listOwn(asker: Principal): Promise<ListedKey[]>;
  /** A steward's is revoked by stewards and by who owns it; the last one that is nobody's own stays. */
  revoke(asker: Principal, id: string): Promise<void>;
}

export interface KeyDeskDeps {
  readonly db: Database;
  readonly keys: Keys;
  readonly clock: { now(): number };
}

const DAY_MS = 86_400_000;

export function createKeyDesk({ db, keys, clock }: KeyDeskDeps): KeyDesk {
  const placeOf = (territory: string): Place => ({ territory, nowMs: clock.now() });

  async function decorated(territory: string, listed: readonly KeyFacts[]): Promise<ListedKey[]> {
    const used = await lastDays(db, territory, listed);
    const names = await ownerNames(db, territory, listed);
    return listed.map((key) => {
      const day = used.get(key.id);
      const personName = key.person === undefined ? undefined : names.get(key.person);
      return {
        ...key,
        ...(personName === undefined ? {} : { personName }),
        ...(day === undefined ? {} : { lastUsedDay: new Date(day * DAY_MS).toISOString().slice(0, 10) }),
      };
    });
  }

  return {
    make(asker, wish) {
      const { territory } = asker;
      const actor = actorOf(asker);
      const place = placeOf(territory);
      const untilMs = wish.expiresInMs === undefined ? null : place.nowMs + wish.expiresInMs;
      return keys.create({
        ...wish,
        territory,
        actor,
        async guard(transaction) {
          await turnOf(transaction, territory);
          await existingRole(transaction, territory, wish.role);
          await checkProject(transaction, territory, wish.project);
          const grant = { role: wish.role, scope: TERRITORY, untilMs };
          await requireGrant(transaction, place, actor, [grant], `make a key with the role ${wish.role}`);
        },
      });
    },
    async makeOwn(asker, wish) {
      const person = ownerBehind(asker);
      const { territory } = asker;
      const actor = actorOf(asker);
      const place = placeOf(territory);
      const expiresAtMs = wish.expiresInMs === undefined ? null : place.nowMs + wish.expiresInMs;
      // What she may do now; her own key does no more than she may at any time. Another key's end bounds it as always.
      const untilMs = asker.kind === 'key' ? expiresAtMs : 0;
      const scope: Scope = wish.project === undefined ? TERRITORY : { kind: 'project', id: wish.project };
      return keys.create({
        ...wish,
        territory,
        person,
        actor,
        async guard(transaction) {
          await turnOf(transaction, territory);
          await existingRole(transaction, territory, wish.role);
          await checkProject(transaction, territory, wish.project);
          await checkIsIn(transaction, place, person, wish.project);
          await checkRoom(transaction, place, person);
          const how = `make a key of your own with the role ${wish.role}`;
          const permissions = (await permissionsOf(transaction, territory, [wish.role]))(wish.role);
          // Without the role's name: what policies say of it, they say of a key whose person is asked about, too.
          await requirePermissions(transaction, place, actor, [{ permissions, scope, untilMs }], how);
        },
      });
    },
    list: async (territory) => decorated(territory, await keys.list(territory)),
    async listOwn(asker) {
      return decorated(asker.territory, await keys.list(asker.territory, ownerBehind(asker)));
    },
    revoke(asker, id) {
      const { territory } = asker;
      const actor = actorOf(asker);
      const place = placeOf(territory);
      const guard: RevokeOrder['guard'] = (transaction, act) =>
        keepingASteward(transaction, place, async () => {
          const { person_id: person } = (await transaction
            .selectFrom('keys')
            .select('person_id')
            .where('territory_id', '=', territory)
            .where('id', '=', id)
            .executeTakeFirst()) ?? { person_id: null };
          const isOwn = actor === id || (person !== null && person === personOf(asker));
          if (!isOwn) await requireOver(transaction, place, actor, id, `revoke the key ${id}`);
          await act();
        });
      return keys.revoke({ territory, id, actor, guard });
    },
  };
}

function ownerBehind(asker: Principal): string {
  const person = personOf(asker);
  if (person !== undefined) return person;
  throw new IdlewildError(
    'forbidden',
    'a key of the territory is nobody and has no keys of its own; sign in, or have a steward make one',
  );
}

async function checkProject(transaction: Database, territory: string, project: string | undefined): Promise<void> {
  if (project === undefined) return;
  const row = await transaction
    .selectFrom('projects')
    .select('state')
    .where('territory_id', '=', territory)
    .where('id', '=', project)
    .executeTakeFirst();
  if (row === undefined) throw new IdlewildError('not_found', `there is no project ${project} in this territory`);
  if (row.state === 'closed') throw new IdlewildError('conflict', `the project ${project} is closed`);
}

/** To ask on a project's account is for who is in it, by whatever role, and for stewards. */
async function checkIsIn(
  transaction: DatabaseTransaction,
  place: Place,
  person: string,
  project: string | undefined,
): Promise<void> {
  if (project === undefined) return;
  const groups = await groupsOf(transaction, place.territory, person);
  const subjects = [{ kind: 'person', id: person } as const, ...groups.map((id) => ({ kind: 'group', id }) as const)];
  const held = await boundTo(transaction, place, subjects);
  const isIn = held.some(({ scope, permissions }) =>
    scope.kind === 'project' ? scope.id === project : scope.kind === 'territory' && permissions === 'all',
  );
  if (isIn) return;
  throw new IdlewildError('forbidden', `you are not in the project ${project}; ask who leads it, or a steward`);
}

async function checkRoom(transaction: Database, { territory, nowMs }: Place, person: string): Promise<void> {
  const live = await transaction
    .selectFrom('keys')
    .select('id')
    .where('territory_id', '=', territory)
    .where('person_id', '=', person)
    .where('revoked_at_ms', 'is', null)
    .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', nowMs)]))
    .execute();
  if (live.length < PEOPLE_LIMITS.ownKeysMax) return;
  throw new IdlewildError('conflict', `you have ${live.length} keys that work, and nobody has more; revoke one first`);
}

async function lastDays(
  db: Database,
  territory: string,
  listed: readonly KeyFacts[],
): Promise<ReadonlyMap<string, number>> {
  if (listed.length === 0) return new Map();
  const rows = await db
    .selectFrom('usage')
    .select((row) => ['key_id', row.fn.max('day').as('day')])
    .where('territory_id', '=', territory)
    .groupBy('key_id')
    .execute();
  return new Map(rows.map((row) => [row.key_id, row.day]));
}

async function ownerNames(
  db: Database,
  territory: string,
  listed: readonly KeyFacts[],
): Promise<ReadonlyMap<string, string>> {
  if (listed.every(({ person }) => person === undefined)) return new Map();
  const rows = await db
    .selectFrom('members')
    .innerJoin('keys', (join) =>
      join.onRef('keys.territory_id', '=', 'members.territory_id').onRef('keys.person_id', '=', 'members.person_id'),
    )
    .select(['members.person_id', 'members.name'])
    .distinct()
    .where('members.territory_id', '=', territory)
    .execute();
  return new Map(rows.map((row) => [row.person_id, row.name]));
}
