/**
 * A territory's own cases: who may do what on what, as a steward expects it, held against policies that hold or are
 * about to. A case names somebody by what she has (`role:caller`, groups) or by an id; only ids need a database.
 */
import { DATA_CLASSES, IdlewildError } from '@idlewild/protocol';
import { z } from 'zod';
import type { Actor, Standing } from '../people/directory.ts';
import { ACTIONS, type Action } from './actions.ts';
import { loadCedar } from './cedar.ts';
import { decide, tell, type Told } from './decide.ts';
import { POLICY_LIMITS } from './limits.ts';
import type { Question } from './slice.ts';
import type { State } from './state.ts';
import { compileRules } from './rules.ts';
import type { OwnText } from './texts.ts';

const word = z.string().min(1).max(256);
const actions = Object.keys(ACTIONS) as [Action, ...Action[]];

/** What is asked, in a case and where a decision is to be explained. */
export const askedFields = {
  action: z.enum(actions),
  /** The id of a device or key, the name or CID of a model, a data class for `readText`; absent: any. */
  on: word.optional(),
  project: word.optional(),
  /** Whose own it is. */
  person: word.optional(),
  pools: z.array(word).max(64).optional(),
  class: z.enum(DATA_CLASSES).optional(),
  purpose: word.optional(),
  sealed: z.boolean().optional(),
};

export const policyCaseSchema = z.strictObject({
  name: word.optional(),
  /** `role:NAME` (a key that has it), `tier:NAME`, an id or name, or a person with roles and groups. */
  as: z.union([word, z.strictObject({ roles: z.array(word).optional(), groups: z.array(word).optional() })]),
  ...askedFields,
  /** Of the day, UTC; absent: noon. */
  hour: z.int().min(0).max(23).optional(),
  expect: z.enum(['allow', 'deny']),
  /** Id of a policy that is to have decided. */
  by: word.optional(),
});
export const policyCasesSchema = z.array(policyCaseSchema).min(1).max(POLICY_LIMITS.casesMax);
export type PolicyCase = z.infer<typeof policyCaseSchema>;

export interface CaseResult {
  readonly name: string;
  readonly isAsExpected: boolean;
  readonly expected: string;
  readonly message: string;
  readonly decidedBy: readonly string[];
}

/** How ids and names of a case are looked up. */
export interface CaseDirectory {
  standingOf(id: string): Promise<Standing>;
  /** CID of a model of this name, or what was given. */
  modelOf(name: string): Promise<string>;
  tell(standing: Standing, question: Question, state: State): Promise<Told>;
  /** Lets others go on; absent: there are none. A decision takes milliseconds under long policies. */
  pause?(): Promise<void>;
}

const HOUR_MS = 3_600_000;
/** The day of a case: a Monday. */
const MONDAY_MS = 4 * 24 * HOUR_MS;

export async function runCases(
  state: State,
  territory: string,
  cases: readonly PolicyCase[],
  directory: CaseDirectory,
): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  for (const one of cases) {
    await directory.pause?.();
    const question = await questionOf(one, territory, MONDAY_MS + (one.hour ?? 12) * HOUR_MS, directory);
    const told = await toldOf(one, territory, question, state, directory);
    const outcome = told.isAllowed ? 'allow' : 'deny';
    const isBy = one.by === undefined || told.decidedBy.includes(one.by);
    results.push({
      name: one.name ?? `${typeof one.as === 'string' ? one.as : 'a person'} ${one.action}`,
      isAsExpected: outcome === one.expect && isBy,
      expected: one.by === undefined ? one.expect : `${one.expect} by "${one.by}"`,
      message: told.message,
      decidedBy: told.decidedBy,
    });
  }
  return results;
}

/** Who is suspended or revoked is denied before any policy is asked. */
async function toldOf(
  { as }: PolicyCase,
  territory: string,
  question: Question,
  state: State,
  directory: CaseDirectory,
): Promise<Told> {
  const standing = await standingIn(as, territory, directory).catch((error: unknown) => error);
  if (!(standing instanceof IdlewildError)) return directory.tell(standing as Standing, question, state);
  if (standing.code === 'not_found' || standing.code === 'usage') throw standing;
  return { isAllowed: false, decidedBy: [], rolesThatMay: [], needed: '', message: standing.message };
}

