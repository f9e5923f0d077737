/**
 * Log probabilities of tokens, in the two forms that OpenAI gives them, and told with the text that they belong to.
 *
 * A device tells a token's probability at once but may hold back its text, until a character is whole or cannot begin a
 * stop string. So probabilities wait here for their text; those of text that is never shown are not told either. It
 * counts in bytes of UTF-8, for that is what a token is.
 */
import type { Logprobs } from '@idlewild/protocol';

export interface LogprobsAligner {
  /** A token: its probabilities, and what became certain of the text with it; returns those whose text is out. */
  push(lp: Logprobs, shown: string): readonly Logprobs[];
  /** The end of the text; returns what belongs to it. */
  rest(shown: string): readonly Logprobs[];
}

export function createLogprobsAligner(): LogprobsAligner {
  let waiting: Logprobs[] = [];
  /** Bytes of text that are out, less those of tokens that were returned. */
  let ahead = 0;

  function take(belongs: (tokenBytes: number) => boolean): Logprobs[] {
    const out: Logprobs[] = [];
    for (const lp of waiting) {
      if (!belongs(lp.b.length)) break;
      ahead -= lp.b.length;
      out.push(lp);
    }
    waiting = waiting.slice(out.length);
    return out;
  }

  return {
    push(lp, shown) {
      waiting.push(lp);
      if (shown === '') return [];
      ahead += Buffer.byteLength(shown);
      return take((tokenBytes) => tokenBytes <= ahead);
    },
    rest(shown) {
      ahead += Buffer.byteLength(shown);
      // The last may be shown in part, where a stop string begins within it.
      return take(() => ahead > 0);
    },
  };
}

const whole = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A token as a text; bytes that are no whole characters are written `\xf0\x9f`, as OpenAI does. */
function tokenText(bytes: Uint8Array): string {
  try {
    return whole.decode(bytes);
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_ENCODING_INVALID_ENCODED_DATA') throw error;
    return [...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
  }
}

export interface TokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[];
  readonly top_logprobs: readonly Omit<TokenLogprob, 'top_logprobs'>[];
}

/** As in chat and responses. */
export const tokenLogprob = ({ p, b, top }: Logprobs): TokenLogprob => ({
  token: tokenText(b),
  logprob: p,
  bytes: [...b],
  top_logprobs: top.map((other) => ({ token: tokenText(other.b), logprob: other.p, bytes: [...other.b] })),
});

export interface CompletionLogprobs {
  readonly tokens: string[];
  readonly token_logprobs: number[];
  readonly top_logprobs: Record<string, number>[];
  /** Where each token begins in the choice's text, in characters (Unicode code points). */
  readonly text_offset: number[];
}

/** As in completions. One writer serves one choice, for offsets go on from one piece to the next. */
export function createCompletionLogprobs(): (list: readonly Logprobs[]) => CompletionLogprobs {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let offset = 0;
  return (list) => {
    const told: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    for (const { p, b, top } of list) {
      const token = tokenText(b);
      told.tokens.push(token);
      told.token_logprobs.push(p);
      // As OpenAI has it: the token that was chosen is among them, whether or not it is one of the likeliest.
      const likeliest: [string, number][] = top.map((other) => [tokenText(other.b), other.p]);
      told.top_logprobs.push(Object.fromEntries([...likeliest, [token, p]]));
      told.text_offset.push(offset);
      for (const _ of decoder.decode(b, { stream: true })) offset++;
    }
    return told;
  };
}
