/** A `GrammarLibrary` that tries every token: exact, plain, and for vocabularies of some hundred tokens only. */
import { createAutomaton, type State } from '../core/grammar/automaton.ts';
import { compile } from '../core/grammar/compile.ts';
import type { GrammarLibrary } from '../core/grammar/library.ts';
import { utf8 } from '@idlewild/protocol';

export function createSearchGrammars(): GrammarLibrary {
  return {
    open: (tokens) => ({
      compile(grammar) {
        const node = compile(grammar);
        return {
          close: () => undefined,
          matcher() {
            const automaton = createAutomaton(node);
            let state: State = automaton.start;
            const take = (bytes: Uint8Array | undefined): boolean => {
              const next = bytes && automaton.step(state, bytes);
              state = next ?? state;
              return next !== undefined;
            };
            return {
              accept: (id) => take(tokens[id]),
              acceptText: (text) => take(utf8(text)),
              maskInto(mask) {
                mask.fill(0);
                for (const [id, bytes] of tokens.entries())
                  if (bytes !== undefined && automaton.step(state, bytes) !== undefined)
                    mask[id >>> 5] = (mask[id >>> 5] as number) | (1 << (id & 31));
              },
              close: () => undefined,
            };
          },
        };
      },
    }),
  };
}
