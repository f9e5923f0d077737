/**
 * The second wall, held by the tests: a query on a table whose rows belong to territories says of which territory they
 * are, or it is not run at all.
 *
 * Every statement that a room compiles is walked: each such table of it, also in joins and subqueries, must have its
 * `territory_id` compared in the `where` or the `on` that belongs to it, or be given it as a value. What has a reason
 * not to is listed here with it. What a test asks for itself is not looked at.
 */
import { fileURLToPath } from 'node:url';
import { type KyselyPlugin, type OperationNode, type PluginTransformQueryArgs, type RootOperationNode } from 'kysely';
import type { OpenDatabase } from '../db/open.ts';
import type { Database } from '../db/schema.ts';

interface Exemption {
  /** Within `hub/src`. */
  readonly file: string;
  readonly table: string;
  readonly why: string;
}

export const EXEMPTIONS: readonly Exemption[] = [
  { file: 'gateway/door/front.ts', table: 'keys', why: 'finds out which territory a key is of, by its hash' },
  {
    file: 'gateway/door/front.ts',
    table: 'person_sessions',
    why: 'finds out which territory a session is of, by its hash',
  },
  { file: 'sign-in/elsewhere.ts', table: 'person_sessions', why: 'finds out which territory a session is of, too' },
  { file: 'identity/keys.ts', table: 'keys', why: 'one that serves no single territory takes the key at its word' },
  { file: 'identity/territory.ts', table: 'territories', why: 'asks whether this database is that of another' },
  { file: 'house/house.ts', table: 'territories', why: 'which territories there are' },
  { file: 'house/hosting.ts', table: 'territories', why: 'which territories there are, for whoever runs the hub' },
  { file: 'hub.ts', table: 'territories', why: 'whether the database answers' },
  { file: 'models/registry.ts', table: 'models', why: 'bytes are shared by content: which files nobody uses any more' },
  { file: 'people/communities.ts', table: 'members', why: 'in which territories a person is who asks that herself' },
  { file: 'people/communities.ts', table: 'territories', why: 'what these are called, and whether there are others' },
  { file: 'people/removal.ts', table: 'members', why: 'whether another territory has the person as a member, too' },
  { file: 'archive/back-up.ts', table: '*', why: 'a backup is of the whole hub' },
  { file: 'archive/tables.ts', table: '*', why: 'a backup is of the whole hub' },
];

/** The same database, behind the wall. */
export async function walled(database: OpenDatabase): Promise<OpenDatabase> {
  const tables = await tablesOf(database.db);
  return { ...database, db: database.db.withPlugin(createWall(tables)) };
}

let known: ReadonlySet<string> | undefined;

/** Tables with a column `territory_id`: the same in every database of this version. */
export async function tablesOf(db: Database): Promise<ReadonlySet<string>> {
  if (known !== undefined) return known;
  const all = await db.introspection.getTables();
  const owned = all.filter(({ columns }) => columns.some(({ name }) => name === 'territory_id'));
  known = new Set(['territories', ...owned.map(({ name }) => name)]);
  return known;
}

export function createWall(tables: ReadonlySet<string>): KyselyPlugin {
  return {
    transformQuery({ node }: PluginTransformQueryArgs): RootOperationNode {
      for (const table of unbounded(node, tables)) {
        const file = roomAsking();
        if (file !== undefined && !isExempt(file, table))
          throw new Error(`a query of ${file} on "${table}" does not say of which territory; see territory-wall.ts`);
      }
      return node;
    },
    transformResult: async ({ result }) => result,
  };
}

const isExempt = (file: string, table: string): boolean =>
  EXEMPTIONS.some((each) => each.file === file && (each.table === '*' || each.table === table));

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The file of the hub that asks, `undefined` for a test. */
function roomAsking(): string | undefined {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 50;
  const { stack = '' } = new Error('who asks');
  Error.stackTraceLimit = limit;
  for (const line of stack.split('\n').slice(1)) {
    const at = line.indexOf(ROOT);
    if (at === -1) continue;
    const file = line
      .slice(at + ROOT.length)
      .replace(/:\d+:\d+\)?$/, '')
      .replace(/\?.*$/, '');
    if (file === 'testing/territory-wall.ts') continue;
    const isTest = file.endsWith('.test.ts') || file.includes('testing/');
    return isTest || file.startsWith('db/') ? undefined : file;
  }
  return undefined;
}

/** Tables of the statement that have no territory. */
export function unbounded(node: OperationNode, tables: ReadonlySet<string>): string[] {
  const found: string[] = [];
  visit(node, tables, found, new Set());
  return found;
}

type AnyNode = OperationNode & Readonly<Record<string, unknown>>;
const isNode = (value: unknown): value is AnyNode =>
  typeof value === 'object' && value !== null && typeof (value as { kind?: unknown }).kind === 'string';

function visit(value: unknown, tables: ReadonlySet<string>, found: string[], seen: Set<unknown>): void {
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  seen.add(value);
  if (Array.isArray(value)) {
    for (const each of value) visit(each, tables, found, seen);
    return;
  }
  if (isNode(value)) checkStatement(value, tables, found);
  for (const [name, each] of Object.entries(value)) if (name !== 'queryId') visit(each, tables, found, seen);
}

