/**
 * Who has which role, on what, and until when.
 *
 * A binding that has expired gives nothing from that moment on; its row goes with the next one that is made. Who binds
 * a role holds it herself there, and as long; a steward's is taken away by stewards, and one of them stays.
 */
import { IdlewildError, newId, type Clock, type Random } from '@idlewild/protocol';
import type { Selectable } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { Bindings as BindingTable } from '../db/schema/people.ts';
import { transact } from '../db/transact.ts';
import { requireGrant, turnOf } from './granting.ts';
import { PEOPLE_LIMITS } from './limits.ts';
import { existingMember } from './members.ts';
import { groupName } from './names.ts';
import { existingRole } from './roles.ts';
import { permissionsOf, type Place, type Scope, type Subject } from './standing.ts';
import { keepingASteward, requireSteward } from './stewards.ts';
import { touchPeople } from './versions.ts';

export interface Binding {
  readonly id: string;
  readonly subject: Subject;
  readonly role: string;
  readonly scope: Scope;
  /** `null`: until it is taken. */
  readonly expiresAtMs: number | null;
  readonly createdAtMs: number;
  /** Id of a person or key. */
  readonly createdBy: string;
}

export interface BindingOrder {
  readonly territory: string;
  readonly subject: Subject;
  readonly role: string;
  readonly scope: Scope;
  readonly expiresAtMs?: number | undefined;
  readonly actor: string;
}

export interface BindingQuery {
  readonly territory: string;
  readonly subject?: string | undefined;
  readonly role?: string | undefined;
  /** Goes on after the binding of this id. */
  readonly after?: string | undefined;
}

export interface Bindings {
  /** Those that hold, by id, at most `PEOPLE_LIMITS.pageRows`. */
  list(query: BindingQuery): Promise<Binding[]>;
  /** Throws `not_found` for a subject, role or thing that there is not, `conflict`, `forbidden`. */
  create(order: BindingOrder): Promise<Binding>;
  /** Throws `not_found`, `conflict` for the last steward's. */
  remove(act: { readonly territory: string; readonly id: string; readonly actor: string }): Promise<Binding>;
}

export interface BindingsDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'now'>;
  readonly random: Random;
  readonly audit: Audit;
}

const bindingOf = (row: Selectable<BindingTable>): Binding => ({
  id: row.id,
  subject: { kind: row.subject_kind, id: row.subject_id },
  role: row.role,
  scope: { kind: row.scope_kind, id: row.scope_id },
  expiresAtMs: row.expires_at_ms,
  createdAtMs: row.created_at_ms,
  createdBy: row.created_by,
});

const scopeText = ({ kind, id }: Scope): string => (kind === 'territory' ? kind : `${kind} ${id}`);
const detailsOf = ({ subject, role, scope, expiresAtMs }: Binding): Record<string, string | number> => ({
  subject: subject.id,
  role,
  scope: scopeText(scope),
  ...(expiresAtMs === null ? {} : { expiresAtMs }),
});

/** Throws `not_found`. */
async function checkSubject(transaction: Database, territory: string, { kind, id }: Subject): Promise<void> {
  if (kind === 'person') return void (await existingMember(transaction, territory, id));
  const groups = transaction.selectFrom('groups').select('id');
  const keys = transaction.selectFrom('keys').select('id').where('revoked_at_ms', 'is', null);
  const there =
    kind === 'group'
      ? groups.where('territory_id', '=', territory).where('id', '=', id)
      : keys.where('territory_id', '=', territory).where('id', '=', id);
  if ((await there.executeTakeFirst()) !== undefined) return;
  const missing = `there is no ${kind} ${id} in this territory`;
  throw new IdlewildError('not_found', kind === 'key' ? `${missing} that works` : missing);
}

/** Throws `not_found`; of a pool only its name is looked at, for its devices may come later. */
async function checkScope(transaction: Database, territory: string, { kind, id }: Scope): Promise<void> {
  if (kind === 'territory') {
    if (id === '') return;
    throw new IdlewildError('invalid_request', 'a role that holds in the territory holds on nothing in particular');
  }
  if (kind === 'pool') return void groupName(id);
  const there =
    kind === 'model'
      ? transaction.selectFrom('models').select('cid as id').where('territory_id', '=', territory).where('cid', '=', id)
      : transaction.selectFrom('projects').select('id').where('territory_id', '=', territory).where('id', '=', id);
  if ((await there.executeTakeFirst()) !== undefined) return;
  throw new IdlewildError('not_found', `there is no ${kind} ${id} in this territory`);
}

