/**
 * Projects: on whose account keys ask, and what allocations are granted to.
 *
 *   active ──► closed, for good: what it was allocated ends, and its keys are refused
 *
 * Who is in a project, and as what, are bindings whose scope is the project, like all rights here. Whoever makes one is
 * bound to the role `lead` in it: a role of the territory, made with its first project, which a steward may change like
 * any other. It knows no amounts.
 */
import { IdlewildError, causeSchema, newId, type Clock, type Random } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { Projects as ProjectColumns, ProjectState } from '../db/schema/projects.ts';
import { oneAtATime } from '../db/one-at-a-time.ts';
import { transact } from '../db/transact.ts';
import { personOf, type Principal } from '../identity/principal.ts';
import { touchPeople } from '../people/versions.ts';
import type { Action } from '../policy/actions.ts';
import { endAllocations } from './allocations.ts';
import { PROJECT_LIMITS } from './limits.ts';

export interface Project {
  readonly id: string;
  readonly name: string;
  /** A cause's slug. */
  readonly purpose: string;
  readonly description: string;
  readonly state: ProjectState;
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly closedAtMs: number | undefined;
}

export interface ProjectOrder {
  readonly name: string;
  readonly purpose: string;
  readonly description: string;
  /** Who makes it, and leads it. */
  readonly maker: Principal;
  readonly actor: string;
}

export interface Projects {
  /** Throws `invalid_request`, and `conflict` for a name that is taken. */
  create(order: ProjectOrder): Promise<Project>;
  /** By name. */
  list(): Promise<Project[]>;
  /** By id or name. Throws `not_found`. */
  get(wanted: string): Promise<Project>;
  /** Ids of those in which somebody has a role, as a person, through a group, or as a key. */
  of(principal: Principal): Promise<ReadonlySet<string>>;
  /** Twice is once. Throws `not_found`. */
  close(id: string, actor: string): Promise<Project>;
}

export interface ProjectsDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'now'>;
  readonly random: Random;
  readonly audit: Audit;
}

/** What leads a project. */
const LEAD = 'lead';
const LEAD_PERMISSIONS: readonly Action[] = ['listProjects', 'showProject', 'changeProject', 'askAllocation'];
const NAME = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;

export function createProjects({ db, clock, random, audit }: ProjectsDeps, territory: string): Projects {
  const all = () => db.selectFrom('projects').selectAll().where('territory_id', '=', territory);

  return {
    async create({ name, purpose, description, maker, actor }) {
      checkText(name, purpose, description);
      const row: ProjectColumns = {
        id: newId('prj', random),
        territory_id: territory,
        name,
        purpose,
        description,
        state: 'active',
        created_at_ms: clock.now(),
        created_by: actor,
        closed_at_ms: null,
      };
      await transact(db, async (tx) => {
        await oneAtATime(tx, `projects ${territory}`);
        await checkRoom(tx, territory, name);
        await tx.insertInto('projects').values(row).execute();
        await bindLead(tx, territory, row, maker, newId('bnd', random));
        await touchPeople(tx, territory);
        const details = { name, purpose };
        await audit.append(tx, { territory, actor, action: 'createProject', subject: row.id, details });
      });
      return projectOf(row);
    },
    list: async () => (await all().orderBy('name').execute()).map(projectOf),
    async get(wanted) {
      const row = await all()
        .where(({ eb, or }) => or([eb('id', '=', wanted), eb('name', '=', wanted)]))
        .executeTakeFirst();
      if (row === undefined) throw unknownProject(wanted);
      return projectOf(row);
    },
    of: (principal) => projectsOf(db, territory, principal, clock.now()),
    async close(id, actor) {
      const row = await transact(db, async (tx) => {
        const changed = await tx
          .updateTable('projects')
          .set({ state: 'closed', closed_at_ms: clock.now() })
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .where('state', '=', 'active')
          .returningAll()
          .executeTakeFirst();
        if (changed === undefined) return undefined;
        await endAllocations(tx, territory, { project: id, actor, nowMs: clock.now() });
        await touchPeople(tx, territory);
        await audit.append(tx, {
          territory,
          actor,
          action: 'changeProject',
          subject: id,
          details: { state: 'closed' },
        });
        return changed;
      });
      if (row !== undefined) return projectOf(row);
      const there = await all().where('id', '=', id).executeTakeFirst();
      if (there === undefined) throw unknownProject(id);
      return projectOf(there);
    },
  };
}

