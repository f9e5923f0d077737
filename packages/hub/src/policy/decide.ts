/**
 * One decision, and why it fell as it did.
 *
 * What was decided before is known under everything that a policy can look at, so it is exact; what is not permitted,
 * and what fails, is refused. The reasons are told with the policies' ids, and with what would be needed.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { Actor, Standing } from '../people/directory.ts';
import type { Answer } from './cedar.ts';
import { POLICY_LIMITS } from './limits.ts';
import type { Explanation } from './port.ts';
import type { Rules } from './rules.ts';
import { askedOf, holdsOn, isSome, questionKey, type Question } from './slice.ts';
import type { State } from './state.ts';

/** Whether all actors may; the answer is that of the first who may not, or of the first. */
export function decide({ rules, decisions }: State, standing: Standing, question: Question): Answer {
  const key = `${questionKey(question)} ${standing.signature}`;
  const known = decisions.get(key);
  if (known !== undefined) return known;
  const answer = evaluate(rules, standing.actors, question);
  decisions.set(key, answer);
  if (decisions.size > POLICY_LIMITS.decisionsMax) decisions.delete(decisions.keys().next().value as string);
  return answer;
}

function evaluate(rules: Rules, actors: readonly Actor[], question: Question): Answer {
  const answers = actors.map((actor) => rules.decide(askedOf(actor, question), isSome(question)));
  return answers.find(({ isAllowed }) => !isAllowed) ?? answers[0] ?? NOBODY;
}

const NOBODY: Answer = { isAllowed: false, decidedBy: [], failed: [] };

/** Roles that, held in the whole territory, would make it allowed; `half`: held by this one of the actors. */
function rolesThatMay(state: State, { actors }: Standing, question: Question, half: Half): string[] {
  const { rules } = state;
  const { action } = question;
  const permits = (role: string): boolean => {
    const scope = rules.policies.get(`role:${role}`)?.action;
    if (scope?.op !== 'in') return scope !== undefined;
    return 'entities' in scope && scope.entities.some((each) => 'id' in each && each.id === action);
  };
  const isEnough = (role: string): boolean => {
    const held = { role, scope: { kind: 'territory', id: '' } } as const;
    const given = actors.map((actor, index) =>
      HALVES[half].includes(index) ? { ...actor, roles: [...actor.roles, held] } : actor,
    );
    return evaluate(rules, given, question).isAllowed;
  };
  // What a member's key may beyond its role, a policy says.
  const isOfKey = (role: string): boolean => half === 'key' && role === 'member';
  return rules.roles
    .filter((role) => permits(role) || isOfKey(role))
    .slice(0, ROLES_NAMED_MAX)
    .filter(isEnough);
}

/** Of whom it is that something is not permitted: a person's own key needs it of both. */
type Half = 'key' | 'person' | 'whole';
const HALVES: Readonly<Record<Half, readonly number[]>> = { key: [0], person: [1], whole: [0, 1] };

function lackingHalf({ rules }: State, { actors }: Standing, question: Question): Half {
  if (actors.length < 2) return 'whole';
  const [key, person] = actors.map((actor) => evaluate(rules, [actor], question).isAllowed);
  if (key === person) return 'whole';
  return key === true ? 'person' : 'key';
}

/** Each is a decision of its own. */
const ROLES_NAMED_MAX = 8;

export interface Told extends Explanation {
  /** Roles that would make it allowed. */
  readonly rolesThatMay: readonly string[];
  /** Only devices of these pools may answer. */
  readonly pools?: readonly string[];
  readonly message: string;
}

/** `pools`: it holds for devices of these alone. */
export function tell(
  state: State,
  standing: Standing,
  question: Question,
  answer: Answer,
  pools?: readonly string[],
): Told {
  const { isAllowed, failed } = answer;
  const decidedBy = [...answer.decidedBy, ...failed.map(({ id }) => id)];
  const may = isAllowed ? 'may' : 'may not';
  const subject = `${askerText(standing, question)} ${may} ${question.action}${onText(question)}`;
  const by = decidedBy.map((id) => `"${id}"`).join(', ');
  if (isAllowed) {
    const message = `${subject}: permitted by ${by}${pools === undefined ? '' : ofPoolsText(pools)}`;
    return { isAllowed, decidedBy, needed: '', rolesThatMay: [], message, ...(pools === undefined ? {} : { pools }) };
  }
  const half = lackingHalf(state, standing, question);
  const roles = rolesThatMay(state, standing, question, half);
  if (failed.length > 0) {
    const needed = `ask a steward to mend it: ${failed.map(({ why }) => why).join('; ')}`;
    return {
      isAllowed,
      decidedBy,
      rolesThatMay: roles,
      needed,
      message: `${subject}: the policy ${by} failed; ${needed}`,
    };
  }
  if (decidedBy.length > 0) {
    const needed = isOwn(decidedBy)
      ? `a steward can show and change it: idlewild policy show ${decidedBy[0]?.split('/', 1)[0]}`
      : 'it holds in every territory';
    return { isAllowed, decidedBy, rolesThatMay: roles, needed, message: `${subject}: ${by} forbids it; ${needed}` };
  }
  const needed = neededText(roles, half);
  const message = `${subject}: ${NOT_PERMITTED[half]}; ${needed}`;
  return { isAllowed, decidedBy, rolesThatMay: roles, needed, message };
}

const ofPoolsText = (pools: readonly string[]): string =>
  `, for devices of the ${pools.length === 1 ? 'pool' : 'pools'} ${pools.join(' and ')} only`;

const isOwn = (ids: readonly string[]): boolean => ids[0]?.includes('/') === true;

const NOT_PERMITTED: Readonly<Record<Half, string>> = {
  key: 'its person may, and no policy permits it to the key',
  person: 'the key may, and no policy permits it to its person',
  whole: 'no policy permits it',
};

function neededText(roles: readonly string[], half: Half): string {
  if (roles.length === 0) return 'no role permits it';
  const names = roles.join(' or ');
  if (half === 'key') return `it takes a key with the role ${names}; sign in, or make one: idlewild keys create --own`;
  return `it takes the role ${names}${half === 'person' ? ' for the person' : ''}; ask a steward`;
}

function askerText({ actors }: Standing, question: Question): string {
  const [asker, person] = actors;
  if (asker === undefined) return 'nobody';
  if (asker.type === 'Device') return 'a device';
  const rolesOf = (actor: Actor): string => {
    const held = new Set(actor.roles.filter((role) => holdsOn(role, question)).map(({ role }) => role));
    return held.size === 0 ? 'no role here' : [...held].join(', ');
  };
  if (asker.type === 'Person') return `this person (${rolesOf(asker)})`;
  const owner = person === undefined ? '' : `, and its person: ${rolesOf(person)}`;
  return `this key (${rolesOf(asker)}${owner})`;
}

const onText = ({ on }: Question): string => (on.id === undefined ? '' : ` on ${on.id}`);

export function forbidden(told: Told, { action, on, said }: Question): IdlewildError {
  const details = {
    action,
    decidedBy: told.decidedBy,
    rolesThatMay: told.rolesThatMay,
    needed: told.needed,
    ...(on.id === undefined ? {} : { on: on.id }),
    ...(said.dataClass === undefined ? {} : { dataClass: said.dataClass }),
    ...(said.purpose === undefined ? {} : { purpose: said.purpose }),
  };
  return new IdlewildError('forbidden', told.message, { details });
}
