/**
 * Phrases in texts, by whole words: case, accents' forms and what stands between words make no difference. One pass
 * over the text, whatever the phrases are. Somebody who wants to get past them will: they are a sign at the door, no
 * wall.
 */

/** Words as they are compared: compatibility forms (NFKC), lower case, letters and digits alone. */
const wordsOf = (text: string): string[] => text.normalize('NFKC').toLowerCase().match(WORD)?.map(withoutMarks) ?? [];
const WORD = /[\p{L}\p{M}\p{N}]+/gu;
const withoutMarks = (word: string): string => word.normalize('NFD').replaceAll(/\p{M}/gu, '');

type WordTest = (word: string) => boolean;

interface Phrase {
  readonly text: string;
  readonly words: readonly WordTest[];
}

export type PhraseFinder = (text: string) => string | undefined;

/** Returns what finds the first of `phrases` that is in a text. */
export function createPhraseFinder(phrases: readonly string[]): PhraseFinder {
  /** By their first word, where that is written out; the others are tried at every word. */
  const byFirst = new Map<string, Phrase[]>();
  const others: Phrase[] = [];
  for (const text of phrases) {
    const written = text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word));
    const words = written.flatMap(testsOf);
    const [first] = written;
    const phrase = { text, words };
    const plain = first === undefined || first.includes('*') ? undefined : wordsOf(first)[0];
    if (plain === undefined) others.push(phrase);
    else byFirst.set(plain, [...(byFirst.get(plain) ?? []), phrase]);
  }
  return (text) => {
    const words = wordsOf(text);
    for (const [at, word] of words.entries()) {
      const found = (byFirst.get(word) ?? []).find((phrase) => isAt(phrase, words, at));
      if (found !== undefined) return found.text;
      const other = others.find((phrase) => isAt(phrase, words, at));
      if (other !== undefined) return other.text;
    }
    return undefined;
  };
}

const isAt = ({ words: tests }: Phrase, words: readonly string[], at: number): boolean =>
  at + tests.length <= words.length && tests.every((test, n) => test(words[at + n] as string));

/** What one written word is to be compared with; one with a hyphen inside is two. */
function testsOf(written: string): WordTest[] {
  const words = wordsOf(written);
  const [open, close] = [written.startsWith('*'), written.endsWith('*')];
  return words.map((word, n) => {
    const [before, after] = [open && n === 0, close && n === words.length - 1];
    if (before && after) return (told) => told.includes(word);
    if (before) return (told) => told.endsWith(word);
    if (after) return (told) => told.startsWith(word);
    return (told) => told === word;
  });
}
