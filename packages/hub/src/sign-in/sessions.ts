/**
 * Sessions of people: a browser or a program in which somebody is signed in, known by a secret that it holds.
 *
 * The secret is made anew at every sign-in and whenever a person gains a right by proving something (`renew`), so one
 * that was planted or overheard before is worth nothing after. It ends when it was not used for a while, at a fixed
 * moment, when its person or a steward ends it, or when the person is no longer an active member. A session seen lately
 * is answered from memory for at most `freshMs`: what another process ended stops within that time, what was ended here
 * at once. Which rights a person has is the policy's matter.
 */
import { IdlewildError, messageOf, newId, type Clock, type Crypto, type Random } from '@idlewild/protocol';
import type { Selectable } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { PersonSessions, SignInWay } from '../db/schema/sign-in.ts';
import type { NoMore, PersonPrincipal } from '../identity/principal.ts';
import type { Log } from '../log.ts';
import { touchPeople } from '../people/versions.ts';
import { SIGN_IN_LIMITS } from './limits.ts';
import { plainName } from './plain-text.ts';
import { hashOf, isSecret, newSecret } from './secret-texts.ts';

/** By what somebody is signed in. */
export interface Proof {
  readonly via: SignInWay;
  /** Id of the passkey, in this territory, that she or whoever let her program in proved to hold. */
  readonly passkey?: string | undefined;
  /** Whether it is hers, and does not go back to a link that somebody else made for her. */
  readonly isOwn: boolean;
}

export interface SessionOrder extends Proof {
  readonly person: string;
  readonly kind: 'browser' | 'program';
  /** What it says it is. */
  readonly label: string;
}

export interface NewSession {
  readonly id: string;
  readonly person: string;
  /** Shown this once. */
  readonly token: string;
  readonly expiresAtMs: number;
}

export interface SessionFacts extends Proof {
  readonly id: string;
  readonly person: string;
  readonly kind: 'browser' | 'program';
  readonly label: string;
  readonly signedInAtMs: number;
  readonly seenAtMs: number;
  readonly expiresAtMs: number;
}

/** Somebody signed in, as the database had it at most `freshMs` ago. */
export interface SignedIn {
  readonly principal: PersonPrincipal;
  readonly session: SessionFacts;
  /** What the territory calls the person. */
  readonly name: string;
}

export interface EndOrder {
  readonly actor: string;
  readonly person: string;
  /** Absent: all of them. */
  readonly id?: string | undefined;
  /** Those alone that were opened by this passkey of hers, also of programs that were let in there. */
  readonly passkey?: string | undefined;
  /** With many of them: this one stays. */
  readonly but?: string | undefined;
}

export interface PersonSessionStore {
  /** Throws `forbidden` for somebody who is no active member. */
  open(transaction: DatabaseTransaction, order: SessionOrder): Promise<NewSession>;
  /**
   * Throws `unauthenticated`: unknown, ended, expired, or of somebody who is suspended; `evenSuspended`: for what such
   * a one may still do.
   */
  authenticate(token: string, evenSuspended?: boolean): Promise<SignedIn>;
  /** The same session under a new id and secret; the old ones end. */
  renew(transaction: DatabaseTransaction, session: SessionFacts): Promise<NewSession>;
  /** Those of a person that hold, latest seen first. */
  list(person: string): Promise<SessionFacts[]>;
  /**
   * How many were ended; with more than one, programs that wait for theirs are denied. One that is over already is
   * ended. Throws `not_found` for an id that was never theirs.
   */
  end(order: EndOrder): Promise<number>;
  /** The same, with whatever else is done in the transaction. */
  endWithin(transaction: DatabaseTransaction, order: EndOrder): Promise<number>;
  /** Those of `ids` that no longer hold, as the database has it now. */
  endedAmong(ids: readonly string[]): Promise<ReadonlySet<string>>;
}

export interface PersonSessionsDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
  readonly log: Log;
}

interface Remembered extends SignedIn {
  readonly isSuspended: boolean;
  readonly readAtMs: number;
}

type Row = Selectable<PersonSessions>;

const AGAIN = 'sign in again';
export const idleMsOf = (kind: Row['kind']): number =>
  kind === 'browser' ? SIGN_IN_LIMITS.browserIdleMs : SIGN_IN_LIMITS.programIdleMs;

