/** Who asks. Known from a key, a session or a connected device; what it may do is the policy's matter. */
import type { DataClass } from '@idlewild/protocol';

/** How much a key may ask for in a minute. Absent: what holds for every key of the territory. */
export interface KeyLimits {
  readonly requestsPerMinute?: number | 'none';
  readonly tokensPerMinute?: number | 'none';
}

/**
 * A key. With a person it is that person's own and may do what both may; without one it is a service key, which the
 * territory owns.
 */
export interface KeyPrincipal extends KeyLimits {
  readonly kind: 'key';
  readonly keyId: string;
  readonly territory: string;
  /** Held in the whole territory; bindings may add more. */
  readonly role: string;
  readonly name: string;
  readonly person?: string;
  /** On whose account it asks. */
  readonly project?: string;
  /** Of what it asks, unless a request says that it is more delicate. */
  readonly dataClass: DataClass;
}

/** Somebody who signed in. */
export interface PersonPrincipal {
  readonly kind: 'person';
  readonly personId: string;
  readonly session: string;
  readonly territory: string;
}

/** A device on an open channel, known by the ticket of its session. */
export interface DevicePrincipal {
  readonly kind: 'device';
  readonly deviceId: string;
  readonly territory: string;
}

export type Principal = KeyPrincipal | PersonPrincipal | DevicePrincipal;

/** Why what was a key or a session here is none any more, or is not let in: the audit log says so. */
export type NoMore = 'revoked' | 'expired' | 'ended' | 'suspended' | 'left';

/** How an audit entry names it, and what requests are counted under. */
export function actorOf(principal: Principal): string {
  if (principal.kind === 'key') return principal.keyId;
  return principal.kind === 'person' ? principal.personId : principal.deviceId;
}

/** Whose it is, where it is somebody's. */
export function personOf(principal: Principal): string | undefined {
  if (principal.kind === 'person') return principal.personId;
  return principal.kind === 'key' ? principal.person : undefined;
}
