/**
 * Where stewards see and change what holds: policies of their own with every state they were in, what a change would
 * change, and models that are stopped.
 *
 * Who writes a policy can give herself anything, so it takes who holds everything: a steward of the whole territory,
 * whatever role permits the action by its name. A text that does not hold is refused, and nothing changes.
 */
import { createHash } from 'node:crypto';
import { IdlewildError, type Clock } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { requirePermissions, turnOf } from '../people/granting.ts';
import { TERRITORY } from '../people/standing.ts';
import { touchPeople } from '../people/versions.ts';
import { loadCedar } from './cedar.ts';
import { POLICY_LIMITS } from './limits.ts';
import { changesOf, circumstantialIn, matrixOf, type Cell } from './matrix.ts';
import { compileRules, type Rules } from './rules.ts';
import { readSource, type State } from './state.ts';
import type { OwnText } from './texts.ts';
import { requireWayBack } from './way-back.ts';

export interface OwnPolicy extends OwnText {
  readonly version: number;
  readonly changedAtMs: number;
  readonly changedBy: string;
}

export interface PolicyState {
  readonly version: number;
  /** `undefined`: it was removed. */
  readonly text: string | undefined;
  readonly why: string;
  readonly changedAtMs: number;
  readonly changedBy: string;
}

export interface Act {
  readonly actor: string;
  /** In the words of who acts. */
  readonly why: string;
}

export interface Change {
  /** Names of those whose text is another now. */
  readonly changed: readonly string[];
  /** What roles may that they might not, or the other way round. */
  readonly cells: readonly Cell[];
  /** Ids of policies that are new, another or gone, and hold under circumstances or for some only: no cell shows it. */
  readonly circumstantial: readonly string[];
}

export interface PolicyDesk {
  list(): Promise<OwnPolicy[]>;
  /** Newest first. Throws `not_found`. */
  history(name: string): Promise<PolicyState[]>;
  /** What would hold with these, for `work`. Throws `policy_invalid`. */
  under<Result>(texts: readonly OwnText[], work: (state: State) => Promise<Result>): Promise<Result>;
  /** What applying these would change. Throws `policy_invalid`. */
  preview(texts: readonly OwnText[]): Promise<Change>;
  /** Throws `policy_invalid`, `forbidden`, `invalid_request`. */
  apply(texts: readonly OwnText[], act: Act): Promise<Change>;
  /** Throws `not_found`, `forbidden`. */
  remove(name: string, act: Act): Promise<Change>;
  /** Twice is once. */
  stopModel(cid: string, act: Act & { readonly name: string }): Promise<void>;
  allowModel(cid: string, act: Act & { readonly name: string }): Promise<void>;
}

export interface DeskDeps {
  readonly db: Database;
  /** The database's time. */
  readonly clock: Pick<Clock, 'now'>;
  readonly audit: Audit;
  readonly territory: string;
}

const NAME = /^[a-z0-9][a-z0-9-]{0,63}$/;

export function createPolicyDesk(deps: DeskDeps): PolicyDesk {
  const { db, clock, audit, territory } = deps;

  /** What holds, with these in place of those of the same name; `undefined` takes one away. */
  async function compiled(source: Database, texts: ReadonlyMap<string, string | undefined>): Promise<[Rules, Rules]> {
    const held = await readSource(source, territory);
    const next = held.texts.filter(({ name }) => !texts.has(name));
    for (const [name, text] of texts) if (text !== undefined) next.push({ name, text });
    if (next.length > POLICY_LIMITS.textsMax)
      throw new IdlewildError(
        'invalid_request',
        `a territory has at most ${POLICY_LIMITS.textsMax} policies of its own`,
      );
    const cedar = await loadCedar();
    const after = compileRules(cedar, { ...held, texts: next.toSorted((a, b) => (a.name < b.name ? -1 : 1)) }, true);
    return [
      compileBefore(
        () => compileRules(cedar, held, false),
        () => compileRules(cedar, { ...held, texts: [] }, false),
      ),
      after,
    ];
  }
  const stateOf = (rules: Rules): State => ({ version: 0, rules, stops: new Map(), decisions: new Map() });

  async function changeOf(source: Database, texts: ReadonlyMap<string, string | undefined>): Promise<Change> {
    const held = new Map((await readSource(source, territory)).texts.map(({ name, text }) => [name, text]));
    const [before, after] = await compiled(source, texts);
    const [was, is] = [stateOf(before), stateOf(after)];
    try {
      await requireWayBack(source, { territory, nowMs: clock.now() }, was, is);
      const cells = changesOf(matrixOf(was, territory), matrixOf(is, territory));
      const changed = [...texts].filter(([name, text]) => held.get(name) !== text).map(([name]) => name);
      return { changed, cells, circumstantial: circumstantialIn(before, after) };
    } finally {
      before.release();
      after.release();
    }
  }

  async function change(texts: ReadonlyMap<string, string | undefined>, act: Act): Promise<Change> {
    return transact(db, async (transaction) => {
      await turnOf(transaction, territory);
      const place = { territory, nowMs: clock.now() };
      const everything = { permissions: 'all', scope: TERRITORY, untilMs: 0 } as const;
      await requirePermissions(transaction, place, act.actor, [everything], 'change the policies');
      const made = await changeOf(transaction, texts);
      for (const name of made.changed) await write(transaction, deps, { ...act, name, text: texts.get(name) });
      if (made.changed.length > 0) await touchPeople(transaction, territory);
      return made;
    });
  }

  return {
    async list() {
      const rows = await db
        .selectFrom('policies')
        .selectAll()
        .where('territory_id', '=', territory)
        .orderBy('name')
        .execute();
      return rows.map(({ name, text, version, changed_at_ms: changedAtMs, changed_by: changedBy }) => ({
        name,
        text,
        version,
        changedAtMs,
        changedBy,
      }));
    },
    async history(name) {
      const rows = await db
        .selectFrom('policy_history')
        .selectAll()
        .where('territory_id', '=', territory)
        .where('name', '=', name)
        .orderBy('version', 'desc')
        .limit(POLICY_LIMITS.historyMax)
        .execute();
      if (rows.length === 0) throw unknown(name);
      return rows.map((row) => ({
        version: row.version,
        text: row.text ?? undefined,
        why: row.why,
        changedAtMs: row.changed_at_ms,
        changedBy: row.changed_by,
      }));
    },
    async under(texts, work) {
      const [before, after] = await compiled(db, named(texts));
      before.release();
      try {
        return await work(stateOf(after));
      } finally {
        after.release();
      }
    },
    preview: async (texts) => changeOf(db, named(texts)),
    apply: async (texts, act) => change(named(texts), act),
    async remove(name, act) {
      const held = await readSource(db, territory);
      if (!held.texts.some((text) => text.name === name)) throw unknown(name);
      return change(new Map([[name, undefined]]), act);
    },
    stopModel: (cid, { actor, why, name }) =>
      transact(db, async (transaction) => {
        const row = { territory_id: territory, cid, why, stopped_at_ms: clock.now(), stopped_by: actor };
        await transaction
          .insertInto('model_stops')
          .values(row)
          .onConflict((on) => on.columns(['territory_id', 'cid']).doUpdateSet({ why }))
          .execute();
        await touchPeople(transaction, territory);
        await audit.append(transaction, {
          territory,
          actor,
          action: 'stopModel',
          subject: cid,
          details: { name, why },
        });
      }),
    allowModel: (cid, { actor, why, name }) =>
      transact(db, async (transaction) => {
        const { numDeletedRows } = await transaction
          .deleteFrom('model_stops')
          .where('territory_id', '=', territory)
          .where('cid', '=', cid)
          .executeTakeFirst();
        if (numDeletedRows === 0n) return;
        await touchPeople(transaction, territory);
        await audit.append(transaction, {
          territory,
          actor,
          action: 'allowModel',
          subject: cid,
          details: { name, why },
        });
      }),
  };
}

