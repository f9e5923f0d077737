/** What holds in a community and why: its policies, explanations of decisions, cases. */
import type { DataClass } from '@idlewild/protocol';
import type { CallOptions, HubConnection } from './http.ts';

export interface PolicyText {
  readonly name: string;
  /** Of Cedar. */
  readonly text: string;
}

export interface OwnPolicy extends PolicyText {
  readonly version: number;
  readonly changedAt: string;
  readonly changedBy: string;
}

export interface PoliciesHeld {
  /** Another set of policies is another version. */
  readonly version: string;
  /** Of Cedar: who and what there is, and what can be asked. */
  readonly schema: string;
  /** Every policy by its id: `role:NAME`, the bare name of a built-in one, `TEXT/NAME` of one of the community's. */
  readonly policies: readonly { readonly id: string; readonly text: string }[];
  readonly own: readonly OwnPolicy[];
}

export interface PolicyState {
  readonly version: number;
  /** `null`: it was removed. */
  readonly text: string | null;
  readonly why: string;
  readonly changedAt: string;
  readonly changedBy: string;
}

export interface PolicyChange {
  /** Names of those whose text is another. */
  readonly changed: readonly string[];
  /** What roles and tiers may that they might not, or no more. */
  readonly changes: readonly { readonly who: string; readonly what: string; readonly isAllowed: boolean }[];
  /** Ids of those that differ and hold under circumstances, on one thing or for some only: `changes` cannot show it. */
  readonly circumstantial: readonly string[];
}

export interface PolicyQuestion {
  readonly action: string;
  /** The id of a device or key, the name or CID of a model. */
  readonly on?: string | undefined;
  readonly project?: string | undefined;
  readonly person?: string | undefined;
  readonly pools?: readonly string[] | undefined;
  readonly class?: DataClass | undefined;
  readonly purpose?: string | undefined;
  readonly sealed?: boolean | undefined;
}

export interface PolicyExplanation {
  readonly isAllowed: boolean;
  /** Ids of policies. */
  readonly decidedBy: readonly string[];
  readonly rolesThatMay: readonly string[];
  readonly needed: string;
  readonly message: string;
}

export interface PolicyCaseResult {
  readonly name: string;
  readonly isAsExpected: boolean;
  readonly expected: string;
  readonly message: string;
  readonly decidedBy: readonly string[];
}

export interface PolicyApi {
  held(options?: CallOptions): Promise<PoliciesHeld>;
  /** Newest first. */
  history(name: string, options?: CallOptions): Promise<PolicyState[]>;
  /** All or none. `dryRun`: what it would change. Throws `policy_invalid`. */
  apply(
    change: { readonly policies: readonly PolicyText[]; readonly why?: string; readonly dryRun?: boolean },
    options?: CallOptions,
  ): Promise<PolicyChange>;
  remove(name: string, why?: string, options?: CallOptions): Promise<PolicyChange>;
  /** `as`: a member, key or device by id or name, or `role:NAME`; absent: whoever asks. */
  explain(
    question: PolicyQuestion & { readonly as?: string | undefined },
    options?: CallOptions,
  ): Promise<PolicyExplanation>;
  /** Cases are as `docs/policy.md` describes them. */
  test(
    trial: { readonly cases: readonly unknown[]; readonly policies?: readonly PolicyText[] },
    options?: CallOptions,
  ): Promise<PolicyCaseResult[]>;
}

export function policyOf(json: HubConnection['json']): PolicyApi {
  const at = (name: string, more = ''): string => `/api/policy/${encodeURIComponent(name)}${more}`;
  return {
    held: (options) => json('GET', '/api/policy', undefined, options),
    history: (name, options) => json('GET', at(name, '/history'), undefined, options),
    apply: (change, options) => json('PUT', '/api/policy', change, options),
    remove: (name, why = '', options) =>
      json('DELETE', at(name, why === '' ? '' : `?why=${encodeURIComponent(why)}`), undefined, options),
    explain: (question, options) => json('POST', '/api/policy/explain', question, options),
    test: (trial, options) => json('POST', '/api/policy/test', trial, options),
  };
}