type Asking = Pick<PolicyCase, 'action' | 'on' | 'project' | 'person' | 'pools' | 'class' | 'purpose' | 'sealed'>;

export async function questionOf(
  asked: Asking,
  territory: string,
  atMs: number,
  directory: Pick<CaseDirectory, 'modelOf'>,
): Promise<Question> {
  const { action, on, project, person, pools } = asked;
  const kind = ACTIONS[action];
  const given = on !== undefined && kind === 'Model' ? await directory.modelOf(on) : on;
  // Nobody's in particular: policies are held to the circumstances that are said, too.
  const id = given ?? (kind === 'Territory' ? undefined : 'any');
  const said = { dataClass: asked.class, purpose: asked.purpose, isSealed: asked.sealed };
  return {
    action,
    on: {
      territory,
      ...(id === undefined ? {} : { id }),
      ...(project === undefined ? {} : { project }),
      ...(person === undefined ? {} : { person }),
      ...(pools === undefined ? {} : { pools }),
    },
    said,
    atMs,
  };
}

const KINDS = { role: 'Key', tier: 'Tier' } as const;

/** Who is meant by `role:NAME`, `tier:NAME`, an id or a name. Throws `not_found`. */
export async function standingIn(
  as: PolicyCase['as'],
  territory: string,
  directory: Pick<CaseDirectory, 'standingOf'>,
): Promise<Standing> {
  if (typeof as !== 'string') return standIn(territory, 'Person', 'per_case', as.roles ?? [], as.groups ?? []);
  const [, kind, name] = /^(role|tier):(.+)$/.exec(as) ?? [];
  if (kind === undefined || name === undefined) return directory.standingOf(as);
  const isTier = kind === 'tier';
  return standIn(territory, KINDS[kind as keyof typeof KINDS], isTier ? name : 'key_case', isTier ? [] : [name], []);
}

/** Somebody who is nobody in particular. */
export function standIn(
  territory: string,
  type: Actor['type'],
  id: string,
  roles: readonly string[],
  groups: readonly string[],
): Standing {
  const held = roles.map((role) => ({ role, scope: { kind: 'territory', id: '' } }) as const);
  const actor: Actor = { type, id, territory, roles: held, groups };
  return { actors: [actor], signature: JSON.stringify(actor), untilMs: Number.POSITIVE_INFINITY };
}

/** Without a hub: what cases say of themselves is known, and no more. */
export interface AloneTrial {
  /** As they are in a file. */
  readonly cases: readonly unknown[];
  /** What roles of the territory's own permit. */
  readonly roles: Readonly<Record<string, readonly string[]>>;
  readonly texts: readonly OwnText[];
}

/** Throws `policy_invalid`, `usage`. */
export async function testPolicies({ cases: given, roles, texts }: AloneTrial): Promise<CaseResult[]> {
  const parsed = policyCasesSchema.safeParse(given);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new IdlewildError('usage', `case ${issue?.path.join('.')}: ${issue?.message}; see docs/policy.md`);
  }
  const permissions = Object.entries(roles).map(([name, actions]) => [name, actions.filter(isAction)] as const);
  const rules = compileRules(await loadCedar(), { roles: new Map(permissions), texts }, true);
  const state: State = { version: 0, rules, stops: new Map(), decisions: new Map() };
  try {
    return await runCases(state, 'ter_case', parsed.data, {
      standingOf: async (id) => {
        const way = 'name somebody as "role:NAME" or {"roles": […], "groups": […]}, or ask a hub';
        throw new IdlewildError('usage', `nobody is known here, so not "${id}" either; ${way}`);
      },
      modelOf: async (name) => name,
      tell: async (standing, question, held) => tell(held, standing, question, decide(held, standing, question)),
    });
  } finally {
    rules.release();
  }
}

const isAction = (name: string): name is Action => Object.hasOwn(ACTIONS, name);
