/**
 * The room put together: every way in which people sign in to one territory, and how often they may try.
 *
 * A try that fails is written into the audit log, with what was tried and from where it came as a hash; of a flood of
 * them only so many, for the log is the territory's memory and not an attacker's.
 */
import { concat, messageOf, utf8, type Clock, type Crypto, type IdlewildError, type Random } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import { createMemoryBuckets, type Buckets } from '../callers/buckets.ts';
import { createDatabaseBuckets } from '../callers/database-buckets.ts';
import type { OpenDatabase } from '../db/open.ts';
import type { Log } from '../log.ts';
import { createApprovals, type Approvals } from './approvals.ts';
import { createElsewhere, type Elsewhere } from './elsewhere.ts';
import { SIGN_IN_LIMITS } from './limits.ts';
import { createLinks, type Links } from './links.ts';
import { createNewcomers } from './newcomers.ts';
import { createAccounts, type Accounts } from './oidc/accounts.ts';
import { createGuardedFetch, privatePlace, type GuardedFetchDeps } from './oidc/guarded-fetch.ts';
import { createOidc, type Oidc } from './oidc/oidc.ts';
import { createProviders, type Providers } from './oidc/providers.ts';
import { createPasskeys, type Passkeys } from './passkeys.ts';
import { hashOf } from './secret-texts.ts';
import { createPersonSessions, type PersonSessionStore } from './sessions.ts';
import { createSteps } from './steps.ts';
import { createThrottle, type Throttle } from './throttle.ts';

export interface SignIn {
  readonly sessions: PersonSessionStore;
  readonly links: Links;
  readonly passkeys: Passkeys;
  readonly approvals: Approvals;
  readonly providers: Providers;
  readonly accounts: Accounts;
  /** Who is signed in to other communities of this hub as well. */
  readonly elsewhere: Elsewhere;
  readonly throttle: Throttle;
  /** Whether a provider would work. Throws `source_unreachable` or `unauthenticated`. */
  readonly probe: Oidc['probe'];
  /** Says for all that comes later whether this hub is reached over loopback only. */
  readonly place: { isOnLoopback: boolean };
  /** Writes a failed try down. */
  noteFailure(error: IdlewildError, from: { readonly address: string; readonly via: string }): Promise<void>;
}

export interface SignInDeps {
  readonly database: Pick<OpenDatabase, 'db' | 'kind' | 'nowMs'>;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
  readonly log: Log;
  /** 32 bytes, the territory's and the same for all replicas. */
  readonly key: Uint8Array;
  /** Where OpenID providers may be in a private network: HOST or HOST:PORT, by the word of who runs the hub. */
  readonly privateProviders?: readonly string[] | undefined;
  /** What counts tries, where all communities of a process share it; absent: one's own. */
  readonly tries?: Buckets | undefined;
  /** How names become addresses; absent: as the system does. */
  readonly resolve?: GuardedFetchDeps['resolve'];
}

/** Kept where the keys' buckets are; see `callers/buckets.ts`. */
export const openTries = (database: SignInDeps['database'], clock: Clock): Buckets =>
  database.kind === 'postgres' ? createDatabaseBuckets(database) : createMemoryBuckets(clock);

export async function createSignIn(deps: SignInDeps, territory: string): Promise<SignIn> {
  const { database, crypto, clock, audit, log, key } = deps;
  const { db } = database;
  const keyFor = (use: string): Promise<Uint8Array> | Uint8Array =>
    crypto.sha256(concat([utf8(`idlewild/v1/sign-in ${use}\n`), key]));
  const common = { ...deps, db };
  const place = { isOnLoopback: false };
  const isOnLoopback = (): boolean => place.isOnLoopback;
  const sessions = createPersonSessions(common, territory);
  const newcomers = createNewcomers(common, territory);
  const steps = createSteps({ ...common, key: await keyFor('steps') }, territory);
  const providers = createProviders({ ...common, key: await keyFor('provider secrets') }, territory);
  const privatePlaces = new Set(deps.privateProviders?.map(privatePlace));
  const fetch = createGuardedFetch({ clock, isOnLoopback, privatePlaces, resolve: deps.resolve });
  const oidc = createOidc({ fetch, clock, providers, isOnLoopback });
  const throttle = createThrottle({ buckets: deps.tries ?? openTries(database, clock), crypto }, territory);
  const rooms = { ...common, sessions, newcomers, steps, providers, oidc };

  return {
    sessions,
    links: createLinks(rooms, territory),
    passkeys: createPasskeys(rooms, territory),
    approvals: createApprovals(rooms, territory),
    accounts: createAccounts(rooms, territory),
    elsewhere: createElsewhere(rooms, territory),
    providers,
    throttle,
    probe: oidc.probe,
    place,
    async noteFailure(error, { address, via }) {
      const { waitMs } = await throttle.take('failures', territory, SIGN_IN_LIMITS.failuresPerMinute);
      log.info({ via, code: error.code }, 'a sign-in was refused');
      if (waitMs > 0) return;
      const { link, state, passkey, provider } = error.details as Record<string, string | undefined>;
      const details = { via, code: error.code, from: (await hashOf(address, crypto)).slice(0, 16) };
      const action = state === 'used' ? 'linkUsedAgain' : 'signInRefused';
      const subject = link ?? passkey ?? provider ?? 'unknown';
      try {
        await db
          .transaction()
          .execute((transaction) =>
            audit.append(transaction, { territory, actor: 'unknown', action, subject, details }),
          );
      } catch (fault) {
        // Who is refused is refused, whether it could be written down or not.
        log.error({ why: messageOf(fault) }, 'a refused sign-in could not be written down');
      }
    },
  };
}
