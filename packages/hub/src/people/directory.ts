/**
 * What is known of whoever asks, for a decision of the policy: roles in force and where they hold, groups, whose key it
 * is.
 *
 * It is read from the database, and held as long as the territory's version stands still; expiries are judged by the
 * database's time at each question. A person's own key is two: whatever it asks must be allowed to both. Somebody who
 * is suspended, gone, revoked or expired is refused here, with the reason; a database that does not answer is an error.
 * It knows nothing of what roles permit.
 */
import { IdlewildError, isId, type DeviceTier, type ErrorCode, type MaybePromise } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import type { MemberState, ScopeKind, SubjectKind } from '../db/schema/people.ts';
import type { KeyPrincipal, NoMore, PersonPrincipal, Principal } from '../identity/principal.ts';
import { POLICY_LIMITS } from '../policy/limits.ts';

export interface HeldRole {
  readonly role: string;
  readonly scope: { readonly kind: ScopeKind; readonly id: string };
}

/** One whom the policies are asked about. */
export interface Actor {
  readonly type: 'Key' | 'Person' | 'Device' | 'Tier';
  readonly id: string;
  readonly territory: string;
  readonly roles: readonly HeldRole[];
  /** Names. */
  readonly groups: readonly string[];
  /** Whose key or device it is. */
  readonly person?: string;
  readonly tier?: 'own' | DeviceTier;
  readonly pools?: readonly string[];
}

export interface Standing {
  /** All of them must be allowed. */
  readonly actors: readonly Actor[];
  /** Equal for standings between which no policy can tell a difference. */
  readonly signature: string;
  /** By the database's time; Infinity: until something changes. */
  readonly untilMs: number;
  /** What a key asks on the account of, where that was closed: it is not answered. */
  readonly closedProject?: { readonly id: string; readonly name: string };
}

export interface Directory {
  /**
   * At once where it is known under this version. Throws `unauthenticated` for what is revoked, expired or ended,
   * `forbidden` for whoever is suspended or no member. `evenSuspended`: of a suspended person's session it is the
   * standing of nobody, and is not thrown.
   */
  standingOf(principal: Principal, version: number, evenSuspended?: boolean): MaybePromise<Standing>;
  /** The same for somebody who is only spoken of: by id, or by the name of a member or a key. Throws `not_found`. */
  standingOfId(id: string): Promise<Standing>;
}

export interface DirectoryDeps {
  readonly db: Database;
  /** The database's time. */
  readonly now: () => number;
  readonly territory: string;
}

interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  /** In place of a policy's id. */
  readonly decidedBy?: string;
  readonly reason?: NoMore;
}

interface Subject {
  readonly kind: SubjectKind;
  readonly id: string;
}

interface Timed {
  readonly role: HeldRole;
  /** Infinity: until it is taken. */
  readonly untilMs: number;
}

/** As it is in the database: nothing has been left out because of its time. */
interface Known {
  readonly actors: readonly { readonly actor: Actor; readonly timed: readonly Timed[]; readonly untilMs: number }[];
  readonly refusal?: Refusal;
  readonly closedProject?: Standing['closedProject'];
}

interface Entry {
  readonly version: number;
  readonly known: Known;
  /** What follows from it, until something expires. */
  standing: Standing;
}

export function createDirectory({ db, now, territory }: DirectoryDeps): Directory {
  const entries = new Map<string, Entry>();
  const reading = new Map<string, Promise<Entry>>();

  async function read(id: string, principal: Principal, version: number): Promise<Entry> {
    const known = await knownOf(db, territory, principal);
    const entry: Entry = { version, known, standing: NOBODY };
    entries.delete(id);
    entries.set(id, entry);
    if (entries.size > POLICY_LIMITS.standingsMax) entries.delete(entries.keys().next().value as string);
    return entry;
  }
  const inForce = (entry: Entry, { kind }: Principal, evenSuspended: boolean): Standing =>
    evenSuspended && kind === 'person' && entry.known.refusal?.reason === 'suspended' ? NOBODY : current(entry, now());

  return {
    standingOf(principal, version, evenSuspended = false) {
      const id = idOf(principal);
      const entry = entries.get(id);
      if (entry !== undefined && entry.version === version) return inForce(entry, principal, evenSuspended);
      const key = `${id} ${version}`;
      const mine = reading.get(key) ?? read(id, principal, version).finally(() => reading.delete(key));
      reading.set(key, mine);
      return mine.then((read) => inForce(read, principal, evenSuspended));
    },
    async standingOfId(id) {
      const known = await spokenOf(db, territory, id);
      return current({ version: 0, known, standing: NOBODY }, now());
    },
  };
}