export function createPersonSessions(
  { db, crypto, random, clock, audit, log }: PersonSessionsDeps,
  territory: string,
): PersonSessionStore {
  /** By hash, in the order of their last reading. */
  const remembered = new Map<string, Remembered>();

  async function read(hash: string): Promise<Remembered> {
    remembered.delete(hash);
    // Time counts from before the question: what was ended after it may not be in the answer.
    const readAtMs = clock.monotonic();
    const row = await db
      .selectFrom('person_sessions as session')
      .leftJoin('members as member', (join) =>
        join
          .onRef('member.territory_id', '=', 'session.territory_id')
          .onRef('member.person_id', '=', 'session.person_id'),
      )
      .selectAll('session')
      .select(['member.name as name', 'member.state as state'])
      .where('session.territory_id', '=', territory)
      .where('session.hash', '=', hash)
      .executeTakeFirst();
    if (row === undefined) throw refused('this session is unknown here');
    if (row.ended_at_ms !== null)
      throw refused(`this session was ended at ${iso(row.ended_at_ms)}`, knownOf(row, 'ended'));
    if (row.state === null) throw refused('you are no longer a member here', knownOf(row, 'left'), ASK);
    const session = factsOf(row);
    const entry: Remembered = {
      principal: { kind: 'person', personId: row.person_id, session: row.id, territory },
      session,
      name: row.name ?? '',
      isSuspended: row.state === 'suspended',
      readAtMs,
    };
    checkExpiry(session);
    await noteSeen(session);
    remembered.set(hash, entry);
    if (remembered.size > SIGN_IN_LIMITS.rememberedMax) remembered.delete(remembered.keys().next().value as string);
    return entry;
  }

  function checkExpiry(session: SessionFacts): void {
    const endsAtMs = Math.min(session.expiresAtMs, session.seenAtMs + idleMsOf(session.kind));
    if (clock.now() >= endsAtMs) throw refused(`this session expired at ${iso(endsAtMs)}`, knownOf(session, 'expired'));
  }

  /** A write that fails takes nobody's session away; the next reading tries again. */
  async function noteSeen({ id, seenAtMs }: SessionFacts): Promise<void> {
    const nowMs = clock.now();
    if (nowMs - seenAtMs < SIGN_IN_LIMITS.seenEveryMs) return;
    try {
      await db
        .updateTable('person_sessions')
        .set({ seen_at_ms: nowMs })
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .where('seen_at_ms', '<', nowMs)
        .execute();
    } catch (error) {
      log.warn({ why: messageOf(error) }, 'when a session was seen could not be written down');
    }
  }

  function forget(isOne: (entry: Remembered) => boolean): void {
    for (const [hash, entry] of remembered) if (isOne(entry)) remembered.delete(hash);
  }

  const ofPerson = (transaction: Database, person: string) =>
    transaction
      .selectFrom('person_sessions')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('person_id', '=', person);
  const holds = (row: Row): boolean =>
    row.ended_at_ms === null && clock.now() < Math.min(row.expires_at_ms, row.seen_at_ms + idleMsOf(row.kind));

  async function insert(
    transaction: DatabaseTransaction,
    order: SessionOrder,
    signedInAtMs: number,
  ): Promise<NewSession> {
    const token = newSecret('session', random);
    const id = newId('sis', random);
    const nowMs = clock.now();
    const { browserMsMax, programMsMax, labelCharactersMax } = SIGN_IN_LIMITS;
    const expiresAtMs = signedInAtMs + (order.kind === 'browser' ? browserMsMax : programMsMax);
    const row: Row = {
      id,
      territory_id: territory,
      person_id: order.person,
      hash: await hashOf(token, crypto),
      kind: order.kind,
      via: order.via,
      passkey_id: order.passkey ?? null,
      is_own: order.isOwn ? 1 : 0,
      label: plainName(order.label, labelCharactersMax),
      signed_in_at_ms: signedInAtMs,
      seen_at_ms: nowMs,
      expires_at_ms: expiresAtMs,
      ended_at_ms: null,
    };
    await transaction.insertInto('person_sessions').values(row).execute();
    return { id, person: order.person, token, expiresAtMs };
  }

  /** What is over is forgotten, and of what holds only so many stay. */
  async function makeRoom(transaction: DatabaseTransaction, person: string): Promise<void> {
    const rows = await ofPerson(transaction, person).orderBy('seen_at_ms', 'desc').execute();
    const kept = new Set(
      rows
        .filter(holds)
        .slice(0, SIGN_IN_LIMITS.sessionsPerPerson - 1)
        .map(({ id }) => id),
    );
    const over = rows.filter(({ id }) => !kept.has(id)).map(({ id }) => id);
    if (over.length === 0) return;
    await transaction
      .deleteFrom('person_sessions')
      .where('territory_id', '=', territory)
      .where('id', 'in', over)
      .execute();
    forget(({ session }) => over.includes(session.id));
  }

  return {
    async open(transaction, order) {
      const member = await transaction
        .selectFrom('members')
        .select('state')
        .where('territory_id', '=', territory)
        .where('person_id', '=', order.person)
        .executeTakeFirst();
      if (member?.state !== 'active')
        throw new IdlewildError(
          'forbidden',
          member === undefined ? 'you are no member here; ask a steward' : `your membership is suspended; ${ASK}`,
          { details: { person: order.person, reason: member === undefined ? 'left' : 'suspended' } },
        );
      await makeRoom(transaction, order.person);
      return insert(transaction, order, clock.now());
    },
    async authenticate(token, evenSuspended = false) {
      if (!isSecret('session', token)) throw refused('what was sent is not a session');
      const hash = await hashOf(token, crypto);
      const entry = remembered.get(hash);
      const isFresh = entry !== undefined && clock.monotonic() - entry.readAtMs < SIGN_IN_LIMITS.freshMs;
      const found = isFresh ? entry : await read(hash);
      checkExpiry(found.session);
      if (found.isSuspended && !evenSuspended)
        throw refused('your membership is suspended', knownOf(found.session, 'suspended'), ASK);
      return found;
    },
    async renew(transaction, session) {
      const old = await transaction
        .updateTable('person_sessions')
        .set({ ended_at_ms: clock.now() })
        .where('territory_id', '=', territory)
        .where('id', '=', session.id)
        .where('ended_at_ms', 'is', null)
        .returningAll()
        .executeTakeFirst();
      if (old === undefined) throw refused('this session was ended');
      forget((entry) => entry.session.id === session.id);
      await touchPeople(transaction, territory);
      return insert(transaction, factsOf(old), old.signed_in_at_ms);
    },
    async list(person) {
      const rows = await ofPerson(db, person).orderBy('seen_at_ms', 'desc').orderBy('id').execute();
      return rows.filter(holds).map(factsOf);
    },
    end: (order) => db.transaction().execute((transaction) => endWithin(transaction, order)),
    endWithin,
    async endedAmong(ids) {
      const rows = await db
        .selectFrom('person_sessions')
        .selectAll()
        .where('territory_id', '=', territory)
        .where('id', 'in', ids)
        .execute();
      const live = new Set(rows.filter(holds).map(({ id }) => id));
      return new Set(ids.filter((id) => !live.has(id)));
    },
  };

  async function endWithin(transaction: DatabaseTransaction, order: EndOrder): Promise<number> {
    const { actor, person, id, passkey, but } = order;
    if (id === undefined) await denyPrograms(transaction, order);
    let query = transaction
      .updateTable('person_sessions')
      .set({ ended_at_ms: clock.now() })
      .where('territory_id', '=', territory)
      .where('person_id', '=', person)
      .where('ended_at_ms', 'is', null);
    if (id !== undefined) query = query.where('id', '=', id);
    if (passkey !== undefined) query = query.where('passkey_id', '=', passkey);
    if (but !== undefined) query = query.where('id', '!=', but);
    const ended = (await query.returning('id').execute()).map((row) => row.id);
    if (ended.length === 0) {
      if (id !== undefined) await mustBeTheirs(transaction, person, id);
      return 0;
    }
    await touchPeople(transaction, territory);
    const details = { sessions: ended.length, person };
    await audit.append(transaction, { territory, actor, action: 'endSessions', subject: id ?? person, details });
    forget(({ session }) => ended.includes(session.id));
    return ended.length;
  }

  /** Let in by a session that ends, and not come for their own yet: whoever let them in may be a thief. */
  async function denyPrograms(transaction: DatabaseTransaction, { person, passkey }: EndOrder): Promise<void> {
    let query = transaction
      .updateTable('sign_in_approvals')
      .set({ is_denied: 1 })
      .where('territory_id', '=', territory)
      .where('person_id', '=', person);
    if (passkey !== undefined) query = query.where('passkey_id', '=', passkey);
    await query.execute();
  }

  async function mustBeTheirs(transaction: DatabaseTransaction, person: string, id: string): Promise<void> {
    const row = await ofPerson(transaction, person).where('id', '=', id).executeTakeFirst();
    if (row === undefined) throw new IdlewildError('not_found', `there is no session ${id} of this person`);
  }
}

const ASK = 'ask a steward';
const iso = (ms: number): string => new Date(ms).toISOString();
/** One that was somebody's, for the audit log. */
interface KnownSession {
  readonly session: string;
  readonly person: string;
  readonly reason: NoMore;
}

const refused = (seen: string, known?: KnownSession, remedy = AGAIN): IdlewildError =>
  new IdlewildError('unauthenticated', `${seen}; ${remedy}`, { details: { ...known } });

const knownOf = (
  { id, ...whose }: { readonly id: string } & ({ readonly person: string } | { readonly person_id: string }),
  reason: NoMore,
): KnownSession => ({ session: id, person: 'person' in whose ? whose.person : whose.person_id, reason });

const factsOf = (row: Row): SessionFacts => ({
  id: row.id,
  person: row.person_id,
  kind: row.kind,
  via: row.via,
  passkey: row.passkey_id ?? undefined,
  isOwn: row.is_own === 1,
  label: row.label,
  signedInAtMs: row.signed_in_at_ms,
  seenAtMs: row.seen_at_ms,
  expiresAtMs: row.expires_at_ms,
});
