/**
 * A territory and whoever asks in it, as rows of a real database: for the tests of decisions. Every change counts the
 * territory's version, as those who make them in earnest do.
 */
import { newId } from '@idlewild/protocol';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import type { Database, DatabaseTransaction } from '../../db/schema.ts';
import type { ScopeKind, SubjectKind } from '../../db/schema/people.ts';
import type { DevicePrincipal, KeyPrincipal, PersonPrincipal, Principal } from '../../identity/principal.ts';
import { silentLog } from '../../log.ts';
import { createPeopleVersions, touchPeople } from '../../people/versions.ts';
import { testDatabases, type TestDatabase } from '../../testing/databases.ts';
import { addDevice } from '../../testing/device-rows.ts';
import type { Action } from '../actions.ts';
import { createPolicy, type TerritoryPolicy } from '../policy.ts';

const HERE = 'ter_a';

export interface BindOrder {
  readonly key?: string;
  readonly person?: string;
  readonly group?: string;
  readonly role: string;
  readonly scope?: readonly [ScopeKind, string];
  readonly untilMs?: number;
}

export interface PolicyWorld {
  readonly policy: TerritoryPolicy;
  readonly db: Database;
  readonly clock: FakeClock;
  key(role: string, person?: string): Promise<KeyPrincipal>;
  device(person?: string): Promise<DevicePrincipal>;
  session(person: string): Promise<PersonPrincipal>;
  member(person: string, roles: readonly string[]): Promise<void>;
  /** With these people and roles, and no others. */
  group(name: string, people: readonly string[], roles: readonly string[]): Promise<void>;
  bind(order: BindOrder): Promise<void>;
  /** Takes the role of its own away. */
  unbind(key: KeyPrincipal): Promise<void>;
  suspend(person: string): Promise<void>;
  endSession(session: PersonPrincipal): Promise<void>;
  revoke(key: KeyPrincipal): Promise<void>;
  /** A policy of the territory's, unchecked. */
  write(name: string, text: string): Promise<void>;
  refusal(asker: Principal, action: Action): Promise<unknown>;
  breakDatabase(): void;
}

export async function policyWorlds(): Promise<{ kind: TestDatabase['kind']; open: () => Promise<PolicyWorld> }[]> {
  return (await testDatabases()).map(({ kind, open }) => ({ kind, open: () => openWorld(open) }));
}

