/**
 * The policies of a territory, put together: what is built in, one policy for each role, and the territory's own texts.
 *
 * There are two sets of them. One decides. The other answers whether somebody *could* be allowed, while it is not known
 * yet on which thing and under which circumstances: in it what a policy says of the thing and of circumstances counts
 * as fulfilled for a `permit`, and as unfulfilled for a `forbid`. It lets in whoever the first set may let in, and
 * whoever acts is asked again by the first.
 */
import { createHash } from 'node:crypto';
import { IdlewildError } from '@idlewild/protocol';
import { ACTIONS, type Action } from './actions.ts';
import { BUILT_IN_ROLES, isBuiltIn, PERMISSIONS } from './built-in-roles.ts';
import {
  BUILT_IN_POLICIES,
  preparePolicies,
  SCHEMA,
  textsOf,
  type Answer,
  type Asked,
  type Cedar,
  type EntityUidJson,
  type PolicyJson,
  type PreparedPolicies,
} from './cedar.ts';
import { POLICY_LIMITS } from './limits.ts';
import { policiesOf, readPolicies, type OwnText } from './texts.ts';

export interface RuleSource {
  /** Roles that the territory made, and what each permits. */
  readonly roles: ReadonlyMap<string, readonly Action[]>;
  readonly texts: readonly OwnText[];
}

export interface Rules {
  /** Another set of policies is another version. */
  readonly version: string;
  /** All roles, built in or made here. */
  readonly roles: readonly string[];
  /** By id: `role:NAME`, the bare name of one that is built in, `TEXT/NAME` of one of the territory's. */
  readonly policies: ReadonlyMap<string, PolicyJson>;
  /** `isSome`: on some thing, under some circumstances. */
  decide(asked: Asked, isSome: boolean): Answer;
  release(): void;
}

/**
 * `isNew`: about to be kept; a role that nobody has made is a mistake then, and later it is one that was removed.
 * Throws `policy_invalid`.
 */
export function compileRules(cedar: Cedar, { roles, texts }: RuleSource, isNew: boolean): Rules {
  const names = [...BUILT_IN_ROLES, ...[...roles.keys()].filter((name) => !isBuiltIn(name)).sort()];
  const policies = new Map<string, PolicyJson>();
  for (const { id, json } of policiesOf(cedar, BUILT_IN_POLICIES)) policies.set(id, json);
  for (const name of names) policies.set(`role:${name}`, rolePolicy(name, roles));
  const known = isNew ? new Set(names) : undefined;
  let weight = 0;
  for (const own of texts)
    for (const { id, json } of readPolicies(cedar, own, known)) {
      policies.set(`${own.name}/${id}`, json);
      weight += weightOf(json);
      if (weight > POLICY_LIMITS.weightMax) throw tooHeavy(`${own.name}/${id}`);
    }
  const version = versionOf(policies);
  const askers = askersOf(cedar);
  const sets = new Map<string, PreparedPolicies>();
  /** Cedar is shown only what can apply to the action: half of what a decision costs is looking at policies. */
  function setFor(action: string, isSome: boolean): PreparedPolicies {
    const name = isSome ? `${action} some` : action;
    const known = sets.get(name);
    if (known !== undefined) return known;
    const of = [...policies].filter(([, policy]) => isAbout(policy, action));
    const made = preparePolicies(cedar, `${version} ${name}`, Object.fromEntries(isSome ? loosened(of) : of));
    sets.set(name, made);
    return made;
  }
  return {
    version,
    roles: names,
    policies,
    decide(asked, isSome) {
      const { id: action } = asked.action as { id: string };
      const { type } = asked.principal as { type: string };
      if (askers.get(action)?.has(type) !== true) return NOT_FORESEEN;
      return setFor(action, isSome).ask(asked);
    },
    release() {
      for (const set of sets.values()) set.release();
      sets.clear();
    },
  };
}

/** What it costs to prepare it for each action that it is about, and to weigh all of them for a change. */
const weightOf = (policy: PolicyJson): number =>
  JSON.stringify(policy).length * Object.keys(ACTIONS).filter((action) => isAbout(policy, action)).length;

const tooHeavy = (at: string): IdlewildError =>
  new IdlewildError(
    'policy_invalid',
    `with "${at}" this community's policies are more than a hub can look through; nothing was changed. Each counts ` +
      'by its length, times the actions that it is about: name the action (action == Action::"answer") in long ones',
    { details: { policy: at.split('/', 1)[0], faults: [] } },
  );

/** The schema has no actions within actions. */
function isAbout({ action }: PolicyJson, name: string): boolean {
  if (action.op === 'All') return true;
  const scope = action.op === '==' ? ('entity' in action ? [action.entity] : []) : entitiesOf(action);
  return scope.some((entity) => ('__entity' in entity ? entity.__entity : entity).id === name);
}

const entitiesOf = (scope: Extract<PolicyJson['action'], { op: 'in' }>): readonly EntityUidJson[] =>
  'entities' in scope ? scope.entities : [scope.entity];

const NOT_FORESEEN: Answer = { isAllowed: false, decidedBy: [], failed: [] };

/** Who can ask for each action at all: a device has no use for keys, whatever a policy says of everybody. */
function askersOf(cedar: Cedar): ReadonlyMap<string, ReadonlySet<string>> {
  const answer = cedar.schemaToJson(SCHEMA);
  if (answer.type === 'failure') throw new Error(`the schema does not hold: ${textsOf(answer.errors)}`);
  const actions = Object.entries(answer.json['']?.actions ?? {});
  return new Map(actions.map(([name, { appliesTo }]) => [name, new Set(appliesTo?.principalTypes)]));
}

const versionOf = (policies: ReadonlyMap<string, PolicyJson>): string =>
  createHash('sha256')
    .update(SCHEMA)
    .update(JSON.stringify([...policies]))
    .digest('hex')
    .slice(0, 16);

function rolePolicy(name: string, custom: RuleSource['roles']): PolicyJson {
  const actions = isBuiltIn(name) ? (name === 'steward' ? undefined : PERMISSIONS[name]) : (custom.get(name) ?? []);
  return {
    effect: 'permit',
    principal: { op: 'in', entity: { type: 'Role', id: name } },
    action:
      actions === undefined
        ? { op: 'All' }
        : { op: 'in', entities: actions.filter(isAction).map((id) => ({ type: 'Action', id })) },
    resource: { op: 'All' },
    conditions: [],
  };
}

/** A role may name an action that an update took away. */
const isAction = (name: string): boolean => Object.hasOwn(ACTIONS, name);

function loosened(policies: readonly [string, PolicyJson][]): [string, PolicyJson][] {
  return policies.flatMap(([id, policy]): [string, PolicyJson][] => {
    const isConditional = policy.resource.op !== 'All' || policy.conditions.length > 0;
    if (policy.effect === 'forbid') return isConditional ? [] : [[id, policy]];
    return [[id, { ...policy, resource: { op: 'All' }, conditions: [] }]];
  });
}