const projectOf = (row: ProjectColumns): Project => ({
  id: row.id,
  name: row.name,
  purpose: row.purpose,
  description: row.description,
  state: row.state,
  createdAtMs: row.created_at_ms,
  createdBy: row.created_by,
  closedAtMs: row.closed_at_ms ?? undefined,
});

/** Also for what somebody does not see. */
export const unknownProject = (wanted: string): IdlewildError =>
  new IdlewildError('not_found', `there is no project "${wanted}" in this territory`);
const invalid = (param: string, why: string): IdlewildError =>
  new IdlewildError('invalid_request', `"${param}" ${why}`, { details: { param } });

function checkText(name: string, purpose: string, description: string): void {
  if (name.length > PROJECT_LIMITS.nameCharactersMax || !NAME.test(name))
    throw invalid(
      'name',
      `must be small letters and digits with single hyphens between, at most ${PROJECT_LIMITS.nameCharactersMax}`,
    );
  if (!causeSchema.safeParse(purpose).success) throw invalid('purpose', 'must be a cause, such as education');
  // Something that steers a terminal is no description.
  if (description.length > PROJECT_LIMITS.descriptionCharactersMax || /[\p{C}\p{Zl}\p{Zp}]/u.test(description))
    throw invalid('description', `must be one line of at most ${PROJECT_LIMITS.descriptionCharactersMax} characters`);
}

async function checkRoom(tx: DatabaseTransaction, territory: string, name: string): Promise<void> {
  const rows = await tx.selectFrom('projects').select('name').where('territory_id', '=', territory).execute();
  if (rows.some((row) => row.name === name))
    throw new IdlewildError('conflict', `there is a project "${name}" already; call it something else`);
  if (rows.length >= PROJECT_LIMITS.projectsMax)
    throw new IdlewildError(
      'conflict',
      `a territory has at most ${PROJECT_LIMITS.projectsMax} projects, closed ones too`,
    );
}

async function bindLead(
  tx: DatabaseTransaction,
  territory: string,
  project: ProjectColumns,
  maker: Principal,
  binding: string,
): Promise<void> {
  if (maker.kind === 'device') throw new IdlewildError('forbidden', 'a device leads no project');
  await tx
    .insertInto('roles')
    .values({
      territory_id: territory,
      name: LEAD,
      permissions_json: JSON.stringify(LEAD_PERMISSIONS),
      created_at_ms: project.created_at_ms,
    })
    .onConflict((on) => on.columns(['territory_id', 'name']).doNothing())
    .execute();
  const person = personOf(maker);
  await tx
    .insertInto('bindings')
    .values({
      id: binding,
      territory_id: territory,
      subject_kind: person === undefined ? 'key' : 'person',
      subject_id: person ?? (maker.kind === 'key' ? maker.keyId : ''),
      role: LEAD,
      scope_kind: 'project',
      scope_id: project.id,
      expires_at_ms: null,
      created_at_ms: project.created_at_ms,
      created_by: project.created_by,
    })
    .execute();
}

async function projectsOf(
  db: Database,
  territory: string,
  principal: Principal,
  nowMs: number,
): Promise<ReadonlySet<string>> {
  const person = personOf(principal);
  const key = principal.kind === 'key' ? principal.keyId : undefined;
  const rows = await db
    .selectFrom('bindings')
    .select('scope_id')
    .where('territory_id', '=', territory)
    .where('scope_kind', '=', 'project')
    .where(({ eb, or }) => or([eb('expires_at_ms', 'is', null), eb('expires_at_ms', '>', nowMs)]))
    .where(({ eb, or, and, selectFrom }) =>
      or([
        and([eb('subject_kind', '=', 'person'), eb('subject_id', '=', person ?? '')]),
        and([eb('subject_kind', '=', 'key'), eb('subject_id', '=', key ?? '')]),
        and([
          eb('subject_kind', '=', 'group'),
          eb(
            'subject_id',
            'in',
            selectFrom('group_members')
              .select('group_id')
              .where('territory_id', '=', territory)
              .where('person_id', '=', person ?? ''),
          ),
        ]),
      ]),
    )
    .execute();
  const own = principal.kind === 'key' && principal.project !== undefined ? [principal.project] : [];
  return new Set([...rows.map(({ scope_id: id }) => id), ...own]);
}