const NOBODY: Standing = { actors: [], signature: '', untilMs: Number.NEGATIVE_INFINITY };

const idOf = (principal: Principal): string => {
  if (principal.kind === 'key') return principal.keyId;
  return principal.kind === 'device' ? principal.deviceId : `${principal.personId} ${principal.session}`;
};

function current(entry: Entry, nowMs: number): Standing {
  const { known } = entry;
  if (known.refusal !== undefined) throw errorOf(known.refusal);
  if (nowMs < entry.standing.untilMs) return entry.standing;
  const actors: Actor[] = [];
  let untilMs = Number.POSITIVE_INFINITY;
  for (const { actor, timed, untilMs: own } of known.actors) {
    if (own <= nowMs)
      throw new IdlewildError(
        'unauthenticated',
        `the key ${actor.id} expired at ${new Date(own).toISOString()}; ${ASK}`,
        { details: { reason: 'expired' satisfies NoMore } },
      );
    const inForce = timed.filter((each) => nowMs < each.untilMs);
    untilMs = Math.min(untilMs, own, ...inForce.map((each) => each.untilMs));
    actors.push({ ...actor, roles: inForce.map(({ role }) => role) });
  }
  const { closedProject } = known;
  const closed = closedProject === undefined ? {} : { closedProject };
  return (entry.standing = { actors, signature: JSON.stringify(actors), untilMs, ...closed });
}

function errorOf({ code, message, decidedBy, reason }: Refusal): IdlewildError {
  const why = reason === undefined ? {} : { reason };
  if (decidedBy === undefined) return new IdlewildError(code, message, { details: why });
  const needed = message.slice(message.indexOf('; ') + 2);
  return new IdlewildError(code, message, { details: { decidedBy: [decidedBy], rolesThatMay: [], needed, ...why } });
}

const ASK = 'ask a steward for a new one';
const WHOLE: HeldRole['scope'] = { kind: 'territory', id: '' };

async function knownOf(db: Database, territory: string, principal: Principal): Promise<Known> {
  if (principal.kind === 'device') return knownDevice(db, territory, principal.deviceId);
  return principal.kind === 'key' ? knownKey(db, territory, principal) : knownSession(db, territory, principal);
}

async function knownKey(db: Database, territory: string, { keyId: id }: Pick<KeyPrincipal, 'keyId'>): Promise<Known> {
  const row = await db
    .selectFrom('keys')
    .select(['role', 'person_id', 'project_id', 'expires_at_ms', 'revoked_at_ms'])
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined) return refused('unauthenticated', `the key ${id} is unknown here; ${ASK}`);
  if (row.revoked_at_ms !== null) return refused('unauthenticated', `the key ${id} was revoked; ${ASK}`, 'revoked');
  const person = row.person_id;
  const bound = await bindingsOf(db, territory, [{ kind: 'key', id }]);
  const own = {
    actor: { type: 'Key', id, territory, roles: [], groups: [], ...(person === null ? {} : { person }) },
    timed: [{ role: { role: row.role, scope: WHOLE }, untilMs: Number.POSITIVE_INFINITY }, ...bound],
    untilMs: row.expires_at_ms ?? Number.POSITIVE_INFINITY,
  } as const;
  const closedProject = row.project_id === null ? undefined : await closedOf(db, territory, row.project_id);
  const closed = closedProject === undefined ? {} : { closedProject };
  if (person === null) return { actors: [own], ...closed };
  const known = await knownPerson(db, territory, person);
  return { ...known, actors: [own, ...known.actors], ...closed };
}

async function closedOf(db: Database, territory: string, id: string): Promise<Standing['closedProject']> {
  return db
    .selectFrom('projects')
    .select(['id', 'name'])
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .where('state', '=', 'closed')
    .executeTakeFirst();
}

async function knownSession(
  db: Database,
  territory: string,
  { personId, session }: Pick<PersonPrincipal, 'personId' | 'session'>,
): Promise<Known> {
  const row = await db
    .selectFrom('person_sessions')
    .select('ended_at_ms')
    .where('territory_id', '=', territory)
    .where('id', '=', session)
    .where('person_id', '=', personId)
    .executeTakeFirst();
  if (row === undefined || row.ended_at_ms !== null)
    return refused('unauthenticated', 'this session was ended; sign in again', 'ended');
  return knownPerson(db, territory, personId);
}

