/**
 * Cedar's engine, as far as it is needed here: texts are parsed and checked against the schema, and sets of policies
 * are prepared once and asked often.
 *
 * The engine keeps what was prepared under a name and forgets it only when the name is given to something else. So
 * names are lent: equal sets share one, and one that nobody holds any more is the next to be given away.
 */
import { readFileSync } from 'node:fs';
import type {
  DetailedError,
  EntityJson,
  EntityUidJson,
  PolicyJson,
  StatefulAuthorizationCall,
} from '@cedar-policy/cedar-wasm/nodejs';
import type * as CedarModule from '@cedar-policy/cedar-wasm/nodejs';

/** 4 MiB of WebAssembly: loaded when a hub starts, not when a file of this package is imported. */
export type Cedar = typeof CedarModule;
export type { EntityJson, EntityUidJson, PolicyJson };

export const loadCedar = (): Promise<Cedar> => import('@cedar-policy/cedar-wasm/nodejs');

export const SCHEMA = readFileSync(new URL('schema.cedarschema', import.meta.url), 'utf8');
export const BUILT_IN_POLICIES = readFileSync(new URL('policies.cedar', import.meta.url), 'utf8');

/** Policies by id. */
export type PolicyTexts = Readonly<Record<string, string | PolicyJson>>;

export interface Answer {
  readonly isAllowed: boolean;
  /** Ids of the policies that decided. */
  readonly decidedBy: readonly string[];
  /** A policy that fails is skipped by Cedar; were it a `forbid`, that would let somebody in. */
  readonly failed: readonly { readonly id: string; readonly why: string }[];
}

export type Asked = Pick<StatefulAuthorizationCall, 'principal' | 'action' | 'resource' | 'context' | 'entities'>;

export interface PreparedPolicies {
  ask(asked: Asked): Answer;
  /** The engine may forget them. Once. */
  release(): void;
}

interface Lent {
  readonly slot: string;
  holders: number;
}

/** What the one engine of this process holds; it is its state that is mirrored here. */
const lent = new Map<string, Lent>();
const free: string[] = [];
let slots = 0;

/** `texts` hold already: they were checked. */
export function preparePolicies(cedar: Cedar, version: string, texts: PolicyTexts): PreparedPolicies {
  const held = lent.get(version) ?? begin(cedar, texts);
  const { slot } = held;
  lent.set(version, held);
  held.holders++;
  return {
    ask: (asked) => ask(cedar, slot, asked),
    release() {
      if (--held.holders > 0) return;
      lent.delete(version);
      free.push(slot);
    },
  };
}

function begin(cedar: Cedar, texts: PolicyTexts): Lent {
  const slot = free.pop() ?? `policies ${slots++}`;
  const parsed = cedar.preparsePolicySet(slot, { staticPolicies: { ...texts } });
  if (parsed.type === 'failure') throw new Error(`the policies do not hold: ${textsOf(parsed.errors)}`);
  return { slot, holders: 0 };
}

function ask(cedar: Cedar, slot: string, asked: Asked): Answer {
  // Whether the schema foresees it at all was looked at before, and costs half as much again here.
  const answer = cedar.statefulIsAuthorized({ ...asked, preparsedPolicySetId: slot, validateRequest: false });
  if (answer.type === 'failure') throw new Error(`the policies cannot decide: ${textsOf(answer.errors)}`);
  const { decision, diagnostics } = answer.response;
  return {
    isAllowed: decision === 'allow' && diagnostics.errors.length === 0,
    decidedBy: diagnostics.reason,
    failed: diagnostics.errors.map(({ policyId, error }) => ({ id: policyId, why: error.message })),
  };
}

export const textsOf = (errors: readonly DetailedError[]): string => errors.map(textOf).join('; ');

export const textOf = ({ message, help }: DetailedError): string => (help === null ? message : `${message} (${help})`);
