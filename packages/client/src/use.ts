/** Rules of use of a community, and appeals against what they refused. */
import type { UseRules } from '@idlewild/protocol';
import type { CallOptions, HubConnection } from './http.ts';
import type { RulesSignature } from './shapes/hub.ts';

export interface UseRulesVersion {
  /** 0: nothing was ever said. */
  readonly version: number;
  readonly rules: UseRules;
  readonly createdBy: string | null;
  readonly createdAt: string | null;
  /** A steward's statement of them, in base64url; `null`: nobody signed them. */
  readonly signed: string | null;
}

export interface UseTrial {
  readonly model: string;
  readonly text?: string | undefined;
  readonly purpose?: string | undefined;
  /** Names of groups that the asker would be in. */
  readonly groups?: readonly string[] | undefined;
  /** The asker's key, as profiles name it. */
  readonly keys?: readonly string[] | undefined;
  readonly sealed?: boolean | undefined;
}

export interface UseVerdict {
  readonly isRefused: boolean;
  readonly reason: string | null;
  readonly why: string | null;
}

export type AppealState = 'open' | 'upheld' | 'reversed' | 'withdrawn';

export interface Appeal {
  readonly id: string;
  readonly refusal: string;
  readonly actor: string;
  readonly reason: string;
  readonly model: string;
  readonly refusedAt: string;
  readonly words: string;
  readonly state: AppealState;
  readonly createdAt: string;
  /** By when somebody should have looked. */
  readonly dueAt: string;
  readonly decidedBy: string | null;
  readonly decidedAt: string | null;
  readonly note: string | null;
}

export interface AppealDecision {
  readonly state: 'upheld' | 'reversed';
  readonly note?: string | undefined;
  /** Of a reversal: how long the rule is lifted; absent: for good. */
  readonly exemptSeconds?: number | undefined;
}

export interface UseApi {
  current(options?: CallOptions): Promise<UseRulesVersion & RulesSignature>;
  /** Newest first. */
  history(options?: CallOptions): Promise<UseRulesVersion[]>;
  /** `after`: the version that the change was made of; another one by now is not overwritten. */
  apply(
    change: {
      readonly rules: unknown;
      readonly after?: number | undefined;
      /** What a steward signed of them, as of the version that they will be. */
      readonly signed?: string | undefined;
    },
    options?: CallOptions,
  ): Promise<{ readonly version: number }>;
  try(trial: UseTrial, options?: CallOptions): Promise<UseVerdict>;
}

export interface AppealsApi {
  /** Their own for callers, all for those who decide. */
  list(query?: { readonly state?: AppealState | undefined }, options?: CallOptions): Promise<Appeal[]>;
  get(id: string, options?: CallOptions): Promise<Appeal>;
  file(appeal: { readonly refusal: string; readonly words: string }, options?: CallOptions): Promise<Appeal>;
  withdraw(id: string, options?: CallOptions): Promise<void>;
  decide(id: string, decision: AppealDecision, options?: CallOptions): Promise<Appeal>;
}

export const useOf = (json: HubConnection['json']): UseApi => ({
  current: (options) => json('GET', '/api/use', undefined, options),
  history: (options) => json('GET', '/api/use/history', undefined, options),
  apply: (change, options) => json('PUT', '/api/use', change, options),
  try: (trial, options) => json('POST', '/api/use/try', trial, options),
});

export function appealsOf(json: HubConnection['json']): AppealsApi {
  const at = (id: string, more = ''): string => `/api/appeals/${encodeURIComponent(id)}${more}`;
  return {
    list: ({ state } = {}, options) =>
      json('GET', `/api/appeals${state === undefined ? '' : `?state=${state}`}`, undefined, options),
    get: (id, options) => json('GET', at(id), undefined, options),
    file: (appeal, options) => json('POST', '/api/appeals', appeal, options),
    withdraw: (id, options) => json('DELETE', at(id), undefined, options),
    decide: (id, decision, options) => json('POST', at(id, '/decision'), decision, options),
  };
}
