/**
 * The `GrammarLibrary` of Node: XGrammar (Dong et al., "XGrammar: Flexible and Efficient Structured Generation Engine
 * for Large Language Models", 2024) as its authors build it for WebAssembly.
 *
 * Its package is a UMD file under "type": "module", which `import` reads as a module and then finds neither `require`
 * nor its own path; so its text is run as the CommonJS that it is. A failed check of its C++ spoils its memory: whoever
 * sees an error opens it anew. Nothing of it is read before a form is asked for.
 */
import { IdlewildError } from '@idlewild/protocol';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileFunction } from 'node:vm';
import { writeEbnf } from '../core/grammar/ebnf.ts';
import type { GrammarCompiler, GrammarLibrary, TokenGrammar, TokenMatcher } from '../core/grammar/library.ts';
import { LIMITS } from '../core/limits.ts';

interface WordVector {
  size(): number;
  get(index: number): number;
  delete(): void;
}
interface MatcherHandle {
  GetNextTokenBitmask(vocabularySize: number): WordVector;
}
interface Matcher {
  readonly handle: MatcherHandle;
  getNextTokenBitmask(): Promise<Int32Array>;
  acceptToken(id: number): boolean;
  _acceptString(text: string): boolean;
  dispose(): void;
}
interface Disposable {
  dispose(): void;
}
interface Compiler {
  compileGrammar(ebnf: string): Promise<Disposable>;
}
interface XGrammar {
  TokenizerInfo: {
    createTokenizerInfo(
      vocabulary: readonly string[],
      kind: string,
      addsSpace: boolean,
      size: number,
      stopIds: readonly number[],
    ): Promise<Disposable>;
  };
  GrammarCompiler: { createGrammarCompiler(info: Disposable, keeps: boolean): Promise<Compiler> };
  GrammarMatcher: { createGrammarMatcher(grammar: Disposable): Promise<Matcher> };
}

/** The package's file; an engine process must be allowed to read its folder. */
export const XGRAMMAR_FILE = fileURLToPath(import.meta.resolve('@mlc-ai/web-xgrammar'));

export function createXGrammarLibrary(): GrammarLibrary {
  return { open: async (tokens) => openVocabulary(readLibrary(), tokens) };
}

function readLibrary(): XGrammar {
  const exports = {};
  // Told neither of Node nor of a browser, it asks for no files, no network and no modules: its WebAssembly is within.
  const scope = { exports, module: { exports }, process: undefined, location: { href: XGRAMMAR_FILE } };
  const run = compileFunction(readFileSync(XGRAMMAR_FILE, 'utf8'), Object.keys(scope), { filename: XGRAMMAR_FILE }) as (
    ...values: unknown[]
  ) => void;
  run(...Object.values(scope));
  return exports as XGrammar;
}

async function openVocabulary(
  library: XGrammar,
  tokens: readonly (Uint8Array | undefined)[],
): Promise<GrammarCompiler> {
  // Strings cross into WebAssembly as UTF-8, and a token need not be whole characters: GPT-2's alphabet carries bytes.
  const alphabet = byteLevelAlphabet();
  const written = tokens.map((bytes) =>
    bytes === undefined ? '' : Array.from(bytes, (byte) => alphabet[byte]).join(''),
  );
  // Ends of answers are the guide's matter; with a list of its own the library does not guess which tokens are some.
  const info = await library.TokenizerInfo.createTokenizerInfo(written, 'byte_level', false, written.length, []);
  const compiler = await library.GrammarCompiler.createGrammarCompiler(info, false);
  return {
    async compile(grammar): Promise<TokenGrammar> {
      const ebnf = writeEbnf(grammar);
      if (ebnf.length > LIMITS.grammarCharactersMax)
        throw new IdlewildError(
          'invalid_request',
          `the form makes a grammar of ${ebnf.length} characters; at most ${LIMITS.grammarCharactersMax} are supported`,
        );
      const compiled = await compiler.compileGrammar(ebnf);
      return {
        close: () => compiled.dispose(),
        matcher: async () => wrap(await library.GrammarMatcher.createGrammarMatcher(compiled), written.length),
      };
    },
  };
}

function wrap(matcher: Matcher, size: number): TokenMatcher {
  /** The mask for what was accepted last, once the library has made it. */
  let foreseen: Int32Array | undefined;
  let accepted = 0;
  let isForeseeing = false;

  /**
   * Asks for the next mask in time: as a whole it comes asynchronously only, and word by word it takes 0.7 ms for a
   * vocabulary of 150,000.
   */
  function foresee(): void {
    if (isForeseeing) return;
    isForeseeing = true;
    const at = accepted;
    matcher.getNextTokenBitmask().then(
      (mask) => {
        isForeseeing = false;
        if (at === accepted) foreseen = mask;
      },
      () => {
        // Closed meanwhile; or what went wrong will again when a token needs the mask.
        isForeseeing = false;
      },
    );
  }
  return {
    accept(id) {
      const isAccepted = matcher.acceptToken(id);
      if (!isAccepted) return false;
      accepted++;
      foreseen = undefined;
      foresee();
      return true;
    },
    acceptText(text) {
      accepted++;
      foreseen = undefined;
      return matcher._acceptString(text);
    },
    maskInto(mask) {
      if (foreseen !== undefined) return mask.set(foreseen.subarray(0, mask.length));
      const words = matcher.handle.GetNextTokenBitmask(size);
      const count = Math.min(words.size(), mask.length);
      for (let i = 0; i < count; i++) mask[i] = words.get(i);
      words.delete();
    },
    close: () => matcher.dispose(),
  };
}

/** The characters that stand for the bytes 0–255: GPT-2's `bytes_to_unicode`. */
function byteLevelAlphabet(): readonly string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(isPrintable ? byte : next++);
  });
}
