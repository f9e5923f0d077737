/** Small aligned tables. Text comes from devices and hubs, so what could steer a terminal is taken out of it. */
import { plainText, wrap } from './units.ts';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** At least: what is printed later stands below. */
  readonly characters?: number;
}

/** One line for the titles and one for each row; columns two spaces apart, nothing at the ends of lines. */
export function tableLines(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => row.map(cellText))];
  const widths = columns.map(({ characters = 0 }, index) =>
    Math.max(characters, ...cells.map((row) => (row[index] ?? '').length)),
  );
  return cells.map((row) =>
    columns
      .map(({ align }, index) => {
        const cell = row[index] ?? '';
        const width = widths[index] ?? 0;
        return align === 'right' ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

/** One line, in which nothing hides: two names that look the same are the same. */
const cellText = (cell: string): string =>
  plainText(cell)
    .replace(/\p{Cf}/gu, '')
    .replace(/[\n\t\u2028\u2029]/g, ' ');

/**
 * Pairs of a name and a value, the values in one column, further lines of one too: none can pass for a name. Where a
 * screen has so many columns, what is longer goes on below.
 */
export function factLines(
  facts: readonly (readonly [name: string, value: string])[],
  columns = Number.POSITIVE_INFINITY,
): string[] {
  const width = Math.max(...facts.map(([name]) => name.length));
  const room = Math.max(VALUE_CHARACTERS_MIN, columns - width - 2);
  return facts.flatMap(([name, value]) => {
    const told = plainText(value).trimEnd().split('\n');
    const lines = told.flatMap((line) => (line.length <= room ? [line] : wrap(line, room)));
    return lines.map((line, index) => `${(index === 0 ? name : '').padEnd(width)}  ${line}`.trimEnd());
  });
}

/** On a screen that has less, lines are broken by the screen itself. */
const VALUE_CHARACTERS_MIN = 20;
