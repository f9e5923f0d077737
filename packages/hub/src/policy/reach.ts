/**
 * On which devices somebody may be answered. A role that is bound to a pool holds on the devices of that pool; who may
 * be answered by no other right is answered by those alone.
 *
 * Of each device the policy is asked as it is of any thing in pools, with everything that holds there: roles bound to
 * two pools hold together on a device that is in both, and what forbids in a pool forbids there.
 */
import type { Standing } from '../people/directory.ts';
import { decide } from './decide.ts';
import { isSome, questionKey, type Question } from './slice.ts';
import type { State } from './state.ts';

export interface Reach {
  /** Equal for those that reach the same devices. */
  readonly key: string;
  /** The pools whose devices may answer; `undefined`: it does not depend on pools. */
  readonly pools: () => readonly string[] | undefined;
  /** Whether a device that is in these pools may answer. */
  readonly includes: (pools: readonly string[]) => boolean;
}

/** For whom pools make no difference. */
export const EVERYWHERE: Reach = { key: '', pools: () => undefined, includes: () => true };

/** Pools on which something of theirs is bound, where that makes a difference to who answers. */
function boundPools({ actors }: Standing, { action, on }: Question): string[] {
  if (action !== 'answer' || on.pools !== undefined || isSome({ action, on })) return [];
  const pools = actors.flatMap(({ roles }) => roles.map(({ scope }) => (scope.kind === 'pool' ? scope.id : '')));
  return [...new Set(pools.filter((pool) => pool !== ''))].sort();
}

const inPools = (question: Question, pools: readonly string[]): Question =>
  pools.length === 0 ? question : { ...question, on: { ...question.on, pools } };

/**
 * The question as it is answered with yes, if it is on any device: on devices in no pool, of one of those in which they
 * have a role, or of all of these. Otherwise as it was asked.
 */
export function somewhere(state: State, standing: Standing, question: Question): Question {
  const pools = boundPools(standing, question);
  if (pools.length === 0 || decide(state, standing, question).isAllowed) return question;
  const places = [...pools.map((pool) => [pool]), pools];
  const found = places.find((some) => decide(state, standing, inPools(question, some)).isAllowed);
  return found === undefined ? question : inPools(question, found);
}

/** `current`: what holds by the time that a device is looked at; what held before may have been let go. */
export function reachOf(current: () => State | undefined, standing: Standing, question: Question): Reach {
  const bound = boundPools(standing, question);
  if (bound.length === 0) return EVERYWHERE;
  const known = new Map<string, boolean>();
  function includes(pools: readonly string[]): boolean {
    const of = pools.length === 0 ? [] : bound.filter((pool) => pools.includes(pool));
    const key = of.join(' ');
    const before = known.get(key);
    if (before !== undefined) return before;
    const state = current();
    const isIn = state !== undefined && decide(state, standing, inPools(question, of)).isAllowed;
    known.set(key, isIn);
    return isIn;
  }
  return {
    key: `${questionKey(question)} ${standing.signature}`,
    pools: () => (includes([]) ? undefined : bound.filter((pool) => includes([pool]))),
    includes,
  };
}