async function openWorld(open: TestDatabase['open']): Promise<PolicyWorld> {
  const { db } = await open();
  const clock = createFakeClock(async () => {});
  const random = createSeededRandom(7);
  const base = { territory_id: HERE, created_at_ms: 0 };
  await db
    .insertInto('territories')
    .values({ id: HERE, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 })
    .execute();
  let isBroken = false;
  const real = createPeopleVersions({ db, clock }, HERE);
  const versions = {
    fresh: () => (isBroken ? Promise.reject(new Error('the database is gone')) : real.fresh()),
    stale: () => real.stale(),
  };
  const policy = await createPolicy({ db, now: () => clock.now(), territory: HERE, versions, log: silentLog });
  const change = async (write: (transaction: DatabaseTransaction) => Promise<unknown>): Promise<void> => {
    await db.transaction().execute(async (transaction) => {
      await write(transaction);
      await touchPeople(transaction, HERE);
    });
    versions.stale();
  };
  const bindings = (transaction: DatabaseTransaction, kind: SubjectKind, id: string, roles: readonly string[]) =>
    Promise.all(roles.map((role) => bindTo(transaction, kind, id, { role })));
  const bindTo = (transaction: DatabaseTransaction, kind: SubjectKind, id: string, order: BindOrder) =>
    transaction
      .insertInto('bindings')
      .values({
        ...base,
        id: newId('bnd', random),
        subject_kind: kind,
        subject_id: id,
        role: order.role,
        scope_kind: order.scope?.[0] ?? 'territory',
        scope_id: order.scope?.[1] ?? '',
        expires_at_ms: order.untilMs === undefined ? null : clock.now() + order.untilMs,
        created_by: 'hub',
      })
      .execute();

  return {
    policy,
    db,
    clock,
    async key(role, person) {
      const id = newId('key', random);
      const owner = person === undefined ? {} : { person_id: person };
      const limits = { requests_per_minute: null, tokens_per_minute: null };
      const row = {
        ...base,
        ...limits,
        ...owner,
        id,
        role,
        name: '',
        hash: id,
        expires_at_ms: null,
        revoked_at_ms: null,
      };
      await change((transaction) => transaction.insertInto('keys').values(row).execute());
      const principal = { kind: 'key', keyId: id, territory: HERE, role, name: '', dataClass: 'internal' } as const;
      return person === undefined ? principal : { ...principal, person };
    },
    async device(person) {
      const id = newId('dev', random);
      await change((transaction) =>
        addDevice(transaction, { id, territory: HERE, person: person ?? null, key: random.bytes(32) }),
      );
      return { kind: 'device', deviceId: id, territory: HERE };
    },
    async session(person) {
      const id = newId('sis', random);
      await change((transaction) =>
        transaction
          .insertInto('person_sessions')
          .values({
            id,
            territory_id: HERE,
            person_id: person,
            hash: id,
            kind: 'browser',
            via: 'link',
            label: '',
            signed_in_at_ms: 0,
            seen_at_ms: 0,
            expires_at_ms: 1e15,
            ended_at_ms: null,
          })
          .execute(),
      );
      return { kind: 'person', personId: person, session: id, territory: HERE };
    },
    member: (person, roles) =>
      change(async (transaction) => {
        await transaction.insertInto('people').values({ id: person, name: person, created_at_ms: 0 }).execute();
        const member = {
          territory_id: HERE,
          person_id: person,
          name: person,
          state: 'active',
          joined_at_ms: 0,
        } as const;
        await transaction.insertInto('members').values(member).execute();
        await bindings(transaction, 'person', person, roles);
      }),
    group: (name, people, roles) =>
      change(async (transaction) => {
        const id = `grp_${name}`;
        await transaction
          .insertInto('groups')
          .values({ ...base, id, name })
          .onConflict((on) => on.doNothing())
          .execute();
        await transaction
          .deleteFrom('group_members')
          .where('group_id', '=', id)
          .where('territory_id', '=', HERE)
          .execute();
        for (const person of people)
          await transaction
            .insertInto('group_members')
            .values({ territory_id: HERE, group_id: id, person_id: person })
            .execute();
        await transaction
          .deleteFrom('bindings')
          .where('territory_id', '=', HERE)
          .where('subject_id', '=', id)
          .execute();
        await bindings(transaction, 'group', id, roles);
      }),
    bind: (order) =>
      change((transaction) => {
        const kind = order.key !== undefined ? 'key' : order.person !== undefined ? 'person' : 'group';
        return bindTo(transaction, kind, order.key ?? order.person ?? `grp_${order.group}`, order);
      }),
    unbind: ({ keyId }) =>
      change((transaction) =>
        transaction
          .updateTable('keys')
          .set({ role: 'nothing' })
          .where('territory_id', '=', HERE)
          .where('id', '=', keyId)
          .execute(),
      ),
    suspend: (person) =>
      change((transaction) =>
        transaction
          .updateTable('members')
          .set({ state: 'suspended' })
          .where('territory_id', '=', HERE)
          .where('person_id', '=', person)
          .execute(),
      ),
    endSession: ({ session }) =>
      change((transaction) =>
        transaction
          .updateTable('person_sessions')
          .set({ ended_at_ms: 1 })
          .where('territory_id', '=', HERE)
          .where('id', '=', session)
          .execute(),
      ),
    revoke: ({ keyId }) =>
      change((transaction) =>
        transaction
          .updateTable('keys')
          .set({ revoked_at_ms: 1 })
          .where('territory_id', '=', HERE)
          .where('id', '=', keyId)
          .execute(),
      ),
    write: (name, text) =>
      change((transaction) =>
        transaction
          .insertInto('policies')
          .values({ territory_id: HERE, name, text, version: 1, changed_at_ms: 0, changed_by: 'hub' })
          .execute(),
      ),
    async refusal(asker, action) {
      try {
        await policy.check(asker, action, { territory: HERE });
      } catch (error) {
        const { code, message } = error as { code: string; message: string };
        return { code, message };
      }
      return undefined;
    },
    breakDatabase() {
      isBroken = true;
    },
  };
}
