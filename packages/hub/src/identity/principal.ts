/** Who asks. Known from a key or from a connected device; what it may do is the policy's matter. */
import type { Role } from '../db/schema.ts';

/** How much a key may ask for in a minute. Absent: what holds for every key of the territory. */
export interface KeyLimits {
  readonly requestsPerMinute?: number | 'none';
  readonly tokensPerMinute?: number | 'none';
}

export interface KeyPrincipal extends KeyLimits {
  readonly kind: 'key';
  readonly keyId: string;
  readonly territory: string;
  readonly role: Role;
  readonly name: string;
}

/** A device on an open channel, known by the ticket of its session. */
export interface DevicePrincipal {
  readonly kind: 'device';
  readonly deviceId: string;
  readonly territory: string;
}

export type Principal = KeyPrincipal | DevicePrincipal;

/** How an audit entry names it. */
export const actorOf = (principal: Principal): string =>
  principal.kind === 'key' ? principal.keyId : principal.deviceId;
