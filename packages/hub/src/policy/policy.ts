/**
 * Whether somebody may do something: Cedar policies, read from `policies.cedar`, checked against their schema at start.
 *
 * A decision depends on the role, the action, and whether both ends are of one territory, and on nothing else: Cedar is
 * asked about nameless stand-ins, so no policy can depend on what the cache does not know. That makes the cache exact
 * and finite (roles × actions × 2), and a decision costs one look-up. A key's role and revocation are kept fresh where
 * keys are read, not here. What is not permitted is refused.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { IdlewildError } from '@idlewild/protocol';
import type { DetailedError, EntityJson, StatefulAuthorizationCall } from '@cedar-policy/cedar-wasm/nodejs';
import type * as CedarModule from '@cedar-policy/cedar-wasm/nodejs';
import type { Principal } from '../identity/principal.ts';
import { ACTIONS, type Action } from './actions.ts';

export interface Resource {
  /** Id of the territory that it belongs to, or is. */
  readonly territory: string;
}

export interface Policy {
  /** For what shows more to some than to others. */
  allows(principal: Principal, action: Action, resource: Resource): boolean;
  /** Throws `forbidden`, naming what is missing and who could. */
  decide(principal: Principal, action: Action, resource: Resource): void;
  /** Names the policies that hold; another text is another version. */
  readonly version: string;
}

/** Those that policies know so far. */
const ROLES = ['steward', 'caller'] as const;

/** What a decision depends on besides the action. */
interface Facts {
  readonly who: string;
  readonly sameTerritory: boolean;
}

/** 4 MiB of WebAssembly: loaded when a hub starts, not when a file of this package is imported. */
type Cedar = typeof CedarModule;

const fileText = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8');

/** Throws when `policies` do not parse or do not fit the schema. */
export async function createPolicy(options: { policies?: string } = {}): Promise<Policy> {
  const { policies = fileText('policies.cedar') } = options;
  const cedar: Cedar = await import('@cedar-policy/cedar-wasm/nodejs');
  const schema = fileText('schema.cedarschema');
  const version = createHash('sha256').update(`${schema}\0${policies}`).digest('hex').slice(0, 16);
  prepare(cedar, { version, schema, policies });
  const decisions = new Map<string, boolean>();

  function allows(facts: Facts, action: Action): boolean {
    const key = `${action} ${facts.who} ${facts.sameTerritory}`;
    const known = decisions.get(key);
    if (known !== undefined) return known;
    const decision = evaluate(cedar, version, facts, action);
    decisions.set(key, decision);
    return decision;
  }

  const factsOf = (principal: Principal, { territory }: Resource): Facts => ({
    who: principal.kind === 'key' ? principal.role : 'device',
    sameTerritory: principal.territory === territory,
  });

  return {
    version,
    allows: (principal, action, resource) => allows(factsOf(principal, resource), action),
    decide(principal, action, resource) {
      const facts = factsOf(principal, resource);
      if (allows(facts, action)) return;
      if (!facts.sameTerritory) {
        const message = `this ${principal.kind} belongs to another territory, and nothing crosses a territory`;
        throw new IdlewildError('forbidden', message, { details: { action, who: facts.who } });
      }
      const able = ROLES.filter((who) => allows({ who, sameTerritory: true }, action)).join(' or a ');
      const [asker, remedy] =
        facts.who === 'device'
          ? ['a device', `that takes the key of a ${able}`]
          : [`role ${facts.who}`, `ask a ${able}`];
      const message = `${asker} may not ${action}; ${able === '' ? 'nobody may' : remedy}`;
      throw new IdlewildError('forbidden', message, { details: { action, who: facts.who } });
    },
  };
}

interface Texts {
  readonly version: string;
  readonly schema: string;
  readonly policies: string;
}

function prepare(cedar: Cedar, { version, schema, policies }: Texts): void {
  const wrong = (errors: readonly DetailedError[]): Error => new Error(`the policies do not hold: ${texts(errors)}`);
  const answer = cedar.validate({ schema, policies: { staticPolicies: policies } });
  if (answer.type === 'failure') throw wrong(answer.errors);
  // A warning is a policy that can never apply or compares what is never equal: a mistake of whoever wrote it.
  const faults = [...answer.validationErrors, ...answer.validationWarnings].map(({ error }) => error);
  if (faults.length > 0) throw wrong(faults);
  const parsed = cedar.preparsePolicySet(version, { staticPolicies: policies });
  if (parsed.type === 'failure') throw wrong(parsed.errors);
  const parsedSchema = cedar.preparseSchema(version, schema);
  if (parsedSchema.type === 'failure') throw wrong(parsedSchema.errors);
}

/** Asks Cedar about stand-ins that have a role and a territory and are otherwise nobody. */
function evaluate(cedar: Cedar, version: string, { who, sameTerritory }: Facts, action: Action): boolean {
  const here = { type: 'Territory', id: 'here' };
  const place = sameTerritory ? here : { type: 'Territory', id: 'elsewhere' };
  const kind = ACTIONS[action];
  const principal = { type: who === 'device' ? 'Device' : 'Key', id: 'principal' };
  const resource = kind === 'Territory' ? place : { type: kind, id: 'resource' };
  const described = (uid: { type: string; id: string }, territory: { type: string; id: string }): EntityJson => ({
    uid,
    parents: [territory],
    attrs: {
      ...(uid.type === 'Key' || uid.type === 'Device' ? { territory: { __entity: territory } } : {}),
      ...(uid.type === 'Key' ? { role: { __entity: { type: 'Role', id: who === 'device' ? 'caller' : who } } } : {}),
    },
  });
  const entities = [described(principal, here), ...(kind === 'Territory' ? [] : [described(resource, place)])];
  const call: StatefulAuthorizationCall = {
    principal,
    action: { type: 'Action', id: action },
    resource,
    context: {},
    entities,
    preparsedPolicySetId: version,
    preparsedSchemaName: version,
    // A request that the schema does not foresee, such as a device that asks for keys, is refused and no error.
    validateRequest: false,
  };
  const answer = cedar.statefulIsAuthorized(call);
  if (answer.type === 'failure') throw new Error(`the policies cannot decide on ${action}: ${texts(answer.errors)}`);
  const { decision, diagnostics } = answer.response;
  const errors = diagnostics.errors.map(({ error }) => error);
  // A policy that fails is skipped by Cedar; were it a `forbid`, that would let somebody in.
  if (errors.length > 0) throw new Error(`a policy failed on ${action}: ${texts(errors)}`);
  return decision === 'allow';
}

const texts = (errors: readonly DetailedError[]): string =>
  errors.map(({ message, help }) => (help === null ? message : `${message} (${help})`)).join('; ');
