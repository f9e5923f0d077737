/**
 * Passkeys (WebAuthn level 3): added by somebody signed in, then enough to sign in with.
 *
 * A person is found by the passkey alone, so nobody types a name and nobody can ask whether a name exists. The
 * authenticator must have verified its person. A counter that does not grow tells of a copy: the passkey is refused
 * and the audit log tells the steward. A passkey is of one territory: what its browser is told as the person's id
 * differs from one territory to the next, so two communities of one hub are two entries there. What a browser signs is
 * checked by `@simplewebauthn/server`; which person an answer is for is decided here.
 */
import {
  IdlewildError,
  concat,
  messageOf,
  newId,
  utf8,
  type Clock,
  type Crypto,
  type Random,
} from '@idlewild/protocol';
import type {
  AuthenticationResponseJSON,
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
  RegistrationResponseJSON,
} from '@simplewebauthn/server';
import type { Selectable } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { Passkeys as PasskeyColumns } from '../db/schema/sign-in.ts';
import { transact } from '../db/transact.ts';
import { copyPasskey, shareCounter } from './brought-passkeys.ts';
import type { SignedInElsewhere } from './elsewhere.ts';
import { SIGN_IN_LIMITS } from './limits.ts';
import { plainName } from './plain-text.ts';
import type { NewSession, PersonSessionStore, SessionFacts, SignedIn } from './sessions.ts';
import type { Step, Steps } from './steps.ts';

/** Where the browser is; authenticators sign it. */
export interface RelyingParty {
  /** A domain name, `localhost` on loopback. */
  readonly id: string;
  readonly origin: string;
  /** What the community is called. */
  readonly name: string;
}

export interface PasskeyFacts {
  readonly id: string;
  readonly name: string;
  readonly isSynced: boolean;
  readonly createdAtMs: number;
  readonly usedAtMs?: number;
}

/** What goes to the browser, and what stays in its cookie. */
export interface Begun<Options> {
  readonly options: Options;
  readonly step: string;
}

export interface Passkeys {
  beginSignIn(party: RelyingParty): Promise<Begun<PublicKeyCredentialRequestOptionsJSON>>;
  /** Throws `unauthenticated`. */
  signIn(party: RelyingParty, answer: PasskeyAnswer<AuthenticationResponseJSON>): Promise<NewSession>;
  beginAdding(party: RelyingParty, who: SignedIn): Promise<Begun<PublicKeyCredentialCreationOptionsJSON>>;
  /** The passkey, and the session made anew. Throws `invalid_request`, or `conflict` for one that is there. */
  add(
    party: RelyingParty,
    who: SignedIn,
    answer: AddingPasskey,
  ): Promise<{ readonly passkey: PasskeyFacts; readonly session: NewSession }>;
  list(person: string): Promise<PasskeyFacts[]>;
  /** What was opened with it ends, but for the session in which it is removed. Throws `not_found`. */
  remove(order: RemovingPasskey): Promise<void>;
}

export interface RemovingPasskey {
  readonly person: string;
  readonly id: string;
  readonly actor: string;
  /** In which it is done. */
  readonly session?: string | undefined;
}

export interface AddingPasskey extends PasskeyAnswer<RegistrationResponseJSON> {
  /** Her sessions of other communities, in which it is hers from now on, too. */
  readonly alsoIn?: readonly Pick<SignedInElsewhere, 'territory' | 'person' | 'isOwn'>[];
}

export interface PasskeyAnswer<Response> {
  readonly response: Response;
  /** The cookie. */
  readonly step: string | undefined;
  /** What the browser says it is; of a new passkey, what its person calls it. */
  readonly label: string;
}

export interface PasskeysDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
  readonly steps: Steps;
  readonly sessions: Pick<PersonSessionStore, 'open' | 'renew' | 'endWithin'>;
}

interface Challenge {
  readonly challenge: string;
  /** Of adding: for whom, in which session. */
  readonly person?: string;
  readonly session?: string;
}

type Row = Selectable<PasskeyColumns>;
type Uint8ArrayOfBuffer = Uint8Array<ArrayBuffer>;

/** Half a second's worth of code: loaded when somebody uses a passkey, not when a hub starts. */
const load = () => import('@simplewebauthn/server');

const CHALLENGE_BYTES = 32;
/** EdDSA, ES256, RS256 (Windows Hello has nothing else). */
const ALGORITHMS = [-8, -7, -257];
/**
 * What an unknown passkey is checked against, so that it takes as long as a known one: P-256's base point, as COSE
 * writes it. Whatever verifies against it is refused all the same.
 */
const NOBODY = concat([
  Uint8Array.of(0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32),
  Uint8Array.from(Buffer.from('6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296', 'hex')),
  Uint8Array.of(0x22, 0x58, 32),
  Uint8Array.from(Buffer.from('4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5', 'hex')),
]);

