/** A territory with people in it, for the tests of this room: who is who is said in roles. */
import { newId } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { createAudit } from '../../audit/audit.ts';
import type { OpenDatabase } from '../../db/open.ts';
import type { SubjectKind } from '../../db/schema/people.ts';
import type { Action } from '../../policy/actions.ts';
import { addMember, createMembers, type Member } from '../members.ts';
import { TERRITORY, type Scope } from '../standing.ts';
import { addTerritories } from '../../testing/territories.ts';

export const HERE = 'ter_a';
export const ELSEWHERE = 'ter_b';

export type PeopleWorld = Awaited<ReturnType<typeof createPeopleWorld>>;

export async function createPeopleWorld(database: OpenDatabase, seed = 1) {
  const { db } = database;
  const clock = createFakeClock(async () => {});
  const random = createSeededRandom(seed);
  await addTerritories(db, HERE, ELSEWHERE);
  const audit = createAudit({ db, crypto: nodeCrypto, clock });
  const deps = { db, crypto: nodeCrypto, clock, random, audit };

  const add = (name: string, role: string, more: { territory?: string; person?: string } = {}): Promise<Member> =>
    db
      .transaction()
      .execute((transaction) => addMember(transaction, deps, { territory: HERE, actor: 'hub', name, role, ...more }));
  /** Nobody asks whether it may be given. */
  async function bind(
    subject: string,
    role: string,
    { scope = TERRITORY, untilMs = null }: { scope?: Scope; untilMs?: number | null } = {},
  ): Promise<string> {
    const kinds: Readonly<Record<string, SubjectKind>> = { per: 'person', grp: 'group', key: 'key' };
    const id = newId('bnd', random);
    await db
      .insertInto('bindings')
      .values({
        id,
        territory_id: HERE,
        subject_kind: kinds[subject.slice(0, 3)] ?? 'person',
        subject_id: subject,
        role,
        scope_kind: scope.kind,
        scope_id: scope.id,
        expires_at_ms: untilMs,
        created_at_ms: clock.now(),
        created_by: 'hub',
      })
      .execute();
    return id;
  }
  const role = (name: string, permissions: readonly Action[]): Promise<unknown> =>
    db
      .insertInto('roles')
      .values({ territory_id: HERE, name, permissions_json: JSON.stringify(permissions), created_at_ms: 0 })
      .execute();
  /** What is in the audit log, the oldest first. */
  async function acts(): Promise<string[]> {
    const entries = await audit.list({ territory: HERE });
    return entries.map(({ actor, action, subject }) => `${actor} ${action} ${subject}`).toReversed();
  }
  /** The same one wherever a person has it, unless `key` differs. */
  async function passkey(
    person: string,
    territory: string,
    { isOwn = 1, key = 1 }: { isOwn?: 0 | 1; key?: number } = {},
  ): Promise<void> {
    await db
      .insertInto('passkeys')
      .values({
        id: `pky_${person}_${territory}`,
        territory_id: territory,
        person_id: person,
        credential_id: `of ${person}`,
        public_key: new Uint8Array(77).fill(key),
        counter: 0,
        transports_json: '[]',
        name: 'a passkey',
        is_synced: 0,
        is_own: isOwn,
        created_at_ms: 0,
        used_at_ms: null,
      })
      .execute();
  }
  /** In which `person` is signed in; its id is `sis_<person>`. */
  async function session(
    person: string,
    { territory = HERE, passkey: id, isOwn = 1 }: { territory?: string; passkey?: string; isOwn?: 0 | 1 } = {},
  ): Promise<void> {
    const row = {
      id: `sis_${person}`,
      territory_id: territory,
      person_id: person,
      hash: `${person} ${territory}`,
      kind: 'browser',
      via: id === undefined ? 'link' : 'passkey',
      passkey_id: id ?? null,
      is_own: isOwn,
      label: '',
      signed_in_at_ms: 0,
      seen_at_ms: 0,
      expires_at_ms: Number.MAX_SAFE_INTEGER,
      ended_at_ms: null,
    } as const;
    await db.insertInto('person_sessions').values(row).execute();
  }
  return { ...deps, add, bind, role, acts, passkey, session, members: createMembers(deps) };
}
