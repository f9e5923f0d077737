/**
 * What each token of a vocabulary writes, as bytes: part of a character, a word with its space, the text of a control
 * token.
 *
 * Read off the kind of decoder in `tokenizer.json`: byte-level (GPT-2's alphabet), SentencePiece's (`▁` is a space,
 * `<0x0A>` a byte), or text as it stands. What a decoder does to a whole text, such as taking its first space away, is
 * no token's matter.
 */
import { utf8 } from '@idlewild/protocol';

interface DecoderPart {
  readonly type?: string;
  readonly decoders?: readonly DecoderPart[];
  readonly replacement?: string;
  readonly pattern?: { readonly String?: string };
  readonly content?: string;
}

/** The bytes of the token with this id, by its text in the vocabulary. */
export type TokenBytes = (id: number) => Uint8Array | undefined;

export function createTokenBytes(
  definition: object,
  textOf: (id: number) => string | undefined,
  addedTokens: readonly { readonly id: number; readonly content: string }[],
): TokenBytes {
  const parts = flatten((definition as { decoder?: DecoderPart | null }).decoder ?? {});
  const added = new Map(addedTokens.map(({ id, content }) => [id, content]));
  const write = parts.some(({ type }) => type === 'ByteLevel') ? byteLevel() : pieces(parts);
  return (id) => {
    const content = added.get(id);
    if (content !== undefined) return utf8(content);
    const text = textOf(id);
    return text === undefined ? undefined : write(text);
  };
}

const flatten = (part: DecoderPart): readonly DecoderPart[] => part.decoders?.flatMap(flatten) ?? [part];

/** GPT-2's `bytes_to_unicode`, the other way round. */
function byteLevel(): (text: string) => Uint8Array {
  const bytes = new Map<string, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    bytes.set(String.fromCodePoint(isPrintable ? byte : next++), byte);
  }
  return (text) => {
    const characters = [...text];
    const found = characters.map((character) => bytes.get(character));
    return found.every((byte) => byte !== undefined) ? Uint8Array.from(found) : utf8(text);
  };
}

function pieces(parts: readonly DecoderPart[]): (text: string) => Uint8Array {
  const hasBytes = parts.some(({ type }) => type === 'ByteFallback');
  const replacements = parts.flatMap(({ type, replacement, pattern, content }): [string, string][] => {
    if (type === 'Metaspace') return [[replacement ?? '\u2581', ' ']];
    return type === 'Replace' && pattern?.String !== undefined ? [[pattern.String, content ?? '']] : [];
  });
  return (text) => {
    const byte = hasBytes ? /^<0x([0-9A-Fa-f]{2})>$/.exec(text)?.[1] : undefined;
    if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
    return utf8(replacements.reduce((written, [from, to]) => written.replaceAll(from, to), text));
  };
}