export function createPasskeys(deps: PasskeysDeps, territory: string): Passkeys {
  const { db, crypto, random, clock, audit, steps, sessions } = deps;
  const newChallenge = (): Uint8ArrayOfBuffer => new Uint8Array(random.bytes(CHALLENGE_BYTES));

  /** What authenticators keep as the person's id: the same for all passkeys of one person in one territory. */
  const handleOf = async (person: string, madeIn = territory): Promise<Uint8ArrayOfBuffer> =>
    new Uint8Array(await crypto.sha256(utf8(`idlewild/v1/passkey person\n${madeIn}\n${person}`)));

  const ofPerson = async (from: Database, person: string): Promise<Row[]> =>
    from
      .selectFrom('passkeys')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('person_id', '=', person)
      .orderBy('created_at_ms')
      .orderBy('id')
      .execute();

  const find = (credential: string): Promise<Row | undefined> =>
    db
      .selectFrom('passkeys')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('credential_id', '=', credential)
      .executeTakeFirst();

  /** The new counter. Throws `unauthenticated`. */
  async function verify(
    party: RelyingParty,
    response: AuthenticationResponseJSON,
    step: Step<Challenge>,
    row: Row | undefined,
  ): Promise<number> {
    const credential = {
      id: response.id,
      publicKey: new Uint8Array(row?.public_key ?? NOBODY),
      // Looked at below, where a copy is told from a mistake.
      counter: 0,
    };
    const verified = await checking(async () =>
      (await load()).verifyAuthenticationResponse({
        response,
        expectedChallenge: step.data.challenge,
        expectedOrigin: party.origin,
        expectedRPID: party.id,
        credential,
        requireUserVerification: true,
      }),
    );
    if (row === undefined) throw refused('this passkey is unknown here');
    if (!verified.verified) throw refused('the answer of this passkey does not verify', row);
    const { userHandle } = response.response;
    const handle = Buffer.from(await handleOf(row.person_id, row.made_in ?? territory)).toString('base64url');
    if (userHandle !== undefined && userHandle !== handle) throw refused('this passkey is of somebody else', row);
    return verified.authenticationInfo.newCounter;
  }

  async function checking<Result>(check: () => Promise<Result>): Promise<Result> {
    try {
      return await check();
    } catch (error) {
      throw new IdlewildError('unauthenticated', `the passkey was not accepted: ${messageOf(error)}; try again`, {
        cause: error,
      });
    }
  }

  /** Of two answers with one counter, one is noted. Authenticators that count nothing always say 0. */
  async function noteUse(transaction: DatabaseTransaction, row: Row, counter: number): Promise<boolean> {
    const noted = await transaction
      .updateTable('passkeys')
      .set({ counter, used_at_ms: clock.now() })
      .where('territory_id', '=', territory)
      .where('id', '=', row.id)
      .where(({ eb, or, and }) =>
        or([eb('counter', '<', counter), and([eb('counter', '=', 0), eb(eb.val(counter), '=', 0)])]),
      )
      .returning('id')
      .execute();
    return noted.length > 0;
  }

  return {
    async beginSignIn(party) {
      const { generateAuthenticationOptions } = await load();
      const options = await generateAuthenticationOptions({
        rpID: party.id,
        challenge: newChallenge(),
        userVerification: 'required',
        timeout: SIGN_IN_LIMITS.stepMs,
      });
      const challenge: Challenge = { challenge: options.challenge };
      return { options, step: await steps.begin('passkey', challenge) };
    },
    async signIn(party, { response, step: text, label }) {
      const step = await steps.open<Challenge>('passkey', text);
      const row = await find(response.id);
      const counter = await verify(party, response, step, row);
      const { id, person_id: person, is_own: isOwn } = row as Row;
      return transact(db, async (transaction) => {
        await steps.take(transaction, step);
        if (!(await noteUse(transaction, row as Row, counter)))
          throw refused('this passkey counts backwards: it may have been copied. Ask a steward', row);
        await shareCounter(transaction, row as Row, counter);
        const proof = { via: 'passkey', passkey: id, isOwn: isOwn === 1 } as const;
        const session = await sessions.open(transaction, { person, kind: 'browser', label, ...proof });
        const details = { passkey: id, session: session.id, via: 'passkey' };
        await audit.append(transaction, { territory, actor: person, action: 'signIn', subject: person, details });
        return session;
      });
    },
    async beginAdding(party, { principal, session, name }) {
      const person = principal.personId;
      const there = await ofPerson(db, person);
      if (there.length >= SIGN_IN_LIMITS.passkeysPerPerson)
        throw new IdlewildError('conflict', `you have ${there.length} passkeys; remove one first`);
      const { generateRegistrationOptions } = await load();
      const options = await generateRegistrationOptions({
        rpName: party.name,
        rpID: party.id,
        userName: name,
        userDisplayName: name,
        userID: await handleOf(person),
        challenge: newChallenge(),
        timeout: SIGN_IN_LIMITS.stepMs,
        attestationType: 'none',
        excludeCredentials: there.map(({ credential_id: id, transports_json: transports }) => ({
          id,
          transports: JSON.parse(transports) as string[],
        })),
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
        supportedAlgorithmIDs: ALGORITHMS,
      });
      const challenge: Challenge = { challenge: options.challenge, person, session: session.id };
      return { options, step: await steps.begin('add-passkey', challenge) };
    },
    async add(party, { principal, session }, { response, step: text, label, alsoIn = [] }) {
      const person = principal.personId;
      const step = await steps.open<Challenge>('add-passkey', text);
      if (step.data.person !== person || step.data.session !== session.id)
        throw new IdlewildError('invalid_request', 'this was begun by somebody else; begin again');
      const row = await checkNew(party, response, step, { label, session });
      return db.transaction().execute(async (transaction) => {
        await steps.take(transaction, step);
        const added = await transaction
          .insertInto('passkeys')
          .values(row)
          .onConflict((conflict) => conflict.columns(['territory_id', 'credential_id']).doNothing())
          .returning('id')
          .execute();
        if (added.length === 0) throw new IdlewildError('conflict', 'this passkey is here already');
        const renewed = await sessions.renew(transaction, session);
        const rows = [row];
        for (const { territory: there, person: same, isOwn } of alsoIn) {
          if (same !== person || there === territory) continue;
          const id = await copyPasskey(transaction, random, row, { territory: there, isOwn });
          rows.push({ ...row, id, territory_id: there });
        }
        await noteAdded(transaction, rows);
        return { passkey: factsOf(row), session: renewed };
      });
    },
    list: async (person) => (await ofPerson(db, person)).map(factsOf),
    async remove({ person, id, actor, session: but }) {
      await db.transaction().execute(async (transaction) => {
        const removed = await transaction
          .deleteFrom('passkeys')
          .where('territory_id', '=', territory)
          .where('person_id', '=', person)
          .where('id', '=', id)
          .returning('id')
          .execute();
        if (removed.length === 0) throw new IdlewildError('not_found', `there is no passkey ${id} of this person`);
        // Before the log is written: everybody else counts a version first, and then has his turn at the log.
        await sessions.endWithin(transaction, { actor, person, passkey: id, but });
        const details = { person };
        await audit.append(transaction, { territory, actor, action: 'removePasskey', subject: id, details });
      });
    },
  };

  /** Each log has its turn until the end, so turns are taken in one order: nobody waits for who waits for him. */
  async function noteAdded(transaction: DatabaseTransaction, rows: readonly Row[]): Promise<void> {
    for (const { territory_id: place, id: subject, person_id: actor, name } of rows.toSorted(byTerritory)) {
      const details = { person: actor, name };
      await audit.append(transaction, { territory: place, actor, action: 'addPasskey', subject, details });
    }
  }

  async function checkNew(
    party: RelyingParty,
    response: RegistrationResponseJSON,
    step: Step<Challenge>,
    { label, session }: { readonly label: string; readonly session: SessionFacts },
  ): Promise<Row> {
    const { registrationInfo: info } = await checking(async () =>
      (await load()).verifyRegistrationResponse({
        response,
        expectedChallenge: step.data.challenge,
        expectedOrigin: party.origin,
        expectedRPID: party.id,
        requireUserVerification: true,
        supportedAlgorithmIDs: ALGORITHMS,
      }),
    );
    if (info === undefined) throw new IdlewildError('invalid_request', 'the new passkey does not verify; try again');
    const { credential, credentialBackedUp } = info;
    return {
      id: newId('pky', random),
      territory_id: territory,
      person_id: session.person,
      credential_id: credential.id,
      public_key: new Uint8Array(credential.publicKey),
      counter: credential.counter,
      transports_json: JSON.stringify((credential.transports ?? []).slice(0, 8)),
      name: plainName(label, SIGN_IN_LIMITS.labelCharactersMax) || 'a passkey',
      is_synced: credentialBackedUp ? 1 : 0,
      is_own: session.isOwn ? 1 : 0,
      made_in: null,
      created_at_ms: clock.now(),
      used_at_ms: null,
    };
  }
}

const byTerritory = (one: Row, other: Row): number => (one.territory_id < other.territory_id ? -1 : 1);

/** With the passkey that was tried, for the audit log. */
const refused = (seen: string, row?: Pick<Row, 'id' | 'person_id'>): IdlewildError =>
  new IdlewildError('unauthenticated', `${seen}; sign in another way`, {
    details: row === undefined ? {} : { passkey: row.id, person: row.person_id },
  });

const factsOf = (row: Row): PasskeyFacts => ({
  id: row.id,
  name: row.name,
  isSynced: row.is_synced === 1,
  createdAtMs: row.created_at_ms,
  ...(row.used_at_ms === null ? {} : { usedAtMs: row.used_at_ms }),
});
