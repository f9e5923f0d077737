/** Many rows as few statements: databases bound the variables of one (SQLite takes 32,766). */

/** Rows of one statement. */
export const ROWS_MAX = 1_000;

export function* slices<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let from = 0; from < items.length; from += ROWS_MAX) yield items.slice(from, from + ROWS_MAX);
}
