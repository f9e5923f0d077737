/**
 * One-time links: a code that lets somebody in once, as a new member (an invitation) or as one who lost their passkey.
 *
 * The code stands in the fragment of an address, which browsers send to nobody, and only its hash is kept. It is used
 * in the transaction that opens the session: of two who come at once, one gets in. Who comes second is refused, and
 * the audit log tells the steward, for one of the two may be a thief. An invitation is good only as long as whoever
 * made it has a right to: that is asked again when it is used.
 */
import { IdlewildError, codeOf, newId, type Clock, type Crypto, type Random } from '@idlewild/protocol';
import type { Selectable } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { SignInLinks } from '../db/schema/sign-in.ts';
import { actorOf, type Principal } from '../identity/principal.ts';
import { personName } from '../people/names.ts';
import { memberState } from '../people/standing.ts';
import { SIGN_IN_LIMITS } from './limits.ts';
import type { PersonElsewhere } from './elsewhere.ts';
import type { Joined, Newcomers } from './newcomers.ts';
import { hashOf, isSecret, newSecret } from './secret-texts.ts';
import type { NewSession, PersonSessionStore, Proof, SessionOrder } from './sessions.ts';

export interface InvitationOrder {
  readonly by: Principal;
  /** Absent: whoever comes says what they are called. */
  readonly name?: string | undefined;
  readonly role: string;
  /** Ids. */
  readonly groups: readonly string[];
  readonly expiresInMs?: number | undefined;
}

export interface NewLink {
  readonly id: string;
  /** Shown this once. */
  readonly code: string;
  readonly expiresAtMs: number;
}

export interface LinkFacts {
  readonly id: string;
  /** Member whom it signs in; absent for an invitation. */
  readonly person?: string;
  readonly name: string;
  readonly role: string;
  readonly createdBy: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  readonly usedAtMs?: number;
}

export interface Redeemer extends Pick<SessionOrder, 'kind' | 'label'> {
  /** What a new member is to be called, where the invitation leaves that open. */
  readonly name?: string | undefined;
  /** With an invitation: sessions of one person of other communities, who joins as the same; absent: somebody new. */
  readonly as?: PersonElsewhere['sessions'] | undefined;
}

export interface Links {
  /** Throws what `Newcomers.checkPromise` throws. */
  invite(order: InvitationOrder): Promise<NewLink>;
  /** For a member. Throws `not_found`, or what `Newcomers.checkActingFor` throws. */
  linkFor(order: { by: Principal; person: string; expiresInMs?: number | undefined }): Promise<NewLink>;
  /**
   * Signs in. Throws `unauthenticated` for a code that is unknown, used, withdrawn or expired, `invalid_request`
   * without a name; where somebody joins as herself also `forbidden`, or `conflict` for who is a member already.
   */
  redeem(code: string, who: Redeemer): Promise<NewSession>;
  /** What a code is good for, which leaves it as it is. Throws `unauthenticated` as `redeem` does. */
  look(code: string): Promise<LinkFacts>;
  /** Those that can still be used, newest first. */
  list(): Promise<LinkFacts[]>;
  /** Throws `not_found`; twice is once. */
  withdraw(order: { readonly by: Principal; readonly id: string }): Promise<void>;
}

export interface LinksDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
  readonly newcomers: Newcomers;
  readonly sessions: Pick<PersonSessionStore, 'open'>;
}

type Row = Selectable<SignInLinks>;

