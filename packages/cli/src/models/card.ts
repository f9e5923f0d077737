/**
 * A model card out of the README.md that lies beside a model: the licence, the languages and the ancestor that its head
 * states, and the first sentences of what it says about itself.
 *
 * The text is somebody else's. It is cut to its bounds, and its markup is taken off, before it goes into a manifest;
 * nothing of it is believed, and nothing in it is followed.
 */
import type { ModelCard } from '@idlewild/protocol';
import { readFrontMatter } from './front-matter.ts';

/** Of a README.md; the largest cards have about 100 kB, most of it tables of scores. */
const CARD_CHARACTERS_MAX = 262_144;
/** Of one text: a paragraph or two, so that a list of models stays one that can be read. */
const TEXT_CHARACTERS_MAX = 1_200;
const NAME_CHARACTERS_MAX = 256;
const LANGUAGES_MAX = 256;
const LANGUAGE = /^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$/;

/** Headings in the order in which they are preferred. */
const DESCRIPTION = [/^model (description|summary|overview)/i, /^(description|summary|overview|introduction)\b/i];
const INTENDED_USE = [/^intended us/i, /^(direct|primary) (intended )?use/i, /^(uses|use cases?|usage intent)$/i];
const LIMITATIONS = [/^(?!intended).*\b(limitations?|limits)\b/i, /^(bias|risks?|ethical)\b/i, /^out.of.scope/i];

export function readCard(markdown: string): ModelCard {
  const { values, body } = readFrontMatter(markdown.slice(0, CARD_CHARACTERS_MAX));
  const sections = sectionsOf(body);
  const languages = (values.get('language') ?? []).filter((tag) => LANGUAGE.test(tag)).slice(0, LANGUAGES_MAX);
  return present({
    licence: licenceOf(values),
    description: textUnder(sections, DESCRIPTION) ?? plainParagraphs(sections[0]?.text ?? ''),
    languages: languages.length === 0 ? undefined : languages,
    intendedUse: textUnder(sections, INTENDED_USE),
    limitations: textUnder(sections, LIMITATIONS),
    baseModel: cut((values.get('base_model') ?? []).slice(0, 8).join(', '), NAME_CHARACTERS_MAX),
  });
}

/** Without the fields that nothing is known of: a manifest has no room for `undefined`. */
export const present = (card: { readonly [Field in keyof ModelCard]?: ModelCard[Field] | undefined }): ModelCard =>
  Object.fromEntries(Object.entries(card).filter(([, value]) => value !== undefined));

/** `other` is a name for none: cards then give the name, and where the text is, beside it. */
function licenceOf(values: ReadonlyMap<string, readonly string[]>): string | undefined {
  const stated = values.get('license') ?? values.get('licence') ?? [];
  const named = values.get('license_name')?.[0];
  const parts = stated.length === 1 && stated[0] === 'other' && named !== undefined ? [`other (${named})`] : stated;
  return cut(parts.join(', '), NAME_CHARACTERS_MAX);
}

interface Section {
  readonly title: string;
  /** Of its heading: 1 to 6; 0 for what stands before the first. */
  readonly level: number;
  /** Without the headings in it. */
  readonly text: string;
}

/** The first is what stands under the title of the whole. */
function sectionsOf(body: string): Section[] {
  const sections: { title: string; level: number; lines: string[] }[] = [{ title: '', level: 0, lines: [] }];
  let fenced = false;
  for (const line of body.split(/\r?\n/)) {
    if (/^\s{0,3}(```|~~~)/.test(line)) {
      fenced = !fenced;
      continue;
    }
    if (fenced) continue;
    const [, marks, title] = /^(#{1,6})[ \t]+(.{1,200})/.exec(line) ?? [];
    if (marks === undefined || title === undefined) sections.at(-1)?.lines.push(line);
    else sections.push({ title: unmarked(title), level: marks.length, lines: [] });
  }
  const [before, first] = sections;
  // The title of the whole is no section of its own: what stands under it is the beginning.
  if (before !== undefined && first?.level === 1) sections.splice(0, 2, { ...before, lines: first.lines });
  return sections.map(({ lines, ...section }) => ({ ...section, text: lines.join('\n') }));
}

function textUnder(sections: readonly Section[], titles: readonly RegExp[]): string | undefined {
  for (const title of titles) {
    for (const [index, section] of sections.entries()) {
      if (section.level === 0 || !title.test(section.title)) continue;
      const after = sections.slice(index + 1);
      const end = after.findIndex(({ level }) => level <= section.level);
      const inner = end === -1 ? after : after.slice(0, end);
      const text = plainParagraphs([section, ...inner].map((each) => each.text).join('\n\n'));
      if (text !== undefined) return text;
    }
  }
  return undefined;
}

/** The first paragraphs without their markup, within bounds; `undefined` where nothing is said. */
function plainParagraphs(markdown: string): string | undefined {
  const lines = markdown
    .replace(/<!--[\s\S]{0,8192}?-->/g, '')
    .split('\n')
    // Tables, rules and underlines of headings say nothing out of their place.
    .filter((line) => !/^\s*(\||[-=*_]{3,}\s*$)/.test(line))
    .map((line) => (/^\s*([-*+]|\d{1,3}[.)])\s/.test(line) ? `\n${unmarked(line)}` : unmarked(line)));
  const paragraphs = lines
    .join('\n')
    .split(/\n{2,}/)
    .map((paragraph) => paragraph.replace(/\s+/g, ' ').trim())
    .filter((paragraph) => /\p{L}/u.test(paragraph) && !/more information needed/i.test(paragraph));
  return cut(paragraphs.join('\n'), TEXT_CHARACTERS_MAX);
}

const unmarked = (line: string): string =>
  line
    .replace(/!\[[^\]]{0,300}\]\([^)]{0,1000}\)/g, '')
    .replace(/\[([^\]]{0,300})\]\([^)]{0,1000}\)/g, '$1')
    .replace(/<\/?[A-Za-z][^>]{0,500}>/g, '')
    .replace(/^\s*>+\s?/, '')
    .replace(/(\*\*|__|`)/g, '')
    .replace(/(^|\s)[*_](\S[^*_]{0,300})[*_](?=\W|$)/g, '$1$2')
    .replace(/&nbsp;/g, ' ')
    // Control characters, and those that turn the direction of what follows them.
    // oxlint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '')
    .trim();

/** At the end of a word; nothing of nothing. */
function cut(text: string, charactersMax: number): string | undefined {
  if (text.length <= charactersMax) return text === '' ? undefined : text;
  const kept = text.slice(0, charactersMax - 1);
  return `${kept.slice(0, Math.max(kept.lastIndexOf(' '), charactersMax - 100)).trimEnd()}…`;
}