async function knownPerson(db: Database, territory: string, id: string): Promise<Known> {
  const member = await db
    .selectFrom('members')
    .select('state')
    .where('territory_id', '=', territory)
    .where('person_id', '=', id)
    .executeTakeFirst();
  const refusal = refusalOf(member?.state);
  if (refusal !== undefined)
    return {
      actors: [],
      refusal: {
        code: 'forbidden',
        message: refusal,
        decidedBy: 'membership',
        reason: member === undefined ? 'left' : 'suspended',
      },
    };
  const groups = await db
    .selectFrom('group_members')
    .innerJoin('groups', 'groups.id', 'group_members.group_id')
    .select(['groups.id', 'groups.name'])
    .where('group_members.territory_id', '=', territory)
    .where('groups.territory_id', '=', territory)
    .where('group_members.person_id', '=', id)
    .orderBy('groups.id')
    .execute();
  const subjects: Subject[] = [
    { kind: 'person', id },
    ...groups.map((group) => ({ kind: 'group', id: group.id }) as const),
  ];
  const timed = await bindingsOf(db, territory, subjects);
  const actor = { type: 'Person', id, territory, roles: [], groups: groups.map(({ name }) => name) } as const;
  return { actors: [{ actor, timed, untilMs: Number.POSITIVE_INFINITY }] };
}

function refusalOf(state: MemberState | undefined): string | undefined {
  if (state === 'active') return undefined;
  if (state === undefined) return 'whoever asks is no member of this territory; ask a steward to be let in';
  return 'whoever asks is suspended as a member of this territory; ask a steward why';
}

async function knownDevice(db: Database, territory: string, id: string): Promise<Known> {
  const row = await db
    .selectFrom('devices')
    .select(['person_id', 'tier', 'revoked_at_ms'])
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .executeTakeFirst();
  if (row === undefined || row.revoked_at_ms !== null)
    return refused('unauthenticated', `the device ${id} is unknown here or was revoked`);
  const pools = await poolsOf(db, territory, id);
  const person = row.person_id === null ? {} : { person: row.person_id };
  const actor = { type: 'Device', id, territory, roles: [], groups: [], tier: row.tier, pools, ...person } as const;
  return { actors: [{ actor, timed: [], untilMs: Number.POSITIVE_INFINITY }] };
}

export async function poolsOf(db: Database, territory: string, device: string): Promise<string[]> {
  const rows = await db
    .selectFrom('device_pools')
    .select('pool')
    .where('territory_id', '=', territory)
    .where('device_id', '=', device)
    .orderBy('pool')
    .execute();
  return rows.map(({ pool }) => pool);
}

const refused = (code: ErrorCode, message: string, reason?: NoMore): Known => ({
  actors: [],
  refusal: { code, message, ...(reason === undefined ? {} : { reason }) },
});

async function bindingsOf(db: Database, territory: string, subjects: readonly Subject[]): Promise<Timed[]> {
  const rows = await db
    .selectFrom('bindings')
    .select(['role', 'scope_kind', 'scope_id', 'expires_at_ms'])
    .where('territory_id', '=', territory)
    .where((row) =>
      row.or(subjects.map(({ kind, id }) => row.and([row('subject_kind', '=', kind), row('subject_id', '=', id)]))),
    )
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    role: { role: row.role, scope: { kind: row.scope_kind, id: row.scope_id } },
    untilMs: row.expires_at_ms ?? Number.POSITIVE_INFINITY,
  }));
}

/** As it would be if it asked now. */
async function spokenOf(db: Database, territory: string, as: string): Promise<Known> {
  const id = isId(as, 'key') || isId(as, 'per') || isId(as, 'dev') ? as : await idNamed(db, territory, as);
  if (isId(id, 'key')) return knownKey(db, territory, { keyId: id });
  return isId(id, 'per') ? knownPerson(db, territory, id) : knownDevice(db, territory, id);
}

/** A member or a key that is called this; of several keys the newest that is not revoked. */
async function idNamed(db: Database, territory: string, name: string): Promise<string> {
  const member = await db
    .selectFrom('members')
    .select('person_id')
    .where('territory_id', '=', territory)
    .where('name', '=', name)
    .executeTakeFirst();
  if (member !== undefined) return member.person_id;
  const key = await db
    .selectFrom('keys')
    .select('id')
    .where('territory_id', '=', territory)
    .where('name', '=', name)
    .where('revoked_at_ms', 'is', null)
    .orderBy('created_at_ms', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (key !== undefined) return key.id;
  const way = 'name a member or a key, or a key, person or device by its id';
  throw new IdlewildError('not_found', `there is nobody "${name}" here; ${way}`);
}
