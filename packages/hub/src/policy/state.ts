/**
 * What holds in a territory at a version: its policies, put together, and the models that are stopped.
 *
 * Read from the database when the version grew. Where that was for another reason, as nearly always, the same policies
 * stay, with all that was decided by them.
 */
import type { MaybePromise } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import type { Log } from '../log.ts';
import { actionsOf } from '../people/standing.ts';
import { ACTIONS, type Action } from './actions.ts';
import type { Answer, Cedar } from './cedar.ts';
import { compileRules, type Rules, type RuleSource } from './rules.ts';

export interface Stop {
  readonly why: string;
  readonly atMs: number;
  readonly by: string;
}

export interface State {
  readonly version: number;
  readonly rules: Rules;
  /** By CID. */
  readonly stops: ReadonlyMap<string, Stop>;
  /** What was decided by these policies, oldest first. */
  readonly decisions: Map<string, Answer>;
}

export interface StateReader {
  /** At once where it is known. */
  at(version: number): MaybePromise<State>;
  /** What is known now; nothing before the first reading and after the end. */
  readonly current: () => State | undefined;
  stop(): void;
}

export interface StateDeps {
  readonly cedar: Cedar;
  readonly db: Database;
  readonly territory: string;
  readonly log: Log;
}

/**
 * In place of texts that held when they were written and do not any more, which an update can do: what they forbade is
 * not known, so everything is, but to look at them and to change them.
 */
const MENDING: ReadonlySet<string> = new Set<Action>(['readPolicy', 'changePolicy']);
const LOCKED = Object.keys(ACTIONS)
  .filter((action) => !MENDING.has(action))
  .map((action) => `Action::"${action}"`);
const LOCK = {
  name: 'policies-that-no-longer-hold',
  text: `@id("lock") forbid (principal, action in [${LOCKED.join(', ')}], resource);`,
};

export function createStateReader({ cedar, db, territory, log }: StateDeps): StateReader {
  let known: State | undefined;
  /** What `known` was made of. */
  let madeOf = '';
  let reading: { readonly version: number; readonly state: Promise<State> } | undefined;

  async function read(version: number): Promise<State> {
    const source = await readSource(db, territory);
    const stops = await readStops(db, territory);
    const text = JSON.stringify([[...source.roles], source.texts]);
    const isSame = known !== undefined && text === madeOf;
    const state: State =
      known !== undefined && isSame
        ? { ...known, version, stops }
        : { version, rules: compile(source), stops, decisions: new Map() };
    if (known !== undefined && known.version > version) {
      if (!isSame) state.rules.release();
      return known;
    }
    if (!isSame) known?.rules.release();
    madeOf = text;
    return (known = state);
  }

  function compile(source: RuleSource): Rules {
    try {
      return compileRules(cedar, source, false);
    } catch (error) {
      const why = (error as Error).message;
      log.error({ territory, why }, 'policies of this territory do not hold any more: everything but them is refused');
      return compileRules(cedar, { roles: source.roles, texts: [LOCK] }, false);
    }
  }

  return {
    at(version) {
      if (known?.version === version) return known;
      if (reading?.version === version) return reading.state;
      const mine = read(version).finally(() => {
        if (reading?.state === mine) reading = undefined;
      });
      reading = { version, state: mine };
      return mine;
    },
    current: () => known,
    stop() {
      known?.rules.release();
      known = undefined;
      madeOf = '';
    },
  };
}

export async function readSource(db: Database, territory: string): Promise<RuleSource> {
  const roles = await db
    .selectFrom('roles')
    .select(['name', 'permissions_json'])
    .where('territory_id', '=', territory)
    .orderBy('name')
    .execute();
  const texts = await db
    .selectFrom('policies')
    .select(['name', 'text'])
    .where('territory_id', '=', territory)
    .orderBy('name')
    .execute();
  return { roles: new Map(roles.map((row) => [row.name, [...actionsOf(row.permissions_json)]])), texts };
}

async function readStops(db: Database, territory: string): Promise<Map<string, Stop>> {
  const rows = await db.selectFrom('model_stops').selectAll().where('territory_id', '=', territory).execute();
  return new Map(rows.map((row) => [row.cid, { why: row.why, atMs: row.stopped_at_ms, by: row.stopped_by }]));
}
