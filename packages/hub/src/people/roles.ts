/**
 * Roles that a territory makes itself: names for lists of what the policy knows as actions.
 *
 * A change is a gift to everybody who has the role, now or by an invitation that is open: who adds an action holds it
 * wherever the role is bound, and as long. To take one away gives nobody anything.
 */
import { IdlewildError, type Clock } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { ACTIONS, type Action } from '../policy/actions.ts';
import { BUILT_IN_ROLES, isBuiltIn, PERMISSIONS } from '../policy/built-in-roles.ts';
import { requirePermissions, turnOf, type Grant } from './granting.ts';
import { PEOPLE_LIMITS } from './limits.ts';
import { roleName } from './names.ts';
import { actionsOf, TERRITORY, type Place, type Scope } from './standing.ts';
import { requireSteward } from './stewards.ts';
import { touchPeople } from './versions.ts';

export interface Role {
  readonly name: string;
  readonly isBuiltIn: boolean;
  /** Sorted; `all` is also what is added later. */
  readonly permissions: 'all' | readonly Action[];
}

export interface RoleAct {
  readonly territory: string;
  readonly name: string;
  readonly actor: string;
}

export interface Roles {
  /** The built-in ones first, then by name. */
  list(territory: string): Promise<Role[]>;
  /** Throws `not_found`. */
  get(territory: string, name: string): Promise<Role>;
  /** Throws `invalid_request` for a name or action that there cannot be, `conflict`, `forbidden`. */
  create(act: RoleAct & { readonly permissions: readonly string[] }): Promise<Role>;
  /** Those named are its permissions from now on. */
  change(act: RoleAct & { readonly permissions: readonly string[] }): Promise<Role>;
  /**
   * Throws `conflict` where somebody has it, unless forced: then its bindings go, keys that were made with it are
   * revoked, and open invitations that give it are withdrawn.
   */
  remove(act: RoleAct & { readonly force: boolean }): Promise<void>;
}

/** Asked of devices, never of people: a role that has it would promise what is not kept. */
const NOT_FOR_PEOPLE: ReadonlySet<Action> = new Set(['readText']);

/** What roles of one's own are made of. */
export const GRANTABLE: readonly Action[] = (Object.keys(ACTIONS) as Action[]).filter(
  (action) => !NOT_FOR_PEOPLE.has(action),
);

const builtInRole = (name: (typeof BUILT_IN_ROLES)[number]): Role => ({
  name,
  isBuiltIn: true,
  permissions: name === 'steward' ? 'all' : PERMISSIONS[name].toSorted(),
});

async function read(source: Database, territory: string, name: string): Promise<Role | undefined> {
  if (isBuiltIn(name)) return builtInRole(name);
  const row = await source
    .selectFrom('roles')
    .select('permissions_json')
    .where('territory_id', '=', territory)
    .where('name', '=', name)
    .executeTakeFirst();
  return row === undefined
    ? undefined
    : { name, isBuiltIn: false, permissions: [...actionsOf(row.permissions_json)].sort() };
}

/** Throws `not_found`. */
export async function existingRole(source: Database, territory: string, name: string): Promise<Role> {
  const role = await read(source, territory, name);
  if (role === undefined) throw new IdlewildError('not_found', `there is no role ${name} in this territory`);
  return role;
}

/** One of the territory's own, to be changed. */
async function ownRole(source: Database, territory: string, name: string): Promise<Set<Action>> {
  if (isBuiltIn(name)) throw new IdlewildError('conflict', `the role ${name} is built in and stays as it is`);
  const { permissions } = await existingRole(source, territory, name);
  return new Set(permissions === 'all' ? [] : permissions);
}

/** Throws `invalid_request`. */
function parsed(permissions: readonly string[]): Action[] {
  const known = new Set<string>(GRANTABLE);
  const strange = permissions.find((permission) => !known.has(permission));
  if (strange === undefined) return ([...new Set(permissions)] as Action[]).sort();
  const seen = JSON.stringify(strange.slice(0, PEOPLE_LIMITS.nameCharactersMax));
  throw new IdlewildError('invalid_request', `${seen} is no permission; there are ${GRANTABLE.join(', ')}`);
}

