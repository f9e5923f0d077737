/**
 * Signing in with an OpenID provider: authorization code with PKCE, state and nonce, bound to one browser.
 *
 * What a provider must get right is checked by `openid-client`: issuer (also in the answer, RFC 9207), audience, nonce,
 * times, and the token's signature by one of its published keys, of an asymmetric algorithm, although it came over TLS.
 * Every address that a provider names goes through the guarded fetch. Each provider has a return address of its own, so
 * that one's answer cannot pass for another's. Who a subject is here is `providers.ts`'s matter.
 */
import { IdlewildError, codeOf, messageOf, type Clock } from '@idlewild/protocol';
import type * as OpenIdModule from 'openid-client';
import { SIGN_IN_LIMITS } from '../limits.ts';
import { checkedUrl, type GuardedFetch } from './guarded-fetch.ts';
import type { Admission, Provider, Providers } from './providers.ts';

/** What is kept in the browser, sealed, until it comes back. */
export interface ProviderStep {
  readonly provider: string;
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
}

/** Whom a provider says somebody is. */
export interface Subject {
  readonly subject: string;
  /** For people; anything may stand in it. */
  readonly name: string;
  /** Whether it may join by itself. */
  readonly isAdmitted: boolean;
}

export interface Oidc {
  /** Throws `source_unreachable` where the provider does not answer as it should. */
  begin(provider: Provider, returnUrl: string): Promise<{ readonly url: URL; readonly step: ProviderStep }>;
  /** `came`: the address that the browser came back to. Throws `unauthenticated` or `source_unreachable`. */
  finish(provider: Provider, came: URL, step: ProviderStep): Promise<Subject>;
  /** Reads the provider's description, as `begin` would. Throws `source_unreachable`. */
  probe(issuer: string, clientId: string): Promise<void>;
}

export interface OidcDeps {
  readonly fetch: GuardedFetch;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly providers: Pick<Providers, 'secretOf'>;
  readonly isOnLoopback: () => boolean;
}

type OpenId = typeof OpenIdModule;
type Configuration = OpenIdModule.Configuration;

const SCOPE = 'openid profile email';

export function createOidc({ fetch, clock, providers, isOnLoopback }: OidcDeps): Oidc {
  const known = new Map<string, { readonly configuration: Configuration; readonly readAtMs: number }>();

  async function discover(
    openid: OpenId,
    { issuer, clientId }: Pick<Provider, 'issuer' | 'clientId'>,
    secret: string | undefined,
  ): Promise<Configuration> {
    const url = checkedUrl(issuer, isOnLoopback());
    const configuration = await openid.discovery(
      url,
      clientId,
      { [openid.clockTolerance]: SIGN_IN_LIMITS.clockToleranceSeconds },
      secret === undefined ? openid.None() : openid.ClientSecretPost(secret),
      {
        [openid.customFetch]: fetch,
        timeout: SIGN_IN_LIMITS.providerMsMax / 1_000,
        // Which addresses may be plain HTTP is decided by the guarded fetch, for each of them.
        execute: isOnLoopback() ? [openid.allowInsecureRequests] : [],
      },
    );
    openid.enableNonRepudiationChecks(configuration);
    const { authorization_endpoint: door } = configuration.serverMetadata();
    // The browser is sent there: nothing but a page.
    checkedUrl(door ?? '', isOnLoopback());
    return configuration;
  }

  async function configurationOf(openid: OpenId, provider: Provider): Promise<Configuration> {
    const kept = known.get(provider.id);
    if (kept !== undefined && clock.monotonic() - kept.readAtMs < SIGN_IN_LIMITS.providerFreshMs)
      return kept.configuration;
    known.delete(provider.id);
    const secret = await providers.secretOf(provider.id);
    const configuration = await unlessUnfit(provider.name, () => discover(openid, provider, secret));
    known.set(provider.id, { configuration, readAtMs: clock.monotonic() });
    if (known.size > SIGN_IN_LIMITS.providersMax) known.delete(known.keys().next().value as string);
    return configuration;
  }

  return {
    async begin(provider, returnUrl) {
      const openid = await load();
      const configuration = await configurationOf(openid, provider);
      const verifier = openid.randomPKCECodeVerifier();
      const step = { provider: provider.id, state: openid.randomState(), nonce: openid.randomNonce(), verifier };
      const url = openid.buildAuthorizationUrl(configuration, {
        redirect_uri: returnUrl,
        scope: SCOPE,
        code_challenge: await openid.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        state: step.state,
        nonce: step.nonce,
      });
      return { url, step };
    },
    async finish(provider, came, step) {
      if (step.provider !== provider.id) throw refused(provider.name, 'this sign-in was begun with another provider');
      const openid = await load();
      const configuration = await configurationOf(openid, provider);
      const { claims, token } = await unlessUnfit(provider.name, async () => {
        const answer = await openid.authorizationCodeGrant(configuration, came, {
          pkceCodeVerifier: step.verifier,
          expectedState: step.state,
          expectedNonce: step.nonce,
          idTokenExpected: true,
        });
        return { claims: answer.claims() as OpenIdModule.IDToken, token: answer.access_token };
      });
      const { sub } = claims;
      if (typeof sub !== 'string' || sub === '' || sub.length > SIGN_IN_LIMITS.subjectCharactersMax)
        throw refused(provider.name, 'it does not say who you are');
      const more = await unlessUnfit(provider.name, () => moreOf(openid, configuration, token, sub));
      // What the token says was signed, and outweighs the rest.
      const all: Claims = { ...more, ...claims };
      return { subject: sub, name: nameOf(all, sub), isAdmitted: isAdmitted(provider.admission, all) };
    },
    async probe(issuer, clientId) {
      const openid = await load();
      await unlessUnfit(issuer.slice(0, 200), () => discover(openid, { issuer, clientId }, undefined));
    },
  };
}

