/**
 * What Cedar is told for one decision: who asks, with the roles that hold on this very thing, the thing, and the
 * circumstances.
 *
 * A role that is bound to a project, a model or a pool of devices holds where the thing is of it. The same facts, and
 * nothing else, are what a decision is remembered under, so whatever a policy can look at is in both.
 */
import type { Actor, HeldRole } from '../people/directory.ts';
import { ACTIONS, type Action } from './actions.ts';
import type { Asked, EntityJson } from './cedar.ts';
import type { Resource, Said } from './port.ts';

/** What is asked, with everything known of it. */
export interface Question {
  readonly action: Action;
  readonly on: Resource;
  readonly said: Said;
  /** Milliseconds since 1970. */
  readonly atMs: number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

interface Ref {
  readonly type: string;
  readonly id: string;
}

/** Whether it is not known yet on which thing. */
export const isSome = ({ action, on }: Pick<Question, 'action' | 'on'>): boolean =>
  ACTIONS[action] !== 'Territory' && on.id === undefined;

/** Equal for questions between which no policy can tell a difference. */
export function questionKey({ action, on, said, atMs }: Question): string {
  const thing = [on.id, on.project, on.person, on.pools, on.tier];
  const circumstances = [said.dataClass, said.purpose, said.isSealed, Math.floor(atMs / HOUR_MS)];
  return `${action} ${JSON.stringify([thing, circumstances])}`;
}

export function askedOf(actor: Actor, question: Question): Asked {
  const { action, on } = question;
  const home: Ref = { type: 'Territory', id: actor.territory };
  const resource = resourceOf(question);
  const entities = [principalEntity(actor, question, home)];
  if (resource.type !== 'Territory' && !isSame(resource, actor)) entities.push(resourceEntity(resource, on));
  return {
    principal: { type: actor.type, id: actor.id },
    action: { type: 'Action', id: action },
    resource,
    context: contextOf(question),
    entities,
  };
}

const isSame = (one: Ref, other: Ref): boolean => one.type === other.type && one.id === other.id;

function resourceOf({ action, on }: Question): Ref {
  const type = ACTIONS[action];
  return type === 'Territory' ? { type, id: on.territory } : { type, id: on.id ?? '' };
}

function principalEntity(actor: Actor, question: Question, home: Ref): EntityJson {
  const { type, id, person, tier, pools } = actor;
  const held = actor.roles.filter((role) => holdsOn(role, question)).map(({ role }) => ({ type: 'Role', id: role }));
  const groups = actor.groups.map((name) => ({ type: 'Group', id: name }));
  return {
    uid: { type, id },
    parents: [home, ...unique(held), ...groups],
    attrs: {
      territory: entity('Territory', actor.territory),
      ...(person === undefined ? {} : { person: entity('Person', person) }),
      ...(tier === undefined ? {} : { tier: entity('Tier', tier) }),
      ...(pools === undefined ? {} : { pools: [...pools] }),
    },
  };
}

const unique = (refs: readonly Ref[]): Ref[] => [...new Map(refs.map((ref) => [ref.id, ref])).values()];

/** Where it is not known on which thing, there may be one on which it holds. */
export function holdsOn({ scope }: HeldRole, { action, on }: Pick<Question, 'action' | 'on'>): boolean {
  if (scope.kind === 'territory' || isSome({ action, on })) return true;
  if (scope.kind === 'project') return on.project === scope.id;
  if (scope.kind === 'model') return ACTIONS[action] === 'Model' && on.id === scope.id;
  return on.pools?.includes(scope.id) === true;
}

function resourceEntity(uid: Ref, { territory, person, tier, pools }: Resource): EntityJson {
  const home = { type: 'Territory', id: territory };
  if (uid.type === 'Model') return { uid, parents: [home], attrs: {} };
  return {
    uid,
    parents: [home],
    attrs: {
      territory: entity('Territory', territory),
      ...(person === undefined ? {} : { person: entity('Person', person) }),
      ...(uid.type !== 'Device' ? {} : { pools: [...(pools ?? [])] }),
      ...(uid.type !== 'Device' || tier === undefined ? {} : { tier: entity('Tier', tier) }),
    },
  };
}

function contextOf({ on, said, atMs }: Question): Asked['context'] {
  return {
    hour: Math.floor(atMs / HOUR_MS) % 24,
    // 1970 began on a Thursday.
    weekday: ((Math.floor(atMs / DAY_MS) + 3) % 7) + 1,
    ...(said.dataClass === undefined ? {} : { dataClass: entity('DataClass', said.dataClass) }),
    ...(said.purpose === undefined ? {} : { purpose: said.purpose }),
    ...(said.isSealed === undefined ? {} : { sealed: said.isSealed }),
    ...(on.project === undefined ? {} : { project: entity('Project', on.project) }),
  };
}

const entity = (type: string, id: string): { __entity: Ref } => ({ __entity: { type, id } });
