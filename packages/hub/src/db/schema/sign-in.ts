/**
 * Tables of how people sign in. Secrets are hashed (sessions, links, programs) or sealed (providers); times are
 * milliseconds since 1970.
 */
import type { Generated } from 'kysely';

/**
 * How somebody proved who they are. An invitation was made for whoever comes first; a link for a member who is there
 * already, by somebody else.
 */
export const SIGN_IN_WAYS = ['invitation', 'link', 'passkey', 'provider', 'approval'] as const;
export type SignInWay = (typeof SIGN_IN_WAYS)[number];

/** A browser or a program in which somebody is signed in. */
export interface PersonSessions {
  id: string;
  territory_id: string;
  person_id: string;
  /** SHA-256 of its token, in hex. */
  hash: string;
  kind: 'browser' | 'program';
  via: SignInWay;
  /** Of this territory: its holder is signed in, or let this one in. */
  passkey_id: Generated<string | null>;
  /** 0: it goes back to a link that somebody else made for a member. */
  is_own: Generated<0 | 1>;
  /** What it said it is. */
  label: string;
  /** When who they are was proved; a session that is made anew keeps it. */
  signed_in_at_ms: number;
  seen_at_ms: number;
  expires_at_ms: number;
  ended_at_ms: number | null;
}

/** A code that lets somebody in once. */
export interface SignInLinks {
  id: string;
  territory_id: string;
  /** SHA-256 of the code, in hex. */
  hash: string;
  /** Member whom it signs in; `null`: it makes one. */
  person_id: string | null;
  /** What a new member is called; empty: whatever who comes says. */
  name: string;
  /** What a new member gets. */
  role: string;
  /** Ids of groups. */
  groups_json: string;
  /** Who made it: a person or a key. */
  created_by: string;
  created_at_ms: number;
  expires_at_ms: number;
  used_at_ms: number | null;
  /** Session that came of it. */
  used_by: string | null;
  withdrawn_at_ms: number | null;
}

export interface Passkeys {
  id: string;
  territory_id: string;
  person_id: string;
  /** As the authenticator names it, base64url. */
  credential_id: string;
  /** COSE key. */
  public_key: Uint8Array;
  counter: number;
  /** A list, as the browser told it. */
  transports_json: string;
  name: string;
  /** 1: it may be on several devices of its person. */
  is_synced: 0 | 1;
  /** Of the session in which it was added. */
  is_own: Generated<0 | 1>;
  /** Territory whose name for the person the authenticator keeps; `null`: this one. */
  made_in: Generated<string | null>;
  created_at_ms: number;
  used_at_ms: number | null;
}

/** An OpenID provider that a territory trusts to say who somebody is. */
export interface OidcProviders {
  id: string;
  territory_id: string;
  name: string;
  issuer: string;
  client_id: string;
  /** Sealed; `null` for a client that has none. */
  client_secret: Uint8Array | null;
  /** E-mail domains and claims whose people may join by themselves: an `Admission` of `sign-in/oidc/providers.ts`. */
  admission_json: string;
  /** Role of those who join so. */
  role: string;
  created_at_ms: number;
  created_by: string;
}

/** Whom a provider's `sub` is here. */
export interface OidcIdentities {
  territory_id: string;
  provider_id: string;
  subject: string;
  person_id: string;
  /** Of the session in which it was linked. */
  is_own: Generated<0 | 1>;
  created_at_ms: number;
  used_at_ms: number | null;
}

/** A program that waits for somebody to approve it in a browser. */
export interface SignInApprovals {
  territory_id: string;
  /** SHA-256 of what the program holds, in hex. */
  hash: string;
  /** What the person types. */
  user_code: string;
  label: string;
  address: string;
  created_at_ms: number;
  expires_at_ms: number;
  /** Who approved it. */
  person_id: string | null;
  /** Of the session in which it was approved. */
  passkey_id: Generated<string | null>;
  is_own: Generated<0 | 1>;
  /** Whether the person said no. */
  is_denied: Generated<0 | 1>;
}

/** Steps of a sign-in that were taken and are not taken again; kept until they would have expired. */
export interface SignInSteps {
  territory_id: string;
  id: string;
  expires_at_ms: number;
}
