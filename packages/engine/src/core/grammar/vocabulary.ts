/**
 * The tokens of a model as forms see them: which bytes each may write, and how a text is written with few of them.
 *
 * Control tokens write nothing here, since they are not part of the text, unless a model's own notation for calls uses
 * them.
 */
import type { Tokenizer } from '../tokenizer.ts';

export interface Vocabulary {
  /** By id; absent for what writes nothing. */
  readonly tokens: readonly (Uint8Array | undefined)[];
  /** Whether every text can be written. */
  readonly isWhole: boolean;
  /** The longest token that writes the bytes from `at` on, of several the lowest; at most `bytesMax` long. */
  longest(
    bytes: Uint8Array,
    at: number,
    bytesMax?: number,
  ): { readonly id: number; readonly length: number } | undefined;
  /** Tokens that `longest` writes the bytes with; Infinity where it cannot. */
  count(bytes: Uint8Array): number;
}

/** Longer tokens are rare, and endings need none. */
export const TOKEN_BYTES_MAX = 12;

/** `marks` are the contents of control tokens that do write. */
export function createVocabulary(
  tokenizer: Tokenizer,
  endIds: ReadonlySet<number>,
  marks: readonly string[],
): Vocabulary {
  const silent = new Set(endIds);
  for (const { id, content, special } of tokenizer.addedTokens) if (special && !marks.includes(content)) silent.add(id);
  const tokens = Array.from({ length: tokenizer.size }, (_, id) => {
    const bytes = silent.has(id) ? undefined : tokenizer.bytesOf(id);
    return bytes?.length === 0 ? undefined : bytes;
  });
  const byText = new Map<string, number>();
  for (const [id, bytes] of tokens.entries()) {
    if (bytes === undefined || bytes.length > TOKEN_BYTES_MAX) continue;
    const text = latin1(bytes, 0, bytes.length);
    if (!byText.has(text)) byText.set(text, id);
  }

  function longest(
    bytes: Uint8Array,
    at: number,
    bytesMax = TOKEN_BYTES_MAX,
  ): { id: number; length: number } | undefined {
    const text = latin1(bytes, at, Math.min(bytes.length, at + bytesMax));
    for (let length = text.length; length > 0; length--) {
      const id = byText.get(text.slice(0, length));
      if (id !== undefined) return { id, length };
    }
    return undefined;
  }
  return {
    tokens,
    isWhole: Array.from({ length: 256 }, (_, byte) => byte).every((byte) => byText.has(String.fromCharCode(byte))),
    longest,
    count(bytes) {
      let count = 0;
      for (let at = 0; at < bytes.length; count++) {
        const token = longest(bytes, at);
        if (token === undefined) return Infinity;
        at += token.length;
      }
      return count;
    },
  };
}

const latin1 = (bytes: Uint8Array, from: number, to: number): string =>
  String.fromCharCode(...bytes.subarray(from, to));
