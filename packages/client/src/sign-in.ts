/** Signing in as a person, one's own sessions, and what stewards do about how others sign in. */
import type { CallOptions, HubConnection } from './http.ts';

/** A program's session. The token is sent as a key would be. */
export interface ProgramSession {
  readonly session: string;
  /** Id. */
  readonly person: string;
  readonly token: string;
  readonly expiresAt: string;
}

export interface AskedApproval {
  /** What the program keeps, to claim its session with. */
  readonly secret: string;
  /** What the person types on the page at `url`. */
  readonly userCode: string;
  readonly url: string;
  readonly expiresAt: string;
  readonly askEveryMs: number;
}

export interface PersonSession {
  readonly id: string;
  readonly kind: 'browser' | 'program';
  readonly via: 'invitation' | 'link' | 'passkey' | 'provider' | 'approval';
  /** Whether it is hers alone, and does not go back to a link that somebody else made for her. */
  readonly isOwn: boolean;
  /** What it said it is. */
  readonly label: string;
  readonly signedInAt: string;
  readonly seenAt: string;
  readonly expiresAt: string;
  /** Of one's own: whether this was asked with it. */
  readonly isThis?: boolean;
}

export interface InvitationRequest {
  /** Absent: whoever comes says what they are called. */
  readonly name?: string | undefined;
  readonly role?: string | undefined;
  /** Ids. */
  readonly groups?: readonly string[] | undefined;
  readonly expiresInSeconds?: number | undefined;
}

/** Shown this once. */
export interface SignInLink {
  readonly id: string;
  readonly code: string;
  readonly url: string;
  readonly expiresAt: string;
}

export interface Invitation {
  readonly id: string;
  /** Of a link that signs a member in. */
  readonly person: string | null;
  readonly name: string;
  readonly role: string;
  readonly createdBy: string;
  readonly createdAt: string;
  readonly expiresAt: string;
}

export interface SignInProviderRequest {
  readonly name: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret?: string | undefined;
  /** Domains of verified e-mail addresses whose people may join by themselves. */
  readonly allowDomains?: readonly string[] | undefined;
  /** `NAME=VALUE`: who has all of them may join. */
  readonly allowClaims?: readonly string[] | undefined;
  readonly role?: string | undefined;
}

export interface SignInProvider {
  readonly id: string;
  readonly name: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly allowDomains: readonly string[];
  readonly allowClaims: readonly string[];
  readonly role: string;
  readonly hasSecret: boolean;
  readonly createdAt: string;
}

/** With what the provider is to be told. */
export interface AddedSignInProvider extends SignInProvider {
  readonly returnUrl: string;
}

export interface CodeRequest {
  readonly code: string;
  readonly name?: string | undefined;
  readonly label?: string | undefined;
  /** Tokens of one person's sessions of other communities of the same hub, who joins as herself. */
  readonly sessions?: readonly string[] | undefined;
}

export interface CodeFacts {
  /** For somebody who joins, or for a member who lost every way to sign in. */
  readonly kind: 'invitation' | 'link';
  readonly community: string;
  /** What the invitation says that she is called; empty: she says it. */
  readonly name: string;
  /** Whose the sessions are that were shown. */
  readonly people: readonly {
    /** Id. */
    readonly person: string;
    readonly name: string;
    readonly communities: readonly string[];
    /** Why she may not join as herself. */
    readonly refusal: string | null;
  }[];
}

export interface SignInApi {
  withCode(request: CodeRequest, options?: CallOptions): Promise<ProgramSession>;
  /** What a code is good for, which leaves it as it is. */
  lookAtCode(request: Pick<CodeRequest, 'code' | 'sessions'>, options?: CallOptions): Promise<CodeFacts>;
  askApproval(request: { readonly label: string }, options?: CallOptions): Promise<AskedApproval>;
  /** `undefined` while nobody has answered. */
  claim(secret: string, options?: CallOptions): Promise<ProgramSession | undefined>;
  readonly sessions: {
    list(options?: CallOptions): Promise<PersonSession[]>;
    end(id: string, options?: CallOptions): Promise<void>;
    /** Ends the one that this is asked with. */
    signOut(options?: CallOptions): Promise<void>;
    endAll(options?: CallOptions): Promise<{ readonly ended: number }>;
    of(member: string, options?: CallOptions): Promise<PersonSession[]>;
    endOf(member: string, id: string, options?: CallOptions): Promise<void>;
    endAllOf(member: string, options?: CallOptions): Promise<{ readonly ended: number }>;
  };
  readonly invitations: {
    create(request: InvitationRequest, options?: CallOptions): Promise<SignInLink>;
    list(options?: CallOptions): Promise<Invitation[]>;
    withdraw(id: string, options?: CallOptions): Promise<void>;
    /** A link that signs a member in. */
    linkFor(
      member: string,
      request?: { readonly expiresInSeconds?: number | undefined },
      options?: CallOptions,
    ): Promise<SignInLink>;
  };
  readonly providers: {
    list(options?: CallOptions): Promise<SignInProvider[]>;
    add(request: SignInProviderRequest, options?: CallOptions): Promise<AddedSignInProvider>;
    remove(id: string, options?: CallOptions): Promise<void>;
  };
}

export function signInOf(json: HubConnection['json']): SignInApi {
  const at = (...parts: string[]): string =>
    parts.map((part, i) => (i % 2 === 0 ? part : encodeURIComponent(part))).join('');
  return {
    withCode: (request, options) => json('POST', '/api/sign-in/code', request, options),
    lookAtCode: (request, options) => json('POST', '/api/sign-in/code/look', request, options),
    askApproval: (request, options) => json('POST', '/api/sign-in/programs', request, options),
    async claim(secret, options) {
      const said = await json<ProgramSession | { readonly waiting: true }>(
        'POST',
        '/api/sign-in/programs/claim',
        { secret },
        options,
      );
      return 'waiting' in said ? undefined : said;
    },
    sessions: {
      list: (options) => json('GET', '/api/sessions', undefined, options),
      end: (id, options) => json('DELETE', at('/api/sessions/', id), undefined, options),
      signOut: (options) => json('DELETE', '/api/session', undefined, options),
      endAll: (options) => json('DELETE', '/api/sessions', undefined, options),
      of: (member, options) => json('GET', at('/api/members/', member, '/sessions'), undefined, options),
      endOf: (member, id, options) => json('DELETE', at('/api/members/', member, '/sessions/', id), undefined, options),
      endAllOf: (member, options) => json('DELETE', at('/api/members/', member, '/sessions'), undefined, options),
    },
    invitations: {
      create: (request, options) => json('POST', '/api/people/invitations', request, options),
      list: (options) => json('GET', '/api/people/invitations', undefined, options),
      withdraw: (id, options) => json('DELETE', at('/api/people/invitations/', id), undefined, options),
      linkFor: (member, request = {}, options) => json('POST', at('/api/members/', member, '/link'), request, options),
    },
    providers: {
      list: (options) => json('GET', '/api/providers', undefined, options),
      add: (request, options) => json('POST', '/api/providers', request, options),
      remove: (id, options) => json('DELETE', at('/api/providers/', id), undefined, options),
    },
  };
}