export function createLinks(deps: LinksDeps, territory: string): Links {
  const { db, crypto, random, clock, audit, newcomers, sessions } = deps;

  async function make(
    by: Principal,
    what: Pick<Row, 'person_id' | 'name' | 'role' | 'groups_json'>,
    expiresInMs: number,
    check: (transaction: DatabaseTransaction) => Promise<void>,
  ): Promise<NewLink> {
    const code = newSecret('link', random);
    const id = newId('lnk', random);
    const nowMs = clock.now();
    const expiresAtMs = nowMs + expiresInMs;
    const actor = actorOf(by);
    const hash = await hashOf(code, crypto);
    await db.transaction().execute(async (transaction) => {
      await check(transaction);
      await forgetOld(transaction);
      const over = { used_at_ms: null, used_by: null, withdrawn_at_ms: null };
      const row = { id, territory_id: territory, hash, ...what, created_by: actor, created_at_ms: nowMs };
      await transaction
        .insertInto('sign_in_links')
        .values({ ...row, ...over, expires_at_ms: expiresAtMs })
        .execute();
      const isInvitation = what.person_id === null;
      await audit.append(transaction, {
        territory,
        actor,
        action: isInvitation ? 'invitePerson' : 'linkMember',
        subject: what.person_id ?? id,
        details: { link: id, expiresAtMs, ...(isInvitation ? { name: what.name, role: what.role } : {}) },
      });
    });
    return { id, code, expiresAtMs };
  }

  async function forgetOld(transaction: DatabaseTransaction): Promise<void> {
    await transaction
      .deleteFrom('sign_in_links')
      .where('territory_id', '=', territory)
      .where('expires_at_ms', '<', clock.now() - SIGN_IN_LIMITS.linkForgottenMs)
      .execute();
    const { count } = await transaction
      .selectFrom('sign_in_links')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('territory_id', '=', territory)
      .executeTakeFirstOrThrow();
    if (count >= SIGN_IN_LIMITS.linksOpenMax)
      throw new IdlewildError('too_busy', 'there are too many open invitations and links; withdraw some, or wait');
  }

  const find = (from: Database, hash: string): Promise<Row | undefined> =>
    from
      .selectFrom('sign_in_links')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('hash', '=', hash)
      .executeTakeFirst();

  /** Why it lets nobody in, if it does not. */
  function whyNot(row: Row | undefined): IdlewildError | undefined {
    if (row === undefined) return refused('this code is unknown here; check that it is whole');
    if (row.used_at_ms !== null)
      return refused(
        `this code was used at ${iso(row.used_at_ms)}; if that was not you, tell a steward at once`,
        row.id,
        'used',
      );
    if (row.withdrawn_at_ms !== null) return refused('this code was withdrawn', row.id, 'withdrawn');
    if (clock.now() >= row.expires_at_ms)
      return refused(`this code expired at ${iso(row.expires_at_ms)}`, row.id, 'expired');
    return undefined;
  }

  /** Marks it as used, in the same statement in which it is found unused: of two at once, one does. */
  async function use(transaction: DatabaseTransaction, row: Row, session: string): Promise<void> {
    const used = await transaction
      .updateTable('sign_in_links')
      // What tells a code that comes again needs nobody's name.
      .set({ used_at_ms: clock.now(), used_by: session, name: '' })
      .where('territory_id', '=', territory)
      .where('id', '=', row.id)
      .where('used_at_ms', 'is', null)
      .where('withdrawn_at_ms', 'is', null)
      .returning('id')
      .execute();
    if (used.length === 0) throw whyNot(await find(transaction, row.hash)) ?? refused('this code was used', row.id);
  }

  return {
    async invite({ by, name = '', role, groups, expiresInMs = SIGN_IN_LIMITS.linkMs }) {
      const plain = name === '' ? '' : personName(name);
      const what = { person_id: null, name: plain, role, groups_json: JSON.stringify(groups) };
      const check = (transaction: DatabaseTransaction): Promise<void> =>
        newcomers.checkPromise(transaction, actorOf(by), { role, groups });
      return make(by, what, expiresInMs, check);
    },
    async linkFor({ by, person, expiresInMs = SIGN_IN_LIMITS.memberLinkMs }) {
      const what = { person_id: person, name: '', role: '', groups_json: '[]' };
      return make(by, what, expiresInMs, async (transaction) => {
        const state = await memberState(transaction, territory, person);
        if (state === undefined) throw new IdlewildError('not_found', `there is no member ${person} in this territory`);
        if (state !== 'active')
          throw new IdlewildError('conflict', 'this member is suspended, and no link signs them in');
        await newcomers.checkActingFor(transaction, actorOf(by), person);
      });
    },
    async look(code) {
      const row = await find(db, await hashOfCode(code));
      const refusal = whyNot(row);
      if (row === undefined || refusal !== undefined) throw refusal as IdlewildError;
      return factsOf(row);
    },
    async redeem(code, { kind, label, name, as }) {
      const hash = await hashOfCode(code);
      const opened = await db.transaction().execute(async (transaction) => {
        const row = await find(transaction, hash);
        const refusal = whyNot(row) ?? (row === undefined ? undefined : await checkPromise(transaction, row));
        if (row === undefined || refusal !== undefined) return refusal as IdlewildError;
        const { proof, person } = await letIn(transaction, row, { name, as });
        const session = await sessions.open(transaction, { person, kind, label, ...proof });
        await use(transaction, row, session.id);
        const details = { link: row.id, session: session.id, via: proof.via, kind };
        await audit.append(transaction, { territory, actor: person, action: 'signIn', subject: person, details });
        return session;
      });
      if (opened instanceof IdlewildError) throw opened;
      return opened;
    },
    async list() {
      const rows = await db
        .selectFrom('sign_in_links')
        .selectAll()
        .where('territory_id', '=', territory)
        .where('used_at_ms', 'is', null)
        .where('withdrawn_at_ms', 'is', null)
        .where('expires_at_ms', '>', clock.now())
        .orderBy('created_at_ms', 'desc')
        .orderBy('id')
        .execute();
      return rows.map(factsOf);
    },
    async withdraw({ by, id }) {
      await db.transaction().execute(async (transaction) => {
        const mine = transaction
          .updateTable('sign_in_links')
          .where('territory_id', '=', territory)
          .where('id', '=', id);
        const { numUpdatedRows } = await mine
          .set({ withdrawn_at_ms: clock.now() })
          .where('used_at_ms', 'is', null)
          .where('withdrawn_at_ms', 'is', null)
          .executeTakeFirst();
        if (numUpdatedRows > 0n) {
          await audit.append(transaction, { territory, actor: actorOf(by), action: 'withdrawLink', subject: id });
          return;
        }
        const { numUpdatedRows: there } = await mine.set({ id }).executeTakeFirst();
        if (there === 0n) throw new IdlewildError('not_found', `there is no link ${id} in this territory`);
      });
    },
  };

  /** Whether whoever made it may still let somebody in with it. */
  async function checkPromise(transaction: DatabaseTransaction, row: Row): Promise<IdlewildError | undefined> {
    const { created_by: by, role, person_id: person } = row;
    try {
      if (person === null) await newcomers.checkPromise(transaction, by, { role, groups: groupsOf(row) });
      else await newcomers.checkActingFor(transaction, by, person);
      return undefined;
    } catch (error) {
      if (codeOf(error) !== 'forbidden' && codeOf(error) !== 'not_found') throw error;
      return refused('whoever made this code may no longer let anybody in with it', row.id, 'withdrawn');
    }
  }

  async function hashOfCode(code: string): Promise<string> {
    if (isSecret('link', code)) return hashOf(code, crypto);
    throw refused('what was sent is not a code; a code is iwl_ and 52 letters and digits');
  }

  async function letIn(
    transaction: DatabaseTransaction,
    row: Row,
    who: Pick<Redeemer, 'name' | 'as'>,
  ): Promise<{ readonly person: string; readonly proof: Proof }> {
    // Somebody else made it for her: it proves that they said so.
    if (row.person_id !== null) return { person: row.person_id, proof: { via: 'link', isOwn: false } };
    const { person, passkey } = await welcome(transaction, row, who);
    return { person, proof: { via: 'invitation', isOwn: true, passkey } };
  }

  async function welcome(
    transaction: DatabaseTransaction,
    row: Row,
    { name: said = '', as }: Pick<Redeemer, 'name' | 'as'>,
  ): Promise<Joined> {
    const own = said.trim() === '' ? (as?.[0].name ?? '') : said;
    const name = row.name === '' ? own : row.name;
    if (name.trim() === '')
      throw new IdlewildError('invalid_request', 'you are new here: say what you want to be called', {
        details: { param: 'name' },
      });
    return newcomers.join(transaction, { name, role: row.role, groups: groupsOf(row), by: row.created_by, as });
  }
}

const groupsOf = (row: Row): string[] => JSON.parse(row.groups_json) as string[];
const iso = (ms: number): string => new Date(ms).toISOString();

/** With the link that somebody tried, for the audit log. */
const refused = (seen: string, link?: string, state?: 'used' | 'withdrawn' | 'expired'): IdlewildError =>
  new IdlewildError('unauthenticated', `${seen}; ask a steward for a new one`, {
    details: { ...(link === undefined ? {} : { link }), ...(state === undefined ? {} : { state }) },
  });

const factsOf = (row: Row): LinkFacts => ({
  id: row.id,
  ...(row.person_id === null ? {} : { person: row.person_id }),
  name: row.name,
  role: row.role,
  createdBy: row.created_by,
  createdAtMs: row.created_at_ms,
  expiresAtMs: row.expires_at_ms,
  ...(row.used_at_ms === null ? {} : { usedAtMs: row.used_at_ms }),
});
