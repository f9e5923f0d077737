/** HTML as text: whatever is put into a page goes through here, and only what was made here is taken as it is. */
const KIND = Symbol('html');

export interface Html {
  readonly [KIND]: true;
  readonly text: string;
}

const made = (text: string): Html => ({ [KIND]: true, text });

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');

type Part = string | number | Html | readonly Html[] | undefined;

const textOf = (part: Part): string => {
  if (part === undefined) return '';
  if (typeof part === 'string' || typeof part === 'number') return escaped(String(part));
  return 'length' in part ? part.map(({ text }) => text).join('') : part.text;
};

/** A template whose holes are escaped, but for what is HTML already. */
export const html = (pieces: TemplateStringsArray, ...parts: readonly Part[]): Html =>
  made(pieces.reduce((text, piece, index) => text + textOf(parts[index - 1]) + piece));

/** Our own text, as it is. */
export const trusted = (text: string): Html => made(text);
