/**
 * The port between forms and whatever computes which tokens a grammar allows: XGrammar in WebAssembly, or plain search
 * in tests.
 *
 * A mask may allow more than the grammar does, never less: every drawn token is judged exactly by the automaton.
 */
import type { MaybePromise } from '@idlewild/protocol';
import type { Grammar } from './rules.ts';

/** How far one answer is in a grammar. */
export interface TokenMatcher {
  /** Takes the next token; false where it does not fit, and then nothing has changed. */
  accept(id: number): boolean;
  /** Takes text that is not made of whole tokens. */
  acceptText(text: string): boolean;
  /** Sets the bits of `mask` to the tokens that may come next; those that end an answer are not its matter. */
  maskInto(mask: Int32Array): void;
  close(): void;
}

export interface TokenGrammar {
  matcher(): MaybePromise<TokenMatcher>;
  close(): void;
}

/** Ready for one vocabulary. */
export interface GrammarCompiler {
  /** May block its thread: some 20 ms for an ordinary schema and 150,000 tokens. Throws `invalid_request`. */
  compile(grammar: Grammar): MaybePromise<TokenGrammar>;
}

export interface GrammarLibrary {
  /** `tokens` by id; those that write nothing are absent. */
  open(tokens: readonly (Uint8Array | undefined)[]): MaybePromise<GrammarCompiler>;
}
