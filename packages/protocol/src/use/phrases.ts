/**
 * Phrases in texts, by whole words: case, accents' forms and what stands between words make no difference. Somebody who
 * wants to get past them will: they are a sign at the door, no wall.
 *
 * A text is taken apart once for all rules, and each word of its vocabulary is looked at once for each phrase that
 * begins with a "*". All others share a tree of words. What one request may cost is bounded, whatever somebody wrote as
 * phrases and somebody else as a text: a hub holds many communities, and serves nobody while it looks.
 */
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';

/** Words as they are compared: compatibility forms (NFKC), lower case, letters and digits alone. */
const rawWordsOf = (text: string): string[] => text.normalize('NFKC').toLowerCase().match(WORD) ?? [];
const WORD = /[\p{L}\p{M}\p{N}]+/gu;
const withoutMarks = (word: string): string => word.normalize('NFD').replaceAll(/\p{M}/gu, '');
const wordsOf = (text: string): string[] => rawWordsOf(text).map(withoutMarks);

/** A text that was taken apart. */
interface TextWords {
  readonly vocabulary: readonly string[];
  /** Places in the vocabulary, in the order of the text. */
  readonly at: Uint32Array;
}

/** Texts of one request, and what looking at them has cost. */
export interface ReadTexts {
  readonly texts: readonly TextWords[];
  steps: number;
}

export function readTexts(texts: readonly string[]): ReadTexts {
  // Several choices of one request have one prompt.
  return { texts: [...new Set(texts)].map(takeApart), steps: 0 };
}

function takeApart(text: string): TextWords {
  const vocabulary: string[] = [];
  const places = new Map<string, number>();
  const at = Uint32Array.from(rawWordsOf(text), (word) => {
    const known = places.get(word);
    if (known !== undefined) return known;
    places.set(word, vocabulary.length);
    return vocabulary.push(withoutMarks(word)) - 1;
  });
  return { vocabulary, at };
}

/** The first of the phrases that is in one of the texts. Throws `use_unjudged` where that takes too long. */
export type PhraseFinder = (read: ReadTexts) => string | undefined;

type WordTest = (word: string) => boolean;

/** What may follow a beginning of phrases. */
interface Branch {
  readonly words: Map<string, Branch>;
  readonly tests: Map<string, { readonly test: WordTest; readonly branch: Branch }>;
  /** The phrase that is whole here. */
  phrase: string | undefined;
}

const branch = (): Branch => ({ words: new Map(), tests: new Map(), phrase: undefined });

export function createPhraseFinder(phrases: readonly string[]): PhraseFinder {
  const root = branch();
  for (const phrase of phrases) {
    const end = writtenIn(phrase).reduce(grown, root);
    if (end !== root) end.phrase ??= phrase;
  }
  return (read) => {
    for (const text of read.texts) {
      const found = phraseIn(text, root, read);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

type Written = readonly [kind: 'word' | 'begins' | 'ends' | 'holds', word: string];

/** A word with a hyphen inside is two. */
const writtenIn = (phrase: string): Written[] =>
  phrase.split(/\s+/).flatMap((written) => {
    const words = wordsOf(written);
    const [open, close] = [written.startsWith('*'), written.endsWith('*')];
    return words.map((word, n): Written => {
      const [before, after] = [open && n === 0, close && n === words.length - 1];
      if (before && after) return ['holds', word];
      return before ? ['ends', word] : [after ? 'begins' : 'word', word];
    });
  });

function grown(from: Branch, [kind, word]: Written): Branch {
  if (kind === 'word') {
    const next = from.words.get(word) ?? branch();
    from.words.set(word, next);
    return next;
  }
  const name = `${kind} ${word}`;
  const next = from.tests.get(name) ?? { test: testOf(kind, word), branch: branch() };
  from.tests.set(name, next);
  return next.branch;
}

function testOf(kind: 'begins' | 'ends' | 'holds', word: string): WordTest {
  if (kind === 'begins') return (told) => told.startsWith(word);
  return kind === 'ends' ? (told) => told.endsWith(word) : (told) => told.includes(word);
}

function phraseIn({ vocabulary, at }: TextWords, root: Branch, cost: Pick<ReadTexts, 'steps'>): string | undefined {
  const begun = vocabulary.map((word) => after(root, word, cost));
  const whole = (from: Branch, next: number): string | undefined => {
    if (from.phrase !== undefined) return from.phrase;
    const place = at[next];
    if (place === undefined) return undefined;
    for (const one of after(from, vocabulary[place] as string, cost)) {
      const found = whole(one, next + 1);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  if (begun.every(({ length }) => length === 0)) return undefined;
  for (let n = 0; n < at.length; n++)
    for (const one of begun[at[n] as number] as readonly Branch[]) {
      const found = whole(one, n + 1);
      if (found !== undefined) return found;
    }
  return undefined;
}

const NOWHERE: readonly Branch[] = [];

/** Where a word leads. */
function after({ words, tests }: Branch, word: string, cost: Pick<ReadTexts, 'steps'>): readonly Branch[] {
  // To look into a word takes as long as it is.
  cost.steps += 1 + tests.size * (1 + (word.length >> 3));
  if (cost.steps > LIMITS.usePhraseStepsMax) throw tooLong();
  const exact = words.get(word);
  if (tests.size === 0) return exact === undefined ? NOWHERE : [exact];
  const all = exact === undefined ? [] : [exact];
  for (const { test, branch: next } of tests.values()) if (test(word)) all.push(next);
  return all;
}

const tooLong = (): IdlewildError =>
  new IdlewildError(
    'use_unjudged',
    "the request is too long to be held against all phrases of this community's rules of use; ask with less text",
  );
