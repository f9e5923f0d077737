/** Communities of a hub, for stewards of its first one; what a community is called, for its own. */
import type { CallOptions, HubConnection } from './http.ts';

export interface Territory {
  readonly id: string;
  readonly name: string;
  /** Ed25519, base64url: what devices and callers pin. */
  readonly key: string;
  /** Where its callers and devices reach it. */
  readonly address: string;
  readonly createdAt: string;
  readonly closedAt: string | null;
  /** It belongs to whoever runs the hub. */
  readonly first: boolean;
  /** Whether the replica that was asked serves it. */
  readonly served: boolean;
}

export interface OpenedTerritory extends Territory {
  /** Where no steward of it had a key that works: shown this once. */
  readonly stewardKey: string | null;
}

export interface Territories {
  /** The first one first, then by age. */
  list(options?: CallOptions): Promise<Territory[]>;
  get(id: string, options?: CallOptions): Promise<Territory>;
  create(request: { readonly name: string }, options?: CallOptions): Promise<OpenedTerritory>;
  /** It is served no longer; what it has stays. */
  close(id: string, options?: CallOptions): Promise<Territory>;
  open(id: string, options?: CallOptions): Promise<OpenedTerritory>;
  /** The one whose key asks. */
  rename(request: { readonly name: string }, options?: CallOptions): Promise<Pick<Territory, 'id' | 'name'>>;
}

export function territoriesOf(json: HubConnection['json']): Territories {
  const at = (id: string, more = ''): string => `/api/territories/${encodeURIComponent(id)}${more}`;
  return {
    list: (options) => json('GET', '/api/territories', undefined, options),
    get: (id, options) => json('GET', at(id), undefined, options),
    create: (request, options) => json('POST', '/api/territories', request, options),
    close: (id, options) => json('POST', at(id, '/close'), undefined, options),
    rename: (request, options) => json('PATCH', '/api/territory', request, options),
    open: (id, options) => json('POST', at(id, '/open'), undefined, options),
  };
}
