/** Projects, what they are allocated, what may be spent and what was. */
import type { CallOptions, HubConnection } from './http.ts';

export interface Project {
  readonly id: string;
  readonly name: string;
  readonly purpose: string;
  readonly description: string;
  readonly state: 'active' | 'closed';
  readonly createdAt: string;
  readonly createdBy: string;
  readonly closedAt: string | null;
}

export interface ProjectDetails extends Project {
  readonly allocations: readonly Allocation[];
}

export interface Amounts {
  readonly tokens: number;
  /** `null`: not bounded. */
  readonly deviceHours: number | null;
  readonly bytes: number;
}

export type AllocationState = 'asked' | 'granted' | 'denied' | 'withdrawn' | 'ended';

export interface Allocation {
  readonly id: string;
  /** Id of the project. */
  readonly project: string;
  readonly state: AllocationState;
  readonly asked: Amounts;
  readonly granted: Amounts;
  readonly spent: Amounts;
  /** By requests that are being answered. */
  readonly heldTokens: number;
  readonly leftTokens: number;
  readonly from: string;
  readonly to: string;
  readonly why: string;
  readonly createdAt: string;
  readonly createdBy: string;
}

export interface AllocationEvent extends Amounts {
  readonly act: 'asked' | 'granted' | 'changed' | 'denied' | 'withdrawn' | 'ended';
  readonly at: string;
  readonly actor: string;
  readonly from: string;
  readonly to: string;
  readonly note: string;
}

export interface AllocationAsk {
  readonly tokens: number;
  readonly deviceHours?: number | undefined;
  readonly bytes?: number | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly why: string;
}

/** What is not said stays as it was asked for, or granted. */
export interface AllocationGrant {
  readonly tokens?: number | undefined;
  readonly deviceHours?: number | 'none' | undefined;
  readonly bytes?: number | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly note?: string | undefined;
}

export interface Projects {
  /** Those that the asker is in; for stewards and auditors all. */
  list(options?: CallOptions): Promise<Project[]>;
  /** By id or name. */
  get(project: string, options?: CallOptions): Promise<ProjectDetails>;
  /** Its maker leads it. */
  create(
    request: { readonly name: string; readonly purpose: string; readonly description?: string | undefined },
    options?: CallOptions,
  ): Promise<Project>;
  /** For good. */
  close(project: string, options?: CallOptions): Promise<Project>;
  ask(project: string, ask: AllocationAsk, options?: CallOptions): Promise<Allocation>;
}

export interface AllocationsApi {
  /** Newest first. */
  list(query?: { readonly state?: AllocationState | undefined }, options?: CallOptions): Promise<Allocation[]>;
  get(id: string, options?: CallOptions): Promise<Allocation & { readonly history: readonly AllocationEvent[] }>;
  grant(id: string, grant: AllocationGrant, options?: CallOptions): Promise<Allocation>;
  deny(id: string, note?: string, options?: CallOptions): Promise<Allocation>;
  /** What was asked for and is not answered yet. */
  withdraw(id: string, note?: string, options?: CallOptions): Promise<Allocation>;
  end(id: string, note?: string, options?: CallOptions): Promise<Allocation>;
}

export type CapKind = 'territory' | 'project' | 'key' | 'person';

export interface Caps {
  readonly kind: CapKind;
  readonly subject: string;
  readonly tokensPerDay: number | null;
  readonly requestsPerDay: number | null;
  readonly tokensPerMinute: number | null;
  readonly requestsPerMinute: number | null;
}

type Cap = number | 'none' | undefined;

export interface CapsChange {
  readonly kind: CapKind;
  /** Of a project also its name; of the territory nothing; of people also "everybody". */
  readonly subject?: string | undefined;
  readonly tokensPerDay?: Cap;
  readonly requestsPerDay?: Cap;
  readonly tokensPerMinute?: Cap;
  readonly requestsPerMinute?: Cap;
}

export interface SpendSettings {
  readonly allocations: 'optional' | 'required';
  readonly floorTokens: number;
  readonly floorRequests: number;
}

/** How one thing stands that bounds the asker today. */
export interface SpendLevel {
  readonly kind: CapKind | 'floor' | 'allocation';
  readonly subject: string;
  readonly tokens: {
    readonly most: number;
    readonly spent: number;
    readonly held: number;
    readonly left: number;
  } | null;
  readonly requests: { readonly most: number; readonly spent: number; readonly left: number } | null;
}

export interface Spending {
  /** What bounds the asker, and what is left. */
  left(options?: CallOptions): Promise<{ readonly levels: readonly SpendLevel[]; readonly renewsAt: string }>;
  caps(options?: CallOptions): Promise<{ readonly settings: SpendSettings; readonly caps: readonly Caps[] }>;
  cap(change: CapsChange, options?: CallOptions): Promise<Caps>;
  change(settings: Partial<SpendSettings>, options?: CallOptions): Promise<SpendSettings>;
  showback(query?: ShowbackQuery, options?: CallOptions): Promise<ShowbackRow[]>;
}

export interface ShowbackQuery {
  readonly by?: 'project' | 'person' | 'key' | 'model' | 'device' | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly project?: string | undefined;
}

export interface ShowbackRow {
  readonly id: string;
  readonly name: string;
  readonly requests: number;
  readonly failed: number;
  readonly promptTokens: number;
  readonly answerTokens: number;
  readonly deviceHours: number;
  /** Of answers whose devices told. */
  readonly energyWh: number;
  /** Answers of which no device told. */
  readonly energyUntold: number;
}

type Json = HubConnection['json'];

const queryOf = (query: object): string => {
  const asked = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return asked.length === 0 ? '' : `?${new URLSearchParams(asked).toString()}`;
};

export function projectsOf(json: Json): Projects {
  const at = (project: string, more = ''): string => `/api/projects/${encodeURIComponent(project)}${more}`;
  return {
    list: (options) => json('GET', '/api/projects', undefined, options),
    get: (project, options) => json('GET', at(project), undefined, options),
    create: (request, options) => json('POST', '/api/projects', request, options),
    close: (project, options) => json('POST', at(project, '/close'), undefined, options),
    ask: (project, ask, options) => json('POST', at(project, '/allocations'), ask, options),
  };
}

export function allocationsOf(json: Json): AllocationsApi {
  const at = (id: string, more = ''): string => `/api/allocations/${encodeURIComponent(id)}${more}`;
  return {
    list: (query = {}, options) => json('GET', `/api/allocations${queryOf(query)}`, undefined, options),
    get: (id, options) => json('GET', at(id), undefined, options),
    grant: (id, grant, options) => json('POST', at(id, '/grant'), grant, options),
    deny: (id, note, options) => json('POST', at(id, '/deny'), { note }, options),
    withdraw: (id, note, options) => json('POST', at(id, '/withdraw'), { note }, options),
    end: (id, note, options) => json('POST', at(id, '/end'), { note }, options),
  };
}

export const spendingOf = (json: Json): Spending => ({
  left: (options) => json('GET', '/api/spending', undefined, options),
  caps: (options) => json('GET', '/api/caps', undefined, options),
  cap: (change, options) => json('PATCH', '/api/caps', change, options),
  change: (settings, options) => json('PATCH', '/api/caps/settings', settings, options),
  showback: (query = {}, options) => json('GET', `/api/showback${queryOf(query)}`, undefined, options),
});
