/**
 * The head of a model card: what stands between two lines `---` at the start of a README.md, in the little of YAML that
 * model cards need. Scalars and lists of scalars are read; what is nested deeper is passed over, never guessed at.
 */

const FRONT_MATTER = /^\uFEFF?---[ \t]*\r?\n([\s\S]*?)\r?\n---[ \t]*(?:\r?\n|$)/;
const VALUES_MAX = 1_024;

export interface FrontMatter {
  /** Of each key its values: one for a scalar, none for an empty one. */
  readonly values: ReadonlyMap<string, readonly string[]>;
  /** The text after it. */
  readonly body: string;
}

export function readFrontMatter(markdown: string): FrontMatter {
  const [head, matter] = FRONT_MATTER.exec(markdown) ?? [];
  const values = new Map<string, readonly string[]>();
  if (head === undefined || matter === undefined) return { values, body: markdown };
  let list: string[] | undefined;
  for (const line of matter.split(/\r?\n/)) {
    const [, key, rest = ''] = /^([A-Za-z][\w-]{0,63}):(?:[ \t]+(.*))?$/.exec(line) ?? [];
    if (key !== undefined) {
      const own = valuesOf(rest.trim());
      list = own.length === 0 ? [] : undefined;
      values.set(key, list ?? own);
      continue;
    }
    const [, item] = /^[ \t]*-[ \t]+(.*)$/.exec(line) ?? [];
    // An item that is a mapping, such as those of `model-index`, is no scalar.
    if (item !== undefined && list !== undefined && list.length < VALUES_MAX && !/^[\w-]+:(\s|$)/.test(item)) {
      list.push(...scalar(item));
    }
  }
  return { values, body: markdown.slice(head.length) };
}

function valuesOf(text: string): string[] {
  // A block of text, `>` or `|`: the indented lines after it are no values.
  if (/^[>|][+-]?$/.test(text)) return [];
  const flow = /^\[(.*)\]$/.exec(withoutComment(text))?.[1];
  return flow === undefined ? scalar(text) : flow.split(',').slice(0, VALUES_MAX).flatMap(scalar);
}

function scalar(text: string): string[] {
  const bare = withoutComment(text).trim();
  const value = /^(["'])(.*)\1$/.exec(bare)?.[2] ?? bare;
  return value === '' || value === 'null' || value === '~' ? [] : [value];
}

const withoutComment = (text: string): string => (/^["']/.test(text) ? text : (text.split(/\s#/)[0] ?? '')).trim();
