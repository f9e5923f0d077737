/**
 * From what a request demands of an answer's form to a guide that sees to it: schemas and tools become grammars,
 * grammars become tables for the model's vocabulary, which are kept for the next request.
 *
 * All of it is done before the first token, and refused then. Nothing is opened before a form or a tool is asked for.
 */
import { IdlewildError, codeOf, messageOf, type AnswerWork, type MaybePromise, type Tool } from '@idlewild/protocol';
import { ANY_ARGUMENTS, type CallFormat } from './call-formats.ts';
import { createCallGuide } from './call-guide.ts';
import { createAutomaton } from './grammar/automaton.ts';
import { compile, type Node } from './grammar/compile.ts';
import { createGrammarGuide, type Guide } from './grammar/guide.ts';
import { jsonRules, OBJECT } from './grammar/json.ts';
import type { GrammarCompiler, GrammarLibrary, TokenGrammar, TokenMatcher } from './grammar/library.ts';
import type { Grammar, Rule } from './grammar/rules.ts';
import { schemaGrammar, schemaRule } from './grammar/schema.ts';
import { createVocabulary, type Vocabulary } from './grammar/vocabulary.ts';
import { LIMITS } from './limits.ts';
import type { ModelSettings } from './settings.ts';

/** What was made ready for one answer. */
export interface Preparation {
  readonly guide: Guide;
  /** Notation of calls that the text may hold. */
  readonly calls?: CallFormat | undefined;
}

export interface Guides {
  /**
   * `undefined`: the answer is free. Rejects with `invalid_request` for a form or tools that cannot be followed. The
   * guide is to be closed by who gets it.
   */
  prepare(work: AnswerWork): Promise<Preparation> | undefined;
}

interface Ready {
  readonly node: Node;
  readonly grammar: TokenGrammar;
}

interface Kept {
  readonly ready: Promise<Ready>;
  /** Answers that are about to begin with it: until then it must not be closed. */
  users: number;
  isKept: boolean;
}

