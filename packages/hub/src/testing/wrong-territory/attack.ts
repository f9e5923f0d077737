/**
 * Asks every store method, as one territory, for what is another's: of every file that begins queries all exported
 * functions are called, and of what they make all methods, with each handle of the other territory in each place that
 * takes one, alone and beside handles of its own.
 *
 * What a place takes is told by its name: `territory` is always the own one, `person` a person's id, `id` everything
 * that there is, one after the other. Nobody has to add a method here; whatever is made tomorrow is asked, too.
 */
import type { Timer } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import type { Database, DatabaseTransaction } from '../../db/schema.ts';
import { ROOT } from './sites.ts';

/** The handles of one territory, by what they are of: `dev`, `key`, `groups.name`. */
export type Handles = ReadonlyMap<string, string>;

export interface AttackDeps {
  readonly db: Database;
  /** Whose method it is. */
  readonly territory: string;
  /** Id of a steward's key, who asks. */
  readonly actor: string;
  readonly own: Handles;
  readonly other: Handles;
  /** What rooms are made of: clocks, other rooms. */
  readonly parts: Readonly<Record<string, unknown>>;
  /** Given after each method, with all that came of it. */
  onTold(method: string, told: readonly Told[]): Promise<void>;
}

/** One call and what came of it. */
export interface Told {
  /** All handles that were. */
  readonly given: ReadonlySet<string>;
  readonly result: string;
}

type Callable = (...given: unknown[]) => unknown;
const isCallable = (value: unknown): value is Callable => typeof value === 'function';

const PRINCIPALS = /^(asker|principal|decider|maker|by)$/;
/** Names of places, and whose handle goes there. */
const KINDS: Readonly<Record<string, string>> = {
  person: 'per',
  key: 'key',
  caller: 'key',
  device: 'dev',
  group: 'grp',
  project: 'prj',
  provider: 'idp',
  refusal: 'ref',
  request: 'req',
  role: 'roles.name',
  hold: 'spend_holds.id',
  payer: 'alc',
  run: 'runs.id',
  pool: 'device_pools.pool',
  model: 'models.name',
  manifest: 'models.cid',
  cid: 'models.cid',
  root: 'models.cid',
};

/** What no territory has for itself. */
const PLAIN: Readonly<Record<string, unknown>> = {
  permissions: ['answer'],
  note: 'a word',
  why: 'a word',
  words: 'a word',
  purpose: 'research',
  description: 'a word',
  force: true,
  pinned: false,
  tier: 'public',
  expiresInMs: 60_000,
  expiresAtMs: 2 ** 42,
  state: 'upheld',
  fromMs: 0,
  toMs: 2 ** 34,
  untilMs: 2 ** 42,
  asked: { tokens: 1, deviceMs: undefined, bytes: 0 },
  caps: { tokensPerDay: 5 },
};
/** Where others would be refused for what has nothing to do with whose it is. */
const FRESH: Readonly<Record<string, (id: string, method: string) => unknown>> = {
  role: () => 'member',
  name: (id, method) => (/create|rename|add|make/i.test(method) ? `new-${fresh++}` : id),
  scope: (id) => (id.startsWith('prj') ? { kind: 'project', id } : { kind: 'territory', id: '' }),
  subject: (id) => ({ kind: subjectKind(id), id }),
};
let fresh = 0;
const subjectKind = (id: string): string =>
  ({ per: 'person', grp: 'group', key: 'key', dev: 'device' })[id.slice(0, 3)] ?? 'person';

interface Aim {
  /** In each place called `id`, `name` and the like. */
  readonly id: string;
  /** In places that take a certain kind. */
  readonly kinds: Handles;
  /** Names are free, and roles such as there are. */
  readonly isFresh: boolean;
  /** What was handed out of it. */
  readonly given: Set<string>;
}

/** Everything, in each place; then the own thing with what is the other's beside it. */
function* aims({ own, other }: AttackDeps): Generator<Aim> {
  for (const id of new Set(other.values())) yield { id, kinds: other, isFresh: false, given: new Set() };
  for (const id of new Set(other.values())) yield { id, kinds: own, isFresh: true, given: new Set() };
  for (const id of new Set(own.values())) yield { id, kinds: own, isFresh: true, given: new Set() };
  for (const id of new Set(own.values())) yield { id, kinds: other, isFresh: true, given: new Set() };
}

