import { modelFolderTexts } from '@idlewild/graph/testing';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createTextStream, createTokenizer, type Tokenizer } from './tokenizer.ts';

const texts = modelFolderTexts({ vocab: 400, width: 8, layers: 1, heads: 1, kvHeads: 1, feedForward: 8 });
const byteLevel = (): Tokenizer =>
  createTokenizer(JSON.parse(texts['tokenizer.json']) as object, JSON.parse(texts['tokenizer_config.json']) as object);

/** Llama 2's kind: words begin with ▁, and bytes that are no piece are written <0x..>. */
function metaspace(): Tokenizer {
  const pieces = [
    '<unk>',
    '<s>',
    '</s>',
    ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
    '▁',
    '▁good',
    '▁sir',
    'ly',
    ',',
    'é',
  ];
  return createTokenizer(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      post_processor: null,
      pre_tokenizer: null,
      added_tokens: [0, 1, 2].map((id) => ({
        id,
        content: pieces[id],
        special: true,
        normalized: false,
        single_word: false,
        lstrip: false,
        rstrip: false,
      })),
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'Prepend', prepend: '▁' },
          { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        ],
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          { type: 'Strip', content: ' ', start: 1, stop: 0 },
        ],
      },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: '<unk>',
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: true,
        vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
        merges: [],
      },
    },
    {},
  );
}

const PART = { whole: false, tokensMax: 1_000 };

const streamed = (tokenizer: Tokenizer, ids: readonly number[]): string[] => {
  const stream = createTextStream(tokenizer);
  return [...ids.map((id) => stream.push(id)), stream.finish()];
};

test('the parts of a text add up to it, and no part ends within a character', () => {
  const random = createSeededRandom(8);
  const alphabet = [...'abc ,.\n', 'é', 'ß', '→', '漢', '🦌', '👩‍👩‍👧', '\u0301'];
  const tokenizer = byteLevel();
  for (let round = 0; round < 300; round++) {
    const text = Array.from(
      { length: 1 + Math.floor(random.unit() * 20) },
      () => alphabet[Math.floor(random.unit() * alphabet.length)],
    ).join('');
    const parts = streamed(tokenizer, tokenizer.encode(text, PART));
    expect(parts.join('')).toBe(text);
    for (const part of parts) expect(part.isWellFormed() && !part.includes('\ufffd')).toBe(true);
    expect(parts.at(-1)).toBe('');
  }
});

test('what a token adds depends on the tokens up to it alone', () => {
  const random = createSeededRandom(9);
  for (const tokenizer of [byteLevel(), metaspace()]) {
    for (let round = 0; round < 100; round++) {
      const ids = Array.from({ length: 30 }, () => Math.floor(random.unit() * 260));
      const parts = streamed(tokenizer, ids);
      const k = Math.floor(random.unit() * 30);
      const other = [...ids.slice(0, k), ...ids.slice(k).toReversed()];
      expect(streamed(tokenizer, other).slice(0, k)).toEqual(parts.slice(0, k));
    }
  }
});

test('bytes that never become text are not held back for ever', () => {
  const tokenizer = byteLevel();
  const continuation = tokenizer.encode('é', PART)[1] as number;
  const parts = streamed(tokenizer, new Array<number>(40).fill(continuation));
  expect(parts.join('')).toBe('\ufffd'.repeat(40));
  const silences = parts
    .slice(0, 40)
    .map((part, i) => [i, part] as const)
    .filter(([, part]) => part !== '')
    .map(([i]) => i);
  for (const [i, at] of silences.entries()) expect(at - (silences[i - 1] ?? -1)).toBeLessThanOrEqual(5);
});

test('an incomplete character at the end is said at the end', () => {
  const tokenizer = byteLevel();
  const [first] = tokenizer.encode('🦌', PART);
  expect(streamed(tokenizer, [...tokenizer.encode('so', PART), first as number])).toEqual(['s', 'o', '', '\ufffd']);
});

test('spaces between words come with the word, and bytes written as pieces become characters', () => {
  const tokenizer = metaspace();
  const id = (piece: string): number => tokenizer.idOf(piece) as number;
  expect(
    streamed(tokenizer, [id('▁good'), id('▁sir'), id(','), id('<0xC3>'), id('<0xA9>'), id('▁'), id('ly')]),
  ).toEqual(['good', ' sir', ',', '', 'é', ' ', 'ly', '']);
});

test('special tokens of an answer are no text', () => {
  const tokenizer = byteLevel();
  const [a] = tokenizer.encode('a', PART) as [number];
  expect(streamed(tokenizer, [a, 0, a, 0, 0, 0, 0, 0, 0, a]).join('')).toBe('aaa');
});

test('a text that cannot fit is refused before any work is done on it', () => {
  const tokenizer = byteLevel();
  const longest = Math.max(
    ...Object.keys((JSON.parse(texts['tokenizer.json']) as { model: { vocab: object } }).model.vocab).map(
      (token) => token.length,
    ),
  );
  expect(tokenizer.encode('x'.repeat(longest * 10), { whole: true, tokensMax: 10 })).toHaveLength(longest * 10);
  expect(() => tokenizer.encode('x'.repeat(longest * 10 + 1), { whole: true, tokensMax: 10 })).toThrow(
    expect.objectContaining({
      code: 'context_length_exceeded',
      message: expect.stringContaining('at least 11') as string,
    }),
  );
});
