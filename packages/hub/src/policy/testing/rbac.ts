/**
 * The matrix of routes and roles, from the routes that a server really has and the policies that every territory has:
 * `docs/rbac.md` is made of it, and a test asks for every cell of it.
 *
 * A route that can be registered names its action, so none is without a row; a role of a territory's own is what its
 * permissions say, and has no column.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { TableRoute } from '../../gateway/server.ts';
import type { Standing } from '../../people/directory.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';
import { standIn } from '../cases.ts';
import { loadCedar } from '../cedar.ts';
import { decide } from '../decide.ts';
import { compileRules } from '../rules.ts';
import type { State } from '../state.ts';

/** Who asks: without anything, with a device's ticket, as a person who has one role in the whole territory. */
export const ASKERS = ['nobody', 'device', 'caller', 'member', 'lender', 'auditor', 'steward'] as const;
export type Asker = (typeof ASKERS)[number];

/** `own`: on what is the asker's own. `public`: the policy is not asked; the handler may want a proof of its own. */
export type Cell = 'yes' | 'own' | 'no' | 'public';

export interface Row {
  readonly route: TableRoute;
  readonly cells: Readonly<Record<Asker, Cell>>;
}

const TERRITORY = 'ter_a';
const SELF = 'per_self';

/** A hub with all its routes, also those that only a hub of several territories has. */
export function openWholeDoor(): Promise<TestDoor> {
  const nowhere = (): never => {
    throw new IdlewildError('not_found', 'there is no other community');
  };
  const hosting = {
    list: async () => [],
    show: nowhere,
    create: nowhere,
    close: nowhere,
    reopen: nowhere,
    open: nowhere,
  };
  return openTestDoor('jacobean', { territories: { hosting: () => hosting, addressOf: () => 'http://localhost' } });
}

export async function rbacOf(routes: readonly TableRoute[]): Promise<Row[]> {
  const rules = compileRules(await loadCedar(), { roles: new Map(), texts: [] }, false);
  const state: State = { version: 0, rules, stops: new Map(), decisions: new Map() };
  try {
    return routes.map((route) => {
      const cells = Object.fromEntries(ASKERS.map((asker) => [asker, cellOf(state, route, asker)]));
      return { route, cells: cells as Row['cells'] };
    });
  } finally {
    rules.release();
  }
}

function cellOf(state: State, { action, on }: TableRoute, asker: Asker): Cell {
  if (action === 'public') return 'public';
  if (asker === 'nobody') return 'no';
  const standing = standingOf(asker);
  const may = (thing: { readonly id?: string; readonly person?: string }): boolean =>
    decide(state, standing, { action, on: { territory: TERRITORY, ...thing }, said: {}, atMs: 0 }).isAllowed;
  if (on !== 'thing') return may({}) ? 'yes' : 'no';
  if (may({ id: 'any' })) return 'yes';
  return may({ id: 'any', person: SELF }) ? 'own' : 'no';
}

const standingOf = (asker: Exclude<Asker, 'nobody'>): Standing =>
  asker === 'device'
    ? standIn(TERRITORY, 'Device', 'dev_self', [], [])
    : standIn(TERRITORY, 'Person', SELF, [asker], []);

const rowKey = ({ method, url }: Pick<TableRoute, 'method' | 'url'>): string => `${method} ${url}`;

export function rbacDocument(rows: readonly Row[]): string {
  const sorted = rows.toSorted((a, b) => (a.route.url + a.route.method < b.route.url + b.route.method ? -1 : 1));
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    '# Who may do what, route by route',
    '',
    'Each route of a hub, the action that it asks the policy for, and who may: without a key (*nobody*), with a',
    "device's ticket, or with one of the built-in roles in the whole community.",
    '',
    '- **yes**: allowed. For `answer`: by some model; the very model, data class and purpose are asked next.',
    '- **own**: allowed on what is one’s own.',
    '- **no**: refused, with 401 for nobody and 403 for everybody else.',
    '- **public**: everybody; where a route signs somebody in, it asks for its own proof.',
    '',
    'Roles that a community made itself permit what they list. Policies of its own may forbid or permit more:',
    '`idlewild policy show`, and [policy.md](policy.md). A test asks a real server for every cell.',
    '',
    line(['Route', 'Action', ...ASKERS]),
    line(['---', '---', ...ASKERS.map(() => '---')]),
    ...sorted.map(({ route, cells }) =>
      line([
        `\`${rowKey(route)}\``,
        route.action === 'public' ? '' : route.action,
        ...ASKERS.map((asker) => cells[asker]),
      ]),
    ),
    '',
    "This page is generated from the built-in roles and a server's routes by `npm run docs:rbac`.",
    '',
  ].join('\n');
}

/** Routes that `document` says nothing of, or not for everybody. */
export function routesWithoutCell(document: string, routes: readonly TableRoute[]): string[] {
  const known = new Set(
    document
      .split('\n')
      .map((text) => text.split('|').map((cell) => cell.trim()))
      .filter((cells) => cells.length === ASKERS.length + 4)
      .filter((cells) => cells.slice(3, -1).every((cell) => ['yes', 'own', 'no', 'public'].includes(cell)))
      .map((cells) => (cells[1] ?? '').replaceAll('`', '')),
  );
  return [...new Set(routes.map(rowKey))].filter((route) => !known.has(route));
}