/** Stands for an argument whose fields are asked for by name. */
function ordered(deps: AttackDeps, aim: Aim, method: string): object {
  const { territory, actor, parts } = deps;
  const transaction = deps.db as DatabaseTransaction;
  const steward = { kind: 'key', keyId: actor, territory, role: 'steward', name: 'steward', dataClass: 'internal' };
  const fixed: Record<string, unknown> = { territory, actor, transaction, tx: transaction, source: transaction };
  const handle = (text: string): string => {
    aim.given.add(text);
    return text;
  };
  return new Proxy(fixed, {
    get(target, name) {
      if (typeof name === 'symbol' || name === 'then' || name === 'toJSON') return undefined;
      if (name in target) return target[name];
      if (PRINCIPALS.test(name)) return steward;
      if (name === 'publicKey') return new Uint8Array(32).fill(fresh++);
      if (name in PLAIN) return PLAIN[name];
      if (aim.isFresh && name in FRESH) return FRESH[name]?.(handle(aim.id), method);
      const kind = KINDS[name.replace(/Id$/, '')];
      if (kind !== undefined) return handle(aim.kinds.get(kind) ?? aim.id);
      if (HANDLES.has(name) || name.endsWith('Id')) return handle(aim.id);
      if (LISTS.has(name)) return [handle(aim.id)];
      if (name.endsWith('Ms') || NUMBERS.has(name)) return 1;
      return name === 'db' ? transaction : parts[name];
    },
  });
}

const HANDLES = new Set(
  'id name wanted subject what hash token code secret userCode after lease of only text person2'.split(' '),
);
const LISTS = new Set('ids devices names subjects groups rows people ended holds requests keys'.split(' '));
const NUMBERS = new Set('limit tokens bytes day uses more seq size version count from to at'.split(' '));

function argumentsOf(call: Callable, method: string, deps: AttackDeps, aim: Aim): unknown[] {
  const order = ordered(deps, aim, method) as Record<string, unknown>;
  return parametersOf(call).map((name) => {
    if (name === '' || !(name in deps.parts || order[name] !== undefined)) return order;
    return order[name];
  });
}

/** Names of parameters, '' for one that is taken apart. */
export function parametersOf(call: Callable): string[] {
  const text = call.toString();
  const list = text.slice(text.indexOf('(') + 1);
  const names: string[] = [];
  let [depth, name] = [0, ''];
  for (const character of list) {
    if (character === ')' && depth === 0) break;
    if ('([{'.includes(character)) depth++;
    if (')]}'.includes(character)) depth--;
    if (character === ',' && depth === 0) {
      names.push(name);
      name = '';
    } else name += character;
  }
  if (name.trim() !== '') names.push(name);
  return names.map((each) => /^\s*([A-Za-z]\w*)/.exec(each)?.[1] ?? '');
}

async function callOnce(call: Callable, method: string, deps: AttackDeps, aim: Aim): Promise<string> {
  try {
    return textOf(await settled(call(...argumentsOf(call, method, deps, aim))));
  } catch (error) {
    return `threw ${(error as Error).message}`;
  }
}

const WAIT_MS = 150;

async function settled(result: unknown): Promise<unknown> {
  let timer: Timer | undefined;
  const late = new Promise<string>((resolve) => {
    timer = systemClock.after(WAIT_MS, () => resolve('nothing yet'));
  });
  try {
    return await Promise.race([result, late]);
  } finally {
    timer?.cancel();
  }
}

function textOf(value: unknown): string {
  return (
    JSON.stringify(value, (_, each: unknown) => {
      if (each instanceof Map) return [...each];
      if (each instanceof Set) return [...each];
      if (each instanceof Uint8Array) return Buffer.from(each).toString('hex');
      return typeof each === 'bigint' ? String(each) : each;
    }) ?? 'nothing'
  );
}

/** Calls everything that the file exports. */
export async function attack(file: string, deps: AttackDeps): Promise<void> {
  const exported = (await import(/* @vite-ignore */ ROOT + file)) as Record<string, unknown>;
  for (const [name, value] of Object.entries(exported)) {
    if (!isCallable(value)) continue;
    if (/^(create|open|start|watch)[A-Z]/.test(name)) {
      const room = await madeBy(value, deps);
      // What is called so and is no room is asked like everything else.
      if (room === undefined) await attackMethod(`${file}#${name}`, value, deps);
      for (const [method, call] of Object.entries(room ?? {}))
        if (isCallable(call)) await attackMethod(`${file}#${name}.${method}`, call, deps);
    } else await attackMethod(`${file}#${name}`, value, deps);
  }
}

async function madeBy(create: Callable, deps: AttackDeps): Promise<Record<string, unknown> | undefined> {
  const given = parametersOf(create).map((name) =>
    name === 'territory' ? deps.territory : name in deps.parts && name !== 'deps' ? deps.parts[name] : deps.parts,
  );
  try {
    const room = await create(...given);
    return typeof room === 'object' && room !== null ? (room as Record<string, unknown>) : { itself: room };
  } catch {
    return undefined;
  }
}

async function attackMethod(name: string, call: Callable, deps: AttackDeps): Promise<void> {
  const told: Told[] = [];
  for (const aim of aims(deps)) told.push({ given: aim.given, result: await callOnce(call, name, deps, aim) });
  await deps.onTold(name, told);
}