/** Loaded when somebody needs it: most hubs have no provider. */
const load = (): Promise<OpenId> => import('openid-client');

type Claims = Readonly<Record<string, unknown>>;

/** Many providers put names and addresses here only. */
async function moreOf(openid: OpenId, configuration: Configuration, token: string, sub: string): Promise<Claims> {
  if (configuration.serverMetadata().userinfo_endpoint === undefined) return {};
  return openid.fetchUserInfo(configuration, token, sub);
}

function nameOf(claims: Claims, sub: string): string {
  for (const claim of ['name', 'preferred_username', 'nickname', 'given_name']) {
    const value = claims[claim];
    if (typeof value === 'string' && value.trim() !== '') return value;
  }
  return sub;
}

export function isAdmitted({ domains, claims: wanted }: Admission, claims: Claims): boolean {
  if (domains.length === 0 && wanted.length === 0) return false;
  const hasAll = wanted.every(({ name, value }) => {
    const given = Object.hasOwn(claims, name) ? claims[name] : undefined;
    return Array.isArray(given) ? given.includes(value) : String(given) === value && given !== undefined;
  });
  return hasAll && (domains.length === 0 || domains.includes(verifiedDomain(claims) ?? ''));
}

function verifiedDomain({ email, email_verified: isVerified }: Claims): string | undefined {
  if (typeof email !== 'string' || isVerified !== true) return undefined;
  const at = email.lastIndexOf('@');
  return at < 1 ? undefined : email.slice(at + 1).toLowerCase();
}

const refused = (name: string, why: string, cause?: unknown): IdlewildError =>
  new IdlewildError('unauthenticated', `${name} did not sign you in: ${why}; try again, or sign in another way`, {
    cause,
  });

/** What a provider did wrong, told as that. */
async function unlessUnfit<Result>(name: string, act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (error) {
    if (codeOf(error) !== undefined) throw error;
    const cause = (error as Error).cause;
    if (codeOf(cause) !== undefined) throw cause;
    const { error: said, error_description: more } = error as { error?: unknown; error_description?: unknown };
    const why = typeof said === 'string' ? [said, more].filter((part) => typeof part === 'string').join(': ') : '';
    throw refused(name, (why || messageOf(error)).slice(0, 300), error);
  }
}
