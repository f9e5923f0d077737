/**
 * Signing in a program, such as `idlewild`, by approving it in a browser (the manner of RFC 8628).
 *
 * The program shows a short code; somebody who is signed in types it, sees what asks and from where, and says yes or
 * no; the program, which holds a long secret, then gets a session of that person. A short code is good once, for ten
 * minutes, and guesses are counted per person (`throttle.ts`).
 */
import { IdlewildError, type Clock, type Crypto, type Random } from '@idlewild/protocol';
import type { Selectable } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { SignInApprovals } from '../db/schema/sign-in.ts';
import { SIGN_IN_LIMITS } from './limits.ts';
import { plainName } from './plain-text.ts';
import { hashOf, isSecret, newSecret } from './secret-texts.ts';
import type { NewSession, PersonSessionStore, SessionFacts } from './sessions.ts';

export interface Asking {
  /** What the program keeps. */
  readonly secret: string;
  /** What it shows, `BCDF-GHJK`. */
  readonly userCode: string;
  readonly expiresAtMs: number;
}

/** What the person is shown. */
export interface Asker {
  readonly label: string;
  readonly address: string;
  readonly askedAtMs: number;
}

export interface ApprovalAnswer {
  readonly userCode: string;
  /** In which it is answered: what it proves, the program's session will. */
  readonly by: Pick<SessionFacts, 'person' | 'passkey' | 'isOwn'>;
  readonly isApproved: boolean;
}

export interface Approvals {
  /** Throws `too_busy`. */
  ask(program: { readonly label: string; readonly address: string }): Promise<Asking>;
  /** Throws `not_found`. */
  look(userCode: string): Promise<Asker>;
  /** Once. Throws `not_found`. */
  answer(order: ApprovalAnswer): Promise<void>;
  /** The session, or `undefined` while nobody has answered. Throws `unauthenticated`: denied, expired, unknown. */
  claim(secret: string): Promise<NewSession | undefined>;
}

export interface ApprovalsDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
  readonly sessions: Pick<PersonSessionStore, 'open'>;
}

/** Consonants (RFC 8628, 6.1): no words, nothing that looks like a digit; 34 bits in eight. */
const LETTERS = 'BCDFGHJKLMNPQRSTVWXZ';
const CODE_LETTERS = 8;

type Row = Selectable<SignInApprovals>;

export function createApprovals(deps: ApprovalsDeps, territory: string): Approvals {
  const { db, crypto, random, clock, audit, sessions } = deps;

  function newCode(): string {
    let code = '';
    // Bytes of 240 and above would favour some letters.
    while (code.length < CODE_LETTERS)
      for (const byte of random.bytes(CODE_LETTERS))
        if (byte < 240 && code.length < CODE_LETTERS) code += LETTERS[byte % LETTERS.length] ?? '';
    return code;
  }

  async function makeRoom(transaction: DatabaseTransaction): Promise<void> {
    await transaction
      .deleteFrom('sign_in_approvals')
      .where('territory_id', '=', territory)
      .where('expires_at_ms', '<=', clock.now())
      .execute();
    const { count } = await transaction
      .selectFrom('sign_in_approvals')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('territory_id', '=', territory)
      .executeTakeFirstOrThrow();
    if (count >= SIGN_IN_LIMITS.approvalsOpenMax)
      throw new IdlewildError('too_busy', 'too many programs wait to be approved; try again in a few minutes');
  }

  async function waiting(from: Database, userCode: string): Promise<Row> {
    const row = await from
      .selectFrom('sign_in_approvals')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('user_code', '=', plainCode(userCode))
      .executeTakeFirst();
    if (row === undefined || row.expires_at_ms <= clock.now() || row.person_id !== null)
      throw new IdlewildError('not_found', 'no program waits under this code; look at the code that it shows');
    return row;
  }

  return {
    async ask({ label, address }) {
      const secret = newSecret('approval', random);
      const hash = await hashOf(secret, crypto);
      const nowMs = clock.now();
      const expiresAtMs = nowMs + SIGN_IN_LIMITS.approvalMs;
      const userCode = newCode();
      await db.transaction().execute(async (transaction) => {
        await makeRoom(transaction);
        await transaction
          .insertInto('sign_in_approvals')
          .values({
            territory_id: territory,
            hash,
            user_code: userCode,
            label: plainName(label, SIGN_IN_LIMITS.labelCharactersMax),
            address,
            created_at_ms: nowMs,
            expires_at_ms: expiresAtMs,
            person_id: null,
          })
          .execute();
      });
      return { secret, userCode: `${userCode.slice(0, 4)}-${userCode.slice(4)}`, expiresAtMs };
    },
    async look(userCode) {
      const { label, address, created_at_ms: askedAtMs } = await waiting(db, userCode);
      return { label, address, askedAtMs };
    },
    async answer({ userCode, by, isApproved }) {
      const { person, passkey, isOwn } = by;
      await db.transaction().execute(async (transaction) => {
        const row = await waiting(transaction, userCode);
        const answered = await transaction
          .updateTable('sign_in_approvals')
          .set({ person_id: person, is_denied: isApproved ? 0 : 1, passkey_id: passkey ?? null, is_own: isOwn ? 1 : 0 })
          .where('territory_id', '=', territory)
          .where('hash', '=', row.hash)
          .where('person_id', 'is', null)
          .returning('hash')
          .execute();
        if (answered.length === 0) throw new IdlewildError('not_found', 'this program was answered already');
        const details = { program: row.label, address: row.address };
        const action = isApproved ? 'approveProgram' : 'denyProgram';
        await audit.append(transaction, { territory, actor: person, action, subject: person, details });
      });
    },
    async claim(secret) {
      if (!isSecret('approval', secret)) throw refused('what was sent asks for nothing');
      const hash = await hashOf(secret, crypto);
      const nowMs = clock.now();
      const mine = await db
        .selectFrom('sign_in_approvals')
        .selectAll()
        .where('territory_id', '=', territory)
        .where('hash', '=', hash)
        .executeTakeFirst();
      if (mine === undefined || mine.expires_at_ms <= nowMs) throw refused('nobody approved this in time');
      if (mine.is_denied === 1) throw refused('this was denied in the browser');
      if (mine.person_id === null) return undefined;
      const person = mine.person_id;
      return db.transaction().execute(async (transaction) => {
        const taken = await transaction
          .deleteFrom('sign_in_approvals')
          .where('territory_id', '=', territory)
          .where('hash', '=', hash)
          .where('is_denied', '=', 0)
          .returning('hash')
          .execute();
        if (taken.length === 0) throw refused('this was taken already, or denied');
        const { label, is_own: isOwn, passkey_id: passkey } = mine;
        const proof = { via: 'approval', passkey: passkey ?? undefined, isOwn: isOwn === 1 } as const;
        const order = { person, kind: 'program', label, ...proof } as const;
        const session = await sessions.open(transaction, order);
        const details = { session: session.id, via: 'approval', program: mine.label };
        await audit.append(transaction, { territory, actor: person, action: 'signIn', subject: person, details });
        return session;
      });
    },
  };
}

const plainCode = (typed: string): string => typed.toUpperCase().replace(/[^A-Z]/g, '');

const refused = (seen: string): IdlewildError => new IdlewildError('unauthenticated', `${seen}; sign in again`);