/** Expired ones are swept out on the way. */
async function checkRoom(transaction: DatabaseTransaction, { territory, nowMs }: Place, order: BindingOrder) {
  await transaction
    .deleteFrom('bindings')
    .where('territory_id', '=', territory)
    .where('expires_at_ms', '<=', nowMs)
    .execute();
  const { count } = await transaction
    .selectFrom('bindings')
    .select((row) => row.fn.countAll().as('count'))
    .where('territory_id', '=', territory)
    .executeTakeFirstOrThrow();
  if (Number(count) >= PEOPLE_LIMITS.bindingsMax)
    throw new IdlewildError('conflict', `a territory has at most ${PEOPLE_LIMITS.bindingsMax} bindings; use groups`);
  const own = await transaction
    .selectFrom('bindings')
    .selectAll()
    .where('territory_id', '=', territory)
    .where('subject_kind', '=', order.subject.kind)
    .where('subject_id', '=', order.subject.id)
    .execute();
  if (own.length >= PEOPLE_LIMITS.bindingsOfSubjectMax)
    throw new IdlewildError('conflict', `${order.subject.id} has ${own.length} bindings, and no more than that`);
  const { kind, id } = order.scope;
  const same = own.find((row) => row.role === order.role && row.scope_kind === kind && row.scope_id === id);
  if (same === undefined) return;
  const what = `${order.subject.id} has the role ${order.role} there already, by ${same.id}`;
  throw new IdlewildError('conflict', `${what}; remove that one first where it is to end at another time`);
}

export function createBindings({ db, clock, random, audit }: BindingsDeps): Bindings {
  const placeOf = (territory: string): Place => ({ territory, nowMs: clock.now() });

  return {
    async list({ territory, subject, role, after }) {
      let query = db
        .selectFrom('bindings')
        .selectAll()
        .where('territory_id', '=', territory)
        .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', clock.now())]));
      if (subject !== undefined) query = query.where('subject_id', '=', subject);
      if (role !== undefined) query = query.where('role', '=', role);
      if (after !== undefined) query = query.where('id', '>', after);
      return (await query.orderBy('id').limit(PEOPLE_LIMITS.pageRows).execute()).map(bindingOf);
    },
    async create(order) {
      const { territory, subject, role, scope, expiresAtMs = null, actor } = order;
      const place = placeOf(territory);
      if (expiresAtMs !== null && expiresAtMs <= place.nowMs)
        throw new IdlewildError('invalid_request', 'a binding that has expired already gives nothing');
      return transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        await checkSubject(transaction, territory, subject);
        await existingRole(transaction, territory, role);
        await checkScope(transaction, territory, scope);
        await requireGrant(transaction, place, actor, [{ role, scope, untilMs: expiresAtMs }], `give the role ${role}`);
        await checkRoom(transaction, place, order);
        const row = {
          id: newId('bnd', random),
          territory_id: territory,
          subject_kind: subject.kind,
          subject_id: subject.id,
          role,
          scope_kind: scope.kind,
          scope_id: scope.id,
          expires_at_ms: expiresAtMs,
          created_at_ms: place.nowMs,
          created_by: actor,
        };
        await transaction.insertInto('bindings').values(row).execute();
        await touchPeople(transaction, territory);
        const binding = bindingOf(row);
        const details = detailsOf(binding);
        await audit.append(transaction, { territory, actor, action: 'bindRole', subject: row.id, details });
        return binding;
      });
    },
    remove({ territory, id, actor }) {
      const place = placeOf(territory);
      return transact(db, (transaction) =>
        keepingASteward(transaction, place, async () => {
          const row = await transaction
            .selectFrom('bindings')
            .selectAll()
            .where('territory_id', '=', territory)
            .where('id', '=', id)
            .executeTakeFirst();
          if (row === undefined) throw new IdlewildError('not_found', `there is no binding ${id} in this territory`);
          const binding = bindingOf(row);
          const permissions = (await permissionsOf(transaction, territory, [row.role]))(row.role);
          const bound = [{ role: row.role, permissions, scope: binding.scope, untilMs: null }];
          await requireSteward(transaction, place, actor, bound, `take the role ${row.role} away`);
          await transaction.deleteFrom('bindings').where('territory_id', '=', territory).where('id', '=', id).execute();
          await touchPeople(transaction, territory);
          const details = detailsOf(binding);
          await audit.append(transaction, { territory, actor, action: 'unbindRole', subject: id, details });
          return binding;
        }),
      );
    },
  };
}
