/**
 * People and their accounts with providers: signing in with one, joining by one where a steward allows it, linking one.
 *
 * A browser comes back from a provider with the step that it began; the step says whether it came to sign in or, for
 * somebody signed in already, to link the account. Linking asks for the very session in which it was begun. A subject
 * that nobody has linked lets nobody in, whatever e-mail address it shows, unless the provider's people may join by
 * themselves: then it is somebody new.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { Audit } from '../../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../../db/schema.ts';
import { SIGN_IN_LIMITS } from '../limits.ts';
import type { PersonElsewhere } from '../elsewhere.ts';
import type { Newcomers } from '../newcomers.ts';
import { plainName } from '../plain-text.ts';
import type { NewSession, PersonSessionStore, SignedIn } from '../sessions.ts';
import type { Step, Steps } from '../steps.ts';
import type { Oidc, ProviderStep, Subject } from './oidc.ts';
import type { Provider, Providers } from './providers.ts';

export interface ComingBack {
  readonly provider: string;
  /** The address that the browser came back to. */
  readonly came: URL;
  /** The cookie. */
  readonly step: string | undefined;
  /** What the browser says it is. */
  readonly label: string;
  /** Who is signed in there at this moment. */
  readonly present: SignedIn | undefined;
}

export interface Accounts {
  /** Where the browser is to go, and its cookie. With `who` the account is linked to them. Throws `not_found`. */
  begin(
    provider: string,
    returnUrl: string,
    who?: SignedIn,
  ): Promise<{ readonly url: URL; readonly step: string; readonly provider: Provider }>;
  /** Throws `unauthenticated`, `forbidden` for somebody who is no member, or `conflict`. */
  finish(coming: ComingBack): Promise<NewSession>;
  /** The same, but nobody joins: who may is told what to `join` with. */
  finishOrAsk(coming: ComingBack): Promise<NewSession | Asked>;
  /** Once. Throws what `Newcomers.join` does. */
  join(order: JoinOrder): Promise<NewSession>;
}

/** Somebody whom a provider vouches for and whom nobody here knows. */
export interface Asked {
  /** The text of a cookie. */
  readonly step: string;
  /** What the provider calls them. */
  readonly name: string;
}

export interface JoinOrder extends Pick<ComingBack, 'step' | 'label'> {
  /** Sessions of one person of other communities, who joins as the same; absent: somebody new. */
  readonly as?: PersonElsewhere['sessions'] | undefined;
}

interface Welcome {
  readonly provider: string;
  readonly subject: Subject;
}

export interface AccountsDeps {
  readonly db: Database;
  readonly audit: Audit;
  readonly steps: Steps;
  readonly oidc: Pick<Oidc, 'begin' | 'finish'>;
  readonly providers: Providers;
  readonly newcomers: Pick<Newcomers, 'join'>;
  readonly sessions: Pick<PersonSessionStore, 'open' | 'renew'>;
}

interface Vouched {
  readonly person: string;
  readonly passkey?: string | undefined;
  readonly isOwn: boolean;
}

interface Going extends ProviderStep {
  /** To be linked: in which session. */
  readonly session?: string;
}

export function createAccounts(deps: AccountsDeps, territory: string): Accounts {
  const { db, audit, steps, oidc, providers, newcomers, sessions } = deps;

  async function signIn(
    transaction: DatabaseTransaction,
    provider: Provider,
    subject: Subject,
    { label, as }: Pick<JoinOrder, 'label' | 'as'>,
  ): Promise<NewSession> {
    const known = await providers.personOf(transaction, provider.id, subject.subject);
    const { person, ...proof } = known ?? (await join(transaction, provider, subject, as));
    const session = await sessions.open(transaction, { person, kind: 'browser', via: 'provider', ...proof, label });
    await providers.noteUse(transaction, provider.id, subject.subject);
    const details = { session: session.id, via: 'provider', provider: provider.id };
    await audit.append(transaction, { territory, actor: person, action: 'signIn', subject: person, details });
    return session;
  }

  function checkAdmitted(provider: Provider, subject: Subject): void {
    if (!subject.isAdmitted)
      throw new IdlewildError(
        'forbidden',
        `${provider.name} knows you, but this account is linked to no member here; if you are one, sign in another ` +
          'way and link it, or else ask a steward for an invitation',
        { details: { provider: provider.id } },
      );
  }

  async function join(
    transaction: DatabaseTransaction,
    provider: Provider,
    subject: Subject,
    as: JoinOrder['as'],
  ): Promise<Vouched> {
    checkAdmitted(provider, subject);
    const name = nameOf(subject);
    const newcomer = { name, role: provider.role, groups: [], by: provider.id, anyName: true, as };
    const { person, passkey } = await newcomers.join(transaction, newcomer);
    await providers.link(transaction, { provider: provider.id, subject: subject.subject, person, isOwn: true });
    return { person, passkey, isOwn: true };
  }

  return {
    async begin(id, returnUrl, who) {
      const provider = await providers.get(id);
      const { url, step } = await oidc.begin(provider, returnUrl);
      const going: Going = { ...step, ...(who === undefined ? {} : { session: who.session.id }) };
      return { url, step: await steps.begin('provider', going), provider };
    },
    finish: (coming) => finish(coming, false) as Promise<NewSession>,
    finishOrAsk: (coming) => finish(coming, true),
    async join({ step: text, label, as }) {
      const step: Step<Welcome> = await steps.open('join', text);
      const provider = await providers.get(step.data.provider);
      return db.transaction().execute(async (transaction) => {
        await steps.take(transaction, step);
        return signIn(transaction, provider, step.data.subject, { label, as });
      });
    },
  };

  async function finish(
    { provider: id, came, step: text, label, present }: ComingBack,
    isAsking: boolean,
  ): Promise<NewSession | Asked> {
    const provider = await providers.get(id);
    const step: Step<Going> = await steps.open('provider', text);
    const { session } = step.data;
    if (session !== undefined && present?.session.id !== session)
      throw new IdlewildError('unauthenticated', 'you were signed out meanwhile; sign in, then link the account again');
    const subject = await oidc.finish(provider, came, step.data);
    return db.transaction().execute(async (transaction) => {
      await steps.take(transaction, step);
      if (session === undefined || present === undefined) {
        const known = isAsking ? await providers.personOf(transaction, provider.id, subject.subject) : undefined;
        if (!isAsking || known !== undefined) return signIn(transaction, provider, subject, { label });
        checkAdmitted(provider, subject);
        // As short as a cookie has to be.
        const name = nameOf(subject);
        const welcome: Welcome = { provider: provider.id, subject: { ...subject, name } };
        return { step: await steps.begin('join', welcome), name };
      }
      const { person, isOwn } = present.session;
      await providers.link(transaction, { provider: provider.id, subject: subject.subject, person, isOwn });
      return sessions.renew(transaction, present.session);
    });
  }
}

const nameOf = ({ name }: Subject): string => plainName(name, SIGN_IN_LIMITS.nameCharactersMax) || 'member';
