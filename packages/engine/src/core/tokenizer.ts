/**
 * Text to tokens and back, over @huggingface/tokenizers: the `tokenizer.json` that a model comes with decides
 * everything.
 *
 * Added tokens (`<|im_end|>` and the like) in encoded text become the control tokens that they name, so text of a
 * caller's must be broken up first; see templates.ts. Decoding leaves special tokens out and never removes spaces after
 * the fact (`clean_up_tokenization_spaces`), which a stream cannot do.
 */
import { IdlewildError } from '@idlewild/protocol';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { LIMITS } from './limits.ts';
import { createTokenBytes, type TokenBytes } from './token-bytes.ts';

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

export interface EncodeOptions {
  readonly whole: boolean;
  readonly tokensMax: number;
}

export interface Tokenizer {
  readonly addedTokens: readonly AddedToken[];
  /**
   * `whole`: with the tokens that the model expects around a text, such as one for its beginning. A text that cannot be
   * `tokensMax` tokens or fewer, since no token is that long, is refused before any work is done on it: throws
   * `context_length_exceeded`.
   */
  encode(text: string, options: EncodeOptions): number[];
  decode(ids: readonly number[]): string;
  idOf(token: string): number | undefined;
  /** One more than the highest id. */
  readonly size: number;
  /** What a token writes; special tokens write their name. */
  readonly bytesOf: TokenBytes;
}

export interface TextStream {
  /** What the next token adds to the text; empty while its last character is incomplete. */
  push(id: number): string;
  /** What is left when no token follows: replacement characters for bytes that are no text. */
  finish(): string;
}

/** Throws `model_invalid` or `model_unsupported`. */
export function createTokenizer(definition: object, config: object): Tokenizer {
  let inner: HuggingFaceTokenizer;
  try {
    inner = new HuggingFaceTokenizer(definition, config);
  } catch (cause) {
    throw new IdlewildError('model_unsupported', `tokenizer.json cannot be used: ${(cause as Error).message}`, {
      cause,
    });
  }
  let longest = 1;
  let size = 0;
  for (const [token, id] of inner.get_vocab()) {
    size = Math.max(size, id + 1);
    // Vocabularies may have gaps.
    if (typeof token === 'string') longest = Math.max(longest, token.length);
  }
  if (longest > LIMITS.tokenCharactersMax) {
    throw new IdlewildError(
      'model_unsupported',
      `tokenizer.json has a token of ${longest} characters, over the limit of ${LIMITS.tokenCharactersMax}`,
    );
  }
  const addedTokens = [...inner.get_added_tokens_decoder().values()].map(({ id, content, special }) => ({
    id,
    content,
    special,
  }));
  return {
    addedTokens,
    encode(text, { whole, tokensMax }) {
      // Seconds of work would otherwise be spent on a prompt that is certain to be refused, while other answers wait.
      const tokensMin = Math.ceil(text.length / longest);
      if (tokensMin > tokensMax) {
        throw new IdlewildError(
          'context_length_exceeded',
          `this model's context is ${tokensMax} tokens; a prompt of ${text.length} characters is at least ${tokensMin}`,
        );
      }
      const ids: number[] = inner.encode(text, { add_special_tokens: whole }).ids;
      if (ids.every((id) => Number.isInteger(id))) return ids;
      throw new IdlewildError(
        'model_unsupported',
        'the vocabulary of this model cannot write this text, and has no token for what it does not know',
      );
    },
    decode: (ids) =>
      ids.length === 0
        ? ''
        : inner.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false }),
    idOf: (token) => inner.token_to_id(token),
    size,
    bytesOf: createTokenBytes(definition, (id) => inner.id_to_token(id), addedTokens),
  };
}

/**
 * Text that grows by tokens. What a token adds is a pure function of the tokens up to it: the difference of two
 * decodings of the last tokens, since decoding one token alone would lose what depends on its neighbours (a leading
 * space, half a character). After vLLM's and TGI's incremental detokenisation.
 */
export function createTextStream(tokenizer: Tokenizer): TextStream {
  /** The last tokens: the first `context` of them are given out already and only lend their neighbourhood. */
  let window: number[] = [];
  let context = 0;

  function take(force: boolean): string {
    const before = tokenizer.decode(window.slice(0, context));
    const after = tokenizer.decode(window);
    if (after.length <= before.length && !force) return '';
    if (after.endsWith('\ufffd') && !force) return '';
    window = window.slice(context);
    context = window.length;
    return after.slice(before.length);
  }

  return {
    push(id) {
      window.push(id);
      // Longer than any character: these bytes are no text and will not become any.
      return take(window.length - context > LIMITS.heldTokensMax);
    },
    finish: () => (window.length > context ? take(true) : ''),
  };
}