interface Use {
  readonly scope: Scope;
  readonly untilMs: number | null;
}

interface Uses {
  readonly bindings: readonly Use[];
  readonly keys: readonly Use[];
  readonly links: number;
  readonly providers: number;
}

async function usesOf(transaction: DatabaseTransaction, { territory, nowMs }: Place, role: string): Promise<Uses> {
  const bindings = await transaction
    .selectFrom('bindings')
    .select(['scope_kind', 'scope_id', 'expires_at_ms'])
    .where('territory_id', '=', territory)
    .where('role', '=', role)
    .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', nowMs)]))
    .execute();
  const keys = await transaction
    .selectFrom('keys')
    .select('expires_at_ms')
    .where('territory_id', '=', territory)
    .where('role', '=', role)
    .where('revoked_at_ms', 'is', null)
    .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', nowMs)]))
    .execute();
  const links = await transaction
    .selectFrom('sign_in_links')
    .select('id')
    .where('territory_id', '=', territory)
    .where('role', '=', role)
    .where('person_id', 'is', null)
    .where('used_at_ms', 'is', null)
    .where('withdrawn_at_ms', 'is', null)
    .where('expires_at_ms', '>', nowMs)
    .execute();
  const providers = await transaction
    .selectFrom('oidc_providers')
    .select('id')
    .where('territory_id', '=', territory)
    .where('role', '=', role)
    .execute();
  return {
    bindings: bindings.map((row) => ({
      scope: { kind: row.scope_kind, id: row.scope_id },
      untilMs: row.expires_at_ms,
    })),
    keys: keys.map((row) => ({ scope: TERRITORY, untilMs: row.expires_at_ms })),
    links: links.length,
    providers: providers.length,
  };
}

/** To everybody who has the role, or will have it. */
function grantsTo({ bindings, keys, links, providers }: Uses, permissions: ReadonlySet<Action>): Grant[] {
  const coming = links + providers > 0 ? [{ scope: TERRITORY, untilMs: null }] : [];
  // Also where nobody has it yet: a role is no place to leave what one does not hold.
  const now = { scope: TERRITORY, untilMs: 0 };
  return [now, ...bindings, ...keys, ...coming].map((use) => ({ ...use, permissions }));
}

function usedText({ bindings, keys, links, providers }: Uses): string {
  const counts: [number, string][] = [
    [bindings.length, 'bindings'],
    [keys.length, 'keys'],
    [links, 'open invitations'],
    [providers, 'sign-in providers'],
  ];
  return counts.flatMap(([count, noun]) => (count === 0 ? [] : [`${count} ${noun}`])).join(', ');
}

export interface RolesDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'now'>;
  readonly audit: Audit;
}

