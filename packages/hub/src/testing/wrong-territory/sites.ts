/**
 * Where this hub asks its database, found twice: in the source, by reading every room, and while it runs, by the place
 * from which each query is begun. What is in the one and never in the other was not tried.
 *
 * A function counts where it begins a query on a table itself; queries within a query belong to the one around them.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Kysely } from 'kysely';
import { parseAst } from 'vitest/node';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** `file#function`, the innermost that has a name. */
export interface Site {
  readonly store: string;
  readonly file: string;
  readonly line: number;
  /** As it is written; `undefined` where it is not known before it runs. */
  readonly table: string | undefined;
}

const BEGINNINGS = ['selectFrom', 'insertInto', 'updateTable', 'deleteFrom'] as const;
/** Tables' names are what migrations and whole backups are about. */
const ELSEWHERE = /^(db|testing)\/|\/testing\/|\.test\.ts$/;

interface Node {
  readonly type: string;
  readonly start: number;
  readonly [field: string]: unknown;
}
const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';

/** Every file of the rooms that begins a query. */
export function filesWithQueries(): string[] {
  const all = readdirSync(ROOT, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const begins = new RegExp(`\\.(${BEGINNINGS.join('|')})\\(|\\.execute\\(`);
  return all.filter((file) => !ELSEWHERE.test(file) && begins.test(readFileSync(ROOT + file, 'utf8'))).sort();
}

export function sitesIn(file: string): Site[] {
  const text = readFileSync(ROOT + file, 'utf8');
  const sites: Site[] = [];
  const visit = (value: unknown, names: readonly string[]): void => {
    if (Array.isArray(value)) {
      for (const each of value) visit(each, names);
      return;
    }
    if (!isNode(value)) return;
    const own = nameOf(value);
    const within = own === undefined ? names : [...names, own];
    const at = beginningOf(value);
    if (at !== undefined) {
      const line = text.slice(0, at).split('\n').length;
      sites.push({ store: `${file}#${within.at(-1) ?? ''}`, file, line, table: tableOf(value) });
    }
    for (const [field, each] of Object.entries(value)) if (field !== 'type') visit(each, within);
  };
  visit(parseAst(text, { lang: 'ts' }), []);
  return sites;
}

/** Of a function that has one: declared, a member of an object, or a constant. */
function nameOf(node: Node): string | undefined {
  const named = (key: unknown): string | undefined => (isNode(key) ? (key.name as string | undefined) : undefined);
  if (node.type === 'FunctionDeclaration') return named(node.id);
  const isFunction = (value: unknown): boolean => isNode(value) && /Function/.test(value.type);
  if (node.type === 'Property' && isFunction(node.value)) return named(node.key);
  if (node.type === 'VariableDeclarator' && isFunction(node.init)) return named(node.id);
  return undefined;
}

/** Where in the text a query on the database, or on a transaction, begins. */
function beginningOf(node: Node): number | undefined {
  if (node.type !== 'CallExpression' || !isNode(node.callee) || node.callee.type !== 'MemberExpression')
    return undefined;
  const { object, property } = node.callee;
  if (!isNode(property) || !isNode(object)) return undefined;
  if (!(BEGINNINGS as readonly string[]).includes(property.name as string)) return undefined;
  return isDatabase(object) ? property.start : undefined;
}

const tableOf = ({ arguments: given }: Node): string | undefined => {
  const [first] = given as readonly Node[];
  return first?.type === 'Literal' ? (first.value as string).split(' ')[0] : undefined;
};

const DATABASES = new Set(['db', 'transaction', 'tx', 'source', 'snapshot', 'database']);

function isDatabase(node: Node): boolean {
  if (node.type === 'Identifier') return DATABASES.has(node.name as string);
  return node.type === 'MemberExpression' && isNode(node.property) && node.property.name === 'db';
}

/** Every place of the rooms at which a query has begun since, as `file:line`. */
export function watchQueries(): { readonly seen: ReadonlySet<string>; stop(): void } {
  const creator = Object.getPrototypeOf(Kysely.prototype) as Record<string, (...given: unknown[]) => unknown>;
  const seen = new Set<string>();
  const own = Object.fromEntries(BEGINNINGS.map((name) => [name, creator[name] as (...given: unknown[]) => unknown]));
  for (const name of BEGINNINGS)
    creator[name] = function begin(this: unknown, ...given) {
      const at = placeAsking();
      if (at !== undefined) seen.add(at);
      return own[name]?.apply(this, given);
    };
  return {
    seen,
    stop() {
      for (const name of BEGINNINGS) if (own[name] !== undefined) creator[name] = own[name];
    },
  };
}

function placeAsking(): string | undefined {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 12;
  const { stack = '' } = new Error('who asks');
  Error.stackTraceLimit = limit;
  for (const line of stack.split('\n')) {
    const at = line.indexOf(ROOT);
    if (at === -1) continue;
    const [, file = '', row = ''] = /^(.*?\.ts)[^:]*:(\d+):\d+\)?$/.exec(line.slice(at + ROOT.length)) ?? [];
    if (!file.startsWith('testing/') && file !== '') return `${file}:${row}`;
  }
  return undefined;
}
