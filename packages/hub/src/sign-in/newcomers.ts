/**
 * How somebody becomes a member here: a person, what the territory calls them, a role, groups.
 *
 * One statement of it for invitations and for providers whose people may join by themselves, inside the transaction
 * that proves who they are. Nobody lets in with more than they hold, nor makes a link for a member who holds more than
 * they do: a link is as good as the member. That is asked when it is promised and again when it is kept.
 */
import { IdlewildError, type Clock, type Random } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { requireGrant, requireNamedGroups, requirePermissions, turnOf, type RoleGrant } from '../people/granting.ts';
import { addMember } from '../people/members.ts';
import { requireJoiner, type Speakers } from '../people/proved.ts';
import { groupsOf } from '../people/self.ts';
import { TERRITORY, holdingsOf, memberState } from '../people/standing.ts';
import { isBuiltIn } from '../policy/built-in-roles.ts';
import { bringPasskey } from './brought-passkeys.ts';

export interface Promised {
  readonly role: string;
  /** Ids. */
  readonly groups: readonly string[];
}

/** Who they are from now on, and by which passkey of theirs that they brought along. */
export interface Joined {
  readonly person: string;
  readonly passkey?: string | undefined;
}

export interface Newcomer extends Promised {
  readonly name: string;
  /** Who let them in: the person or key that invited, or the id of a provider. */
  readonly by: string;
  /** A name that is taken gets a number behind it; otherwise `join` throws `conflict`. */
  readonly anyName?: boolean;
  /** Sessions of one person of other communities of this hub, who joins as the same; absent: a new person. */
  readonly as?: Speakers | undefined;
}

/** All of them within a transaction that has appended nothing to the audit log yet. */
export interface Newcomers {
  /** Throws `not_found` for an unknown role or group, `forbidden` where `actor` may not give it. */
  checkPromise(transaction: DatabaseTransaction, actor: string, what: Promised): Promise<void>;
  /** Throws `forbidden` where `actor` holds less than this member does. */
  checkActingFor(transaction: DatabaseTransaction, actor: string, person: string): Promise<void>;
  /** Throws `forbidden` for who may not join as herself, `conflict` for a member. */
  requireNewHere(transaction: Database, as: Speakers): Promise<void>;
  /** Throws what `requireNewHere` does, and `conflict` for a name that is taken. */
  join(transaction: DatabaseTransaction, newcomer: Newcomer): Promise<Joined>;
}

export interface NewcomersDeps {
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
}

export function createNewcomers({ random, clock, audit }: NewcomersDeps, territory: string): Newcomers {
  const place = () => ({ territory, nowMs: clock.now() });

  async function groupsThere(from: Database, wanted: readonly string[]): Promise<string[]> {
    if (wanted.length === 0) return [];
    const rows = await from
      .selectFrom('groups')
      .select('id')
      .where('territory_id', '=', territory)
      .where('id', 'in', wanted)
      .execute();
    return rows.map(({ id }) => id);
  }

  async function groupNames(from: Database, ids: readonly string[]): Promise<string[]> {
    if (ids.length === 0) return [];
    const rows = await from
      .selectFrom('groups')
      .select('name')
      .where('territory_id', '=', territory)
      .where('id', 'in', ids)
      .execute();
    return rows.map(({ name }) => name);
  }

  async function isRole(from: Database, role: string): Promise<boolean> {
    if (isBuiltIn(role)) return true;
    const row = await from
      .selectFrom('roles')
      .select('name')
      .where('territory_id', '=', territory)
      .where('name', '=', role)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** What comes with being in these groups. */
  async function grantsOf(from: Database, groups: readonly string[]): Promise<RoleGrant[]> {
    if (groups.length === 0) return [];
    const rows = await from
      .selectFrom('bindings')
      .select(['role', 'scope_kind', 'scope_id', 'expires_at_ms'])
      .where('territory_id', '=', territory)
      .where('subject_kind', '=', 'group')
      .where('subject_id', 'in', groups)
      .execute();
    return rows.map((row) => ({
      role: row.role,
      scope: { kind: row.scope_kind, id: row.scope_id },
      untilMs: row.expires_at_ms,
    }));
  }

  async function requireNewHere(transaction: Database, as: Speakers): Promise<void> {
    if ((await memberState(transaction, territory, as[0].person)) !== undefined)
      throw new IdlewildError(
        'conflict',
        'you are a member here already; sign in, by yourself or with a link of a steward',
      );
    await requireJoiner(transaction, as);
  }

  return {
    requireNewHere,
    async checkPromise(transaction, actor, { role, groups }) {
      await turnOf(transaction, territory);
      if (!(await isRole(transaction, role)))
        throw new IdlewildError('not_found', `there is no role ${role} in this territory; see: idlewild roles list`);
      const there = await groupsThere(transaction, groups);
      const unknown = groups.find((group) => !there.includes(group));
      if (unknown !== undefined) throw new IdlewildError('not_found', `there is no group ${unknown} in this territory`);
      const grants = [{ role, scope: TERRITORY, untilMs: null }, ...(await grantsOf(transaction, groups))];
      const how = `invite somebody as ${role}`;
      await requireGrant(transaction, place(), actor, grants, how);
      await requireNamedGroups(transaction, place(), actor, await groupNames(transaction, groups), how);
    },
    async checkActingFor(transaction, actor, person) {
      await turnOf(transaction, territory);
      const held = await holdingsOf(transaction, place(), person);
      const how = 'make a link that signs this member in';
      await requirePermissions(transaction, place(), actor, held, how);
      const groups = await groupsOf(transaction, territory, person);
      await requireNamedGroups(
        transaction,
        place(),
        actor,
        groups.map(({ name }) => name),
        how,
      );
    },
    async join(transaction, { name, role, groups, by, anyName = false, as }) {
      if (as !== undefined) await requireNewHere(transaction, as);
      const from = as?.find(({ passkey, isOwn }) => passkey !== undefined && isOwn);
      // One that is gone by now gives nothing.
      const there = await groupsThere(transaction, groups);
      const order = {
        territory,
        name,
        role,
        groups: there,
        actor: by,
        ifTaken: anyName ? 'number' : 'refuse',
        person: as?.[0].person,
      } as const;
      const passkey = from === undefined ? undefined : await bringPasskey(transaction, random, { territory, from });
      const { id } = await addMember(transaction, { clock, random, audit }, order);
      return { person: id, passkey };
    },
  };
}
