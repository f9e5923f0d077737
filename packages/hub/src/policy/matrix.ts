/**
 * What each role may do, as far as it can be said without naming things: for seeing what a change of policies changes.
 * Asked of a key with one role, on a thing that is nobody's in particular, at noon; answers for each class of data.
 */
import { DATA_CLASSES } from '@idlewild/protocol';
import { ACTIONS, type Action } from './actions.ts';
import { standIn } from './cases.ts';
import type { EntityUidJson, PolicyJson } from './cedar.ts';
import { decide } from './decide.ts';
import type { Rules } from './rules.ts';
import type { Question } from './slice.ts';
import type { State } from './state.ts';

export interface Cell {
  /** `role:NAME` or `tier:NAME`. */
  readonly who: string;
  /** An action; `answer (confidential)` for one class. */
  readonly what: string;
  readonly isAllowed: boolean;
}

const NOON_MS = 12 * 3_600_000;
const TIERS = ['own', 'vetted', 'member', 'public'];

export function matrixOf(state: State, territory: string): Cell[] {
  const ask = (who: string, what: string, question: Omit<Question, 'atMs'>): Cell => {
    const [kind = '', name = ''] = who.split(':', 2);
    const standing =
      kind === 'tier' ? standIn(territory, 'Tier', name, [], []) : standIn(territory, 'Key', 'key_matrix', [name], []);
    return { who, what, isAllowed: decide(state, standing, { ...question, atMs: NOON_MS }).isAllowed };
  };
  const on = { territory, id: 'any' };
  const actions = (Object.keys(ACTIONS) as Action[]).filter((action) => action !== 'readText');
  const ofRole = (who: string): Cell[] =>
    actions.flatMap((action) =>
      action === 'answer'
        ? DATA_CLASSES.map((dataClass) => ask(who, `${action} (${dataClass})`, { action, on, said: { dataClass } }))
        : [ask(who, action, { action, on, said: {} })],
    );
  const ofTier = (who: string): Cell[] =>
    DATA_CLASSES.map((id) => ask(who, `readText (${id})`, { action: 'readText', on: { territory, id }, said: {} }));
  return [
    ...state.rules.roles.flatMap((role) => ofRole(`role:${role}`)),
    ...TIERS.flatMap((tier) => ofTier(`tier:${tier}`)),
  ];
}

/** Cells that differ, as they would be. */
export function changesOf(before: readonly Cell[], after: readonly Cell[]): Cell[] {
  const was = new Map(before.map(({ who, what, isAllowed }) => [`${who} ${what}`, isAllowed]));
  return after.filter(({ who, what, isAllowed }) => (was.get(`${who} ${what}`) ?? false) !== isAllowed);
}

/**
 * Ids of policies that differ and say more than cells can show: of circumstances, of somebody who is not meant by a
 * role alone, or of one thing.
 */
export function circumstantialIn({ policies: before }: Rules, { policies: after }: Rules): string[] {
  const ids = [...new Set([...before.keys(), ...after.keys()])];
  return ids.filter((id) => {
    const [was, is] = [before.get(id), after.get(id)];
    if (JSON.stringify(was) === JSON.stringify(is)) return false;
    return [was, is].some((policy) => policy !== undefined && !isWholeIn(policy));
  });
}

/** Whether cells show all that it does. */
const isWholeIn = ({ principal, resource, conditions }: PolicyJson): boolean =>
  conditions.length === 0 && resource.op === 'All' && (principal.op === 'All' || isRole(principal));

const isRole = (principal: PolicyJson['principal']): boolean =>
  principal.op === 'in' && 'entity' in principal && entityType(principal.entity) === 'Role';

const entityType = (entity: EntityUidJson): string => ('__entity' in entity ? entity.__entity : entity).type;