export function createRoles({ db, clock, audit }: RolesDeps): Roles {
  const placeOf = (territory: string): Place => ({ territory, nowMs: clock.now() });

  async function written(
    transaction: DatabaseTransaction,
    { territory, name, actor }: RoleAct,
    action: string,
    details: Readonly<Record<string, string | number>>,
  ): Promise<void> {
    await touchPeople(transaction, territory);
    await audit.append(transaction, { territory, actor, action, subject: name, details });
  }

  async function checkNew(transaction: DatabaseTransaction, territory: string, name: string): Promise<void> {
    const rows = await transaction.selectFrom('roles').select('name').where('territory_id', '=', territory).execute();
    if (rows.some((row) => row.name === name))
      throw new IdlewildError('conflict', `there is a role ${name} in this territory already`);
    if (rows.length >= PEOPLE_LIMITS.rolesMax)
      throw new IdlewildError('conflict', `a territory has at most ${PEOPLE_LIMITS.rolesMax} roles of its own`);
  }

  return {
    async list(territory) {
      const rows = await db
        .selectFrom('roles')
        .select(['name', 'permissions_json'])
        .where('territory_id', '=', territory)
        .orderBy('name')
        .execute();
      const own = rows.map((row) => ({
        name: row.name,
        isBuiltIn: false,
        permissions: [...actionsOf(row.permissions_json)].sort(),
      }));
      return [...BUILT_IN_ROLES.map(builtInRole), ...own];
    },
    get: (territory, name) => existingRole(db, territory, name),
    async create(act) {
      const { territory, actor } = act;
      const name = roleName(act.name);
      const permissions = parsed(act.permissions);
      const place = placeOf(territory);
      return transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        await checkNew(transaction, territory, name);
        // Keys and invitations may name a role that there was before.
        const grants = grantsTo(await usesOf(transaction, place, name), new Set(permissions));
        await requirePermissions(transaction, place, actor, grants, `make the role ${name}`);
        await transaction
          .insertInto('roles')
          .values({
            territory_id: territory,
            name,
            permissions_json: JSON.stringify(permissions),
            created_at_ms: place.nowMs,
          })
          .execute();
        await written(transaction, { territory, name, actor }, 'createRole', detailsOf(permissions, []));
        return { name, isBuiltIn: false, permissions };
      });
    },
    async change(act) {
      const { territory, name, actor } = act;
      const permissions = parsed(act.permissions);
      const place = placeOf(territory);
      return transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        const before = await ownRole(transaction, territory, name);
        const added = permissions.filter((action) => !before.has(action));
        const taken = [...before].filter((action) => !permissions.includes(action));
        if (added.length > 0) {
          const grants = grantsTo(await usesOf(transaction, place, name), new Set(added));
          await requirePermissions(transaction, place, actor, grants, `add ${added.join(', ')} to the role ${name}`);
        }
        if (added.length + taken.length === 0) return { name, isBuiltIn: false, permissions };
        await transaction
          .updateTable('roles')
          .set({ permissions_json: JSON.stringify(permissions) })
          .where('territory_id', '=', territory)
          .where('name', '=', name)
          .execute();
        await written(transaction, act, 'changeRole', detailsOf(added, taken));
        return { name, isBuiltIn: false, permissions };
      });
    },
    remove(act) {
      const { territory, name, force } = act;
      const place = placeOf(territory);
      return transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        await ownRole(transaction, territory, name);
        const uses = await usesOf(transaction, place, name);
        const used = usedText(uses);
        if (used !== '' && !force)
          throw new IdlewildError('conflict', `the role ${name} is in use (${used}); take it away first, or use force`);
        const permissions = new Set<Action>();
        const held = uses.bindings.map((use) => ({ ...use, role: name, permissions }));
        await requireSteward(transaction, place, act.actor, held, `take the role ${name} from whoever has it`);
        if (uses.providers > 0) {
          const message = `who signs in by a provider gets the role ${name}; give that provider another one first`;
          throw new IdlewildError('conflict', message);
        }
        await takeAway(transaction, place, name);
        await written(transaction, act, 'removeRole', used === '' ? {} : { taken: used });
      });
    },
  };
}

/** The role and all that has it: nothing may come to life by a later role of the same name. */
async function takeAway(transaction: DatabaseTransaction, { territory, nowMs }: Place, name: string): Promise<void> {
  await transaction.deleteFrom('bindings').where('territory_id', '=', territory).where('role', '=', name).execute();
  await transaction
    .updateTable('keys')
    .set({ revoked_at_ms: nowMs })
    .where('territory_id', '=', territory)
    .where('role', '=', name)
    .where('revoked_at_ms', 'is', null)
    .execute();
  await transaction
    .updateTable('sign_in_links')
    .set({ withdrawn_at_ms: nowMs })
    .where('territory_id', '=', territory)
    .where('role', '=', name)
    .where('used_at_ms', 'is', null)
    .where('withdrawn_at_ms', 'is', null)
    .execute();
  await transaction.deleteFrom('roles').where('territory_id', '=', territory).where('name', '=', name).execute();
}

/** Lists that do not fit into an entry are cut, and counted. */
function detailsOf(added: readonly Action[], taken: readonly Action[]): Record<string, string | number> {
  const text = (actions: readonly Action[]): string => actions.join(' ').slice(0, 256);
  return {
    ...(added.length === 0 ? {} : { added: text(added), addedCount: added.length }),
    ...(taken.length === 0 ? {} : { taken: text(taken), takenCount: taken.length }),
  };
}
