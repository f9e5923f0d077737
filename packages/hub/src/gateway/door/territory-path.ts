/** Addresses within one territory of a hub: `/t/<territory id>` in front of what a hub of one has. */

const BEFORE = '/t/';

export const pathOfTerritory = (territory: string): string => BEFORE + territory;

/** The territory that `path` names, and the path within it; the path as it is where it names none. */
export function territoryIn(path: string): { readonly territory: string | undefined; readonly rest: string } {
  const end = path.startsWith(BEFORE) ? path.indexOf('/', BEFORE.length) : -1;
  if (end === -1) return { territory: undefined, rest: path };
  return { territory: path.slice(BEFORE.length, end), rest: path.slice(end) };
}