function checkStatement(node: AnyNode, tables: ReadonlySet<string>, found: string[]): void {
  switch (node.kind) {
    case 'InsertQueryNode': {
      const table = tableOf(node.into)?.table;
      if (table === undefined || !tables.has(table)) return;
      const columns = ((node.columns ?? []) as AnyNode[]).map(columnName);
      if (!columns.includes(columnFor(table))) found.push(table);
      return;
    }
    case 'SelectQueryNode':
    case 'UpdateQueryNode':
    case 'DeleteQueryNode': {
      const sources = sourcesOf(node).filter(({ table }) => tables.has(table));
      const compared = new Set<string>();
      const isSingle = sourcesOf(node).length === 1;
      comparisons([node.where, ...((node.joins ?? []) as AnyNode[]).map((join) => join.on)], compared);
      for (const { table, alias } of sources) {
        const column = columnFor(table);
        if (compared.has(`${alias}.${column}`) || (isSingle && compared.has(`.${column}`))) continue;
        found.push(table);
      }
      return;
    }
    case 'RawNode': {
      const text = rawText(node);
      if (!/\b(select|insert|update|delete)\b/i.test(text)) return;
      const of = (table: string): RegExp => new RegExp(`\\b(from|into|update|join)\\s+"?${table}\\b`, 'gi');
      const named = [...tables].filter((table) => of(table).test(text));
      const times = named.reduce((sum, table) => sum + (text.match(of(table)) ?? []).length, 0);
      // Which of them a comparison is about nobody reads here: there are as many as tables, or all are in doubt.
      const said = text.match(/\b(territory_id"?\s*(=|in\b)|territories"?\s+where\s+"?id"?\s*=)/gi) ?? [];
      const isGiven = /\binto\b[^)]*\bterritory_id\b/i.test(text);
      if (said.length + Number(isGiven) < times) found.push(...named);
      return;
    }
    default:
  }
}

/** With the tables and columns that were put into it by name. */
function rawText({ sqlFragments, parameters }: AnyNode): string {
  const nameOf = (part: unknown): string => {
    if (!isNode(part)) return '?';
    if (part.kind === 'RawNode') return rawText(part);
    const column = part.kind === 'ReferenceNode' ? columnName(part.column) : columnName(part);
    return tableOf(part)?.table ?? (column === '' ? '?' : column);
  };
  const parts = (parameters ?? []) as readonly unknown[];
  return (sqlFragments as readonly string[])
    .map((text, at) => text + (at < parts.length ? nameOf(parts[at]) : ''))
    .join('');
}

const columnFor = (table: string): string => (table === 'territories' ? 'id' : 'territory_id');

interface Source {
  readonly table: string;
  readonly alias: string;
}

function sourcesOf(node: AnyNode): Source[] {
  const froms = node.from as { froms?: readonly unknown[] } | undefined;
  const listed = [...(froms?.froms ?? []), node.table, ...((node.joins ?? []) as AnyNode[]).map((join) => join.table)];
  return listed.map(tableOf).filter((source) => source !== undefined);
}

function tableOf(node: unknown): Source | undefined {
  if (!isNode(node)) return undefined;
  if (node.kind === 'AliasNode') {
    const inner = tableOf(node.node);
    const { alias } = node;
    const name = isNode(alias) ? (alias.name as string | undefined) : undefined;
    return inner === undefined ? undefined : { table: inner.table, alias: name ?? inner.alias };
  }
  if (node.kind !== 'TableNode') return undefined;
  const { identifier } = (node as unknown as { table: { identifier: { name: string } } }).table;
  return { table: identifier.name, alias: identifier.name };
}

const columnName = (node: unknown): string =>
  isNode(node) && node.kind === 'ColumnNode' ? (node.column as { name: string }).name : '';

/** Columns, as `table.column` or `.column`, that are compared for being equal, and whose comparison must hold. */
function comparisons(values: readonly unknown[], into: Set<string>): void {
  for (const value of values) {
    if (!isNode(value)) continue;
    switch (value.kind) {
      case 'WhereNode':
        comparisons([value.where], into);
        break;
      case 'OnNode':
        comparisons([value.on], into);
        break;
      case 'AndNode':
        comparisons([value.left, value.right], into);
        break;
      case 'ParensNode':
        comparisons([value.node], into);
        break;
      case 'BinaryOperationNode': {
        const operator = isNode(value.operator) ? String(value.operator.operator) : '';
        if (operator !== '=' && operator !== 'in') break;
        for (const side of [value.leftOperand, value.rightOperand]) noteColumn(side, into);
        break;
      }
      case 'RawNode': {
        const raw = value as AnyNode & { readonly sqlFragments: readonly string[] };
        if (raw.sqlFragments.some((text) => /territory_id\s*=/.test(text))) into.add('.territory_id');
        break;
      }
      default:
    }
  }
}

function noteColumn(side: unknown, into: Set<string>): void {
  if (!isNode(side) || side.kind !== 'ReferenceNode') return;
  const table = tableOf(side.table)?.table ?? '';
  into.add(`${table}.${columnName(side.column)}`);
}
