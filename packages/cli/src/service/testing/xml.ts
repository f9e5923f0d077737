/**
 * A strict reader of XML as far as property lists and tasks use it: one root, elements with attributes, text with the
 * five entities, comments. What is not well formed is thrown.
 */
export interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly Element[];
  /** Of an element without others. */
  readonly text: string;
}

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
/** What XML 1.0 calls a character (2.2). */
// oxlint-disable-next-line no-control-regex
const NO_CHARACTER = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;
const TAG = /<(\/?)([A-Za-z][\w.:-]*)((?:\s+[\w.:-]+="[^"<]*")*)\s*(\/?)>/y;

export function readXml(source: string): Element {
  if (NO_CHARACTER.test(source) || !source.isWellFormed()) throw new Error('a character that XML does not have');
  const rest = source
    .replace(/^<\?xml [^?]*\?>\s*/, '')
    .replace(/<!--([\s\S]*?)-->/g, (_, comment: string) => {
      if (comment.includes('--') || comment.endsWith('-')) throw new Error(`a comment with "--": ${comment}`);
      return '';
    })
    .replace(/<!DOCTYPE [^>[]*>/, '')
    .trim();
  const { element, at } = readElement(rest, 0);
  if (at !== rest.length) throw new Error(`something follows the root: ${rest.slice(at, at + 40)}`);
  return element;
}

function readElement(text: string, from: number): { element: Element; at: number } {
  const [opening = '', slash, name = '', given = '', isEmpty] = tagAt(text, from);
  if (slash === '/') throw new Error(`</${name}> closes nothing`);
  const attributes = Object.fromEntries(
    [...given.matchAll(/([\w.:-]+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, unescaped(value)]),
  );
  let at = from + opening.length;
  if (isEmpty === '/') return { element: { name, attributes, children: [], text: '' }, at };
  const children: Element[] = [];
  let content = '';
  for (;;) {
    const next = text.indexOf('<', at);
    if (next === -1) throw new Error(`<${name}> is never closed`);
    content += unescaped(text.slice(at, next));
    const [closing = '', closes, other] = tagAt(text, next);
    if (closes === '/') {
      if (other !== name) throw new Error(`</${other}> closes <${name}>`);
      at = next + closing.length;
      break;
    }
    const child = readElement(text, next);
    children.push(child.element);
    at = child.at;
  }
  if (children.length > 0 && content.trim() !== '') throw new Error(`text between the elements of <${name}>`);
  return { element: { name, attributes, children, text: children.length > 0 ? '' : content }, at };
}

function tagAt(text: string, at: number): RegExpExecArray {
  TAG.lastIndex = at;
  const found = TAG.exec(text);
  if (found === null) throw new Error(`no tag: ${text.slice(at, at + 40)}`);
  return found;
}

function unescaped(text: string): string {
  if (text.includes(']]>')) throw new Error('"]]>" in a text');
  return text.replace(/&([^;&]*)(;?)/g, (_, name: string, end: string) => {
    const sign = ENTITIES[name];
    if (sign === undefined || end === '') throw new Error(`an unknown entity &${name}`);
    return sign;
  });
}

export type PlistValue = string | number | boolean | PlistValue[] | { [key: string]: PlistValue };

/** What a property list says. */
export function readPlist(source: string): PlistValue {
  const { name, children } = readXml(source);
  const [value, ...more] = children;
  if (name !== 'plist' || value === undefined || more.length > 0) throw new Error('not one value in a plist');
  return plistValue(value);
}

function plistValue({ name, text, children }: Element): PlistValue {
  switch (name) {
    case 'string':
      return text;
    case 'integer':
      if (!/^-?\d+$/.test(text)) throw new Error(`${text} is no integer`);
      return Number(text);
    case 'true':
    case 'false':
      return name === 'true';
    case 'array':
      return children.map(plistValue);
    case 'dict': {
      const pairs: [string, PlistValue][] = [];
      for (let at = 0; at < children.length; at += 2) {
        const [key, value] = [children[at], children[at + 1]];
        if (key?.name !== 'key' || value === undefined) throw new Error('a dict without pairs');
        pairs.push([key.text, plistValue(value)]);
      }
      return Object.fromEntries(pairs);
    }
    default:
      throw new Error(`a plist has no <${name}>`);
  }
}