export function createGuides(settings: ModelSettings, library: GrammarLibrary | undefined): Guides {
  const { tokenizer, endIds, callFormat } = settings;
  let vocabulary: Vocabulary | undefined;
  let opened: Promise<GrammarCompiler> | undefined;
  /** By what they were made of, the one used last at the end. */
  const kept = new Map<string, Kept>();

  function vocabularyOf(): Vocabulary {
    return (vocabulary ??= createVocabulary(tokenizer, endIds, callFormat.marks));
  }

  function open(): Promise<GrammarCompiler> {
    if (library === undefined)
      throw new IdlewildError('model_unsupported', 'this engine cannot hold answers to a form');
    return (opened ??= Promise.resolve(library.open(vocabularyOf().tokens)));
  }

  /** Work of the library's. One that failed may be in any state, and is opened anew for the next. */
  async function guarded<T>(act: () => MaybePromise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      if (codeOf(error) !== undefined) throw error;
      opened = undefined;
      kept.clear();
      const reason = String((error as Partial<Error>).message ?? error).slice(0, LIMITS.messageCharactersMax);
      throw new IdlewildError('engine_failed', `making the tables of a grammar: ${reason}`, { cause: error });
    }
  }

  async function begin(key: string, make: () => Grammar): Promise<{ node: Node; matcher: TokenMatcher }> {
    const found = kept.get(key) ?? { ready: makeReady(make), users: 0, isKept: true };
    kept.delete(key);
    kept.set(key, found);
    const [oldest] = kept;
    if (kept.size > LIMITS.grammarsKeptMax && oldest !== undefined) letGo(...oldest);
    found.users++;
    try {
      const { node, grammar } = await found.ready;
      return { node, matcher: await guarded(() => grammar.matcher()) };
    } catch (error) {
      if (kept.get(key) === found) letGo(key, found);
      throw error;
    } finally {
      found.users--;
      closeUnused(found);
    }
  }

  function letGo(key: string, gone: Kept): void {
    kept.delete(key);
    gone.isKept = false;
    closeUnused(gone);
  }

  /** Matchers hold what they need. */
  function closeUnused({ ready, users, isKept }: Kept): void {
    if (isKept || users > 0) return;
    // What was never made, or is of a library that broke, needs no closing.
    ready.then(({ grammar }) => grammar.close()).catch(() => undefined);
  }

  async function makeReady(make: () => Grammar): Promise<Ready> {
    try {
      const grammar = make();
      const node = compile(grammar);
      const made = (): Promise<TokenGrammar> => guarded(async () => (await open()).compile(grammar));
      // Another's form may have broken the library; what breaks a new one as well would break it on every device.
      return { node, grammar: await made().catch(made) };
    } catch (error) {
      const code = codeOf(error);
      if (code !== undefined && code !== 'engine_failed') throw error;
      const reason = messageOf(error).slice(0, LIMITS.messageCharactersMax);
      throw new IdlewildError('invalid_request', `the form cannot be followed: ${reason}`, { cause: error });
    }
  }

  async function prepareForm(form: NonNullable<AnswerWork['form']>): Promise<Preparation> {
    const isJson = form.kind === 'json';
    const { node, matcher } = await begin(isJson ? 'json' : `schema ${form.schema}`, () =>
      isJson ? { root: OBJECT, rules: jsonRules() } : schemaGrammar(form.schema),
    );
    return {
      guide: createGrammarGuide({ automaton: createAutomaton(node), matcher, vocabulary: vocabularyOf(), endIds }),
    };
  }

  async function prepareCalls(tools: readonly Tool[], isForced: boolean, callsMax: number): Promise<Preparation> {
    const { node, matcher } = await begin(`calls ${callsMax} ${JSON.stringify(tools)}`, () =>
      callsGrammar(tools, callFormat, callsMax),
    );
    const automaton = createAutomaton(node);
    const vocabulary = vocabularyOf();
    if (isForced) {
      const guide = createGrammarGuide({ automaton, matcher, vocabulary, endIds });
      return { guide, calls: callFormat };
    }
    const beginCalls = (written: string, state: Parameters<typeof automaton.ending>[0]): Guide => {
      if (!matcher.acceptText(written))
        throw new IdlewildError('internal', "the grammar's two readers disagree about the beginning of a call");
      return createGrammarGuide({ automaton, matcher, vocabulary, endIds, written: state });
    };
    const guide = createCallGuide({
      format: callFormat,
      vocabulary,
      endIds,
      calls: { automaton, begin: beginCalls, close: () => matcher.close() },
    });
    return { guide, calls: callFormat };
  }

  async function forbidCalls(): Promise<Preparation> {
    return { guide: createCallGuide({ format: callFormat, vocabulary: vocabularyOf(), endIds }) };
  }

  return {
    prepare(work) {
      const tools = work.prompt.kind === 'chat' ? (work.prompt.tools ?? []) : [];
      const choice = work.toolChoice ?? 'auto';
      if (tools.length === 0) {
        if (choice !== 'auto' && choice !== 'none') return refused('a tool must be called, and the prompt has none');
        return work.form && prepareForm(work.form);
      }
      if (work.form !== undefined)
        return choice === 'none'
          ? prepareForm(work.form)
          : refused('a form and tools that may be called do not go together');
      if (choice === 'none') return forbidCalls();
      const offered = typeof choice === 'string' ? tools : tools.filter(({ name }) => name === choice.name);
      if (offered.length === 0)
        return refused(`the tool to be called, "${(choice as { name: string }).name}", is not one of the prompt's`);
      return prepareCalls(offered, choice !== 'auto', work.oneCall === true ? 1 : LIMITS.callsMax);
    },
  };
}

const refused = (message: string): Promise<never> => Promise.reject(new IdlewildError('invalid_request', message));

function callsGrammar(tools: readonly Tool[], format: CallFormat, callsMax: number): Grammar {
  const rules = jsonRules();
  const functions = tools.map((tool) => ({ name: tool.name, parameters: parametersRule(tool, rules) }));
  return { root: format.grammar(functions, callsMax), rules };
}

function parametersRule({ name, parameters, strict }: Tool, rules: Map<string, Rule>): Rule {
  if (parameters === undefined) return ANY_ARGUMENTS;
  const trial = new Map(rules);
  try {
    const rule = schemaRule(parameters, trial, 'object');
    // Rules of a schema that was given up half way would be read for nothing.
    for (const [key, one] of trial) rules.set(key, one);
    return rule;
  } catch (error) {
    const { code, message } = error as IdlewildError;
    if (code !== 'invalid_request') throw error;
    if (strict === true) throw new IdlewildError('invalid_request', `tool "${name}": ${message}`, { cause: error });
    return ANY_ARGUMENTS;
  }
}
