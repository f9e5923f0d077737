/** What stewards say of devices, and by which keys they vouch for them. */
import type { DeviceTier } from '@idlewild/protocol';
import type { CallOptions, HubConnection } from './http.ts';

export interface DeviceChange {
  readonly tier?: DeviceTier;
  /** Id of the member who lends it; `null` is nobody. */
  readonly person?: string | null;
}

export interface Steward {
  readonly id: string;
  readonly name: string;
  /** Ed25519 public key in base64url. The hub says it: pin one that a steward gave you. */
  readonly key: string;
  readonly addedAt: string;
  readonly addedBy: string;
  readonly removedAt: string | null;
}

export interface DeviceTrust {
  /** Holds within a second. */
  change(id: string, change: DeviceChange, options?: CallOptions): Promise<void>;
  addToPool(id: string, pool: string, options?: CallOptions): Promise<void>;
  removeFromPool(id: string, pool: string, options?: CallOptions): Promise<void>;
  /** Statements in base64url, as `@idlewild/protocol` signs them. */
  vouch(id: string, chain: readonly string[], options?: CallOptions): Promise<{ steward: string; expiresAt: string }>;
}

export interface Stewards {
  /** Removed ones included. */
  list(options?: CallOptions): Promise<Steward[]>;
  add(request: { readonly name: string; readonly key: string }, options?: CallOptions): Promise<Steward>;
  /** What it signed is shown no more. */
  remove(id: string, options?: CallOptions): Promise<void>;
}

const at = (id: string, more = ''): string => `/api/devices/${encodeURIComponent(id)}${more}`;
const pool = (name: string): string => `/pools/${encodeURIComponent(name)}`;

export const deviceTrustOf = (json: HubConnection['json']): DeviceTrust => ({
  change: (id, change, options) => json('PATCH', at(id), change, options),
  addToPool: (id, name, options) => json('PUT', at(id, pool(name)), undefined, options),
  removeFromPool: (id, name, options) => json('DELETE', at(id, pool(name)), undefined, options),
  vouch: (id, chain, options) => json('PUT', at(id, '/vouch'), { chain }, options),
});

export const stewardsOf = (json: HubConnection['json']): Stewards => ({
  list: (options) => json('GET', '/api/stewards', undefined, options),
  add: (request, options) => json('POST', '/api/stewards', request, options),
  remove: (id, options) => json('DELETE', `/api/stewards/${encodeURIComponent(id)}`, undefined, options),
});