/** By whoever has the database: nobody's rights are asked, and no text is read. Throws `not_found`. */
export async function removePolicyByHand(deps: DeskDeps, name: string, act: Act): Promise<void> {
  const { db, territory } = deps;
  await transact(db, async (transaction) => {
    await turnOf(transaction, territory);
    const { texts } = await readSource(transaction, territory);
    if (!texts.some((text) => text.name === name)) throw unknown(name, texts);
    await write(transaction, deps, { ...act, name, text: undefined });
    await touchPeople(transaction, territory);
  });
}

/** Where what holds does not any more, which an update can do, a change is told against what is left without it. */
function compileBefore(all: () => Rules, without: () => Rules): Rules {
  try {
    return all();
  } catch {
    return without();
  }
}

/** Throws `invalid_request`. */
function named(texts: readonly OwnText[]): Map<string, string> {
  const all = new Map(texts.map(({ name, text }) => [name, text]));
  if (all.size < texts.length) throw new IdlewildError('invalid_request', 'two policies of this change have one name');
  for (const [name, text] of all) {
    if (!NAME.test(name))
      throw new IdlewildError('invalid_request', `"${name.slice(0, 80)}": a policy is named in a to z, 0 to 9 and "-"`);
    if (Buffer.byteLength(text) > POLICY_LIMITS.textBytesMax)
      throw new IdlewildError(
        'invalid_request',
        `the policy "${name}" has more than ${POLICY_LIMITS.textBytesMax} bytes`,
      );
  }
  return all;
}

interface Write extends Act {
  readonly name: string;
  readonly text: string | undefined;
}

async function write(
  transaction: DatabaseTransaction,
  deps: DeskDeps,
  { name, text, actor, why }: Write,
): Promise<void> {
  const { clock, audit, territory } = deps;
  const last = await transaction
    .selectFrom('policy_history')
    .select('version')
    .where('territory_id', '=', territory)
    .where('name', '=', name)
    .orderBy('version', 'desc')
    .limit(1)
    .executeTakeFirst();
  const version = (last?.version ?? 0) + 1;
  const change = { version, changed_at_ms: clock.now(), changed_by: actor };
  await transaction
    .insertInto('policy_history')
    .values({ territory_id: territory, name, text: text ?? null, why, ...change })
    .execute();
  if (text === undefined)
    await transaction.deleteFrom('policies').where('territory_id', '=', territory).where('name', '=', name).execute();
  else
    await transaction
      .insertInto('policies')
      .values({ territory_id: territory, name, text, ...change })
      .onConflict((on) => on.columns(['territory_id', 'name']).doUpdateSet({ text, ...change }))
      .execute();
  const hash = text === undefined ? {} : { sha256: createHash('sha256').update(text).digest('hex') };
  const action = text === undefined ? 'removePolicy' : 'changePolicy';
  await audit.append(transaction, { territory, actor, action, subject: name, details: { version, why, ...hash } });
}

function unknown(name: string, all?: readonly OwnText[]): IdlewildError {
  const way =
    all === undefined ? 'see idlewild policy show' : `it has: ${all.map((own) => own.name).join(', ') || 'none'}`;
  return new IdlewildError('not_found', `this territory has no policy "${name}" of its own; ${way}`);
}
