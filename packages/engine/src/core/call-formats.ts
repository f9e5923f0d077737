/**
 * How models write that they call a function: the notations that chat templates show, as grammars and as marks to read
 * them by.
 *
 * A model is held to its own notation, letter by letter, so reading needs no tolerance. A template that knows no tools,
 * or shows a notation that is not here, gets the generic one: Hermes', explained in a system message.
 */
import type { Tool } from '@idlewild/protocol';
import { OBJECT } from './grammar/json.ts';
import { all, any, optional, repeat, text, type Rule } from './grammar/rules.ts';

export interface CallFormat {
  readonly name: 'hermes' | 'llama' | 'mistral' | 'mistral-args';
  /** Whether the template itself shows tools and calls; else they are put in messages. */
  readonly isNative: boolean;
  /** Text that begins a call; all after it is calls. */
  readonly trigger: string;
  /** It begins one only where nothing but white space came before. */
  readonly isAtStart: boolean;
  /** Control tokens that are part of the notation. */
  readonly marks: readonly string[];
  /** What stands around a function's name and its arguments. */
  readonly beforeName: string;
  readonly afterName: string;
  /** Whether the name is written as JSON. */
  readonly quotesName: boolean;
  /** Calls from the trigger on. `callOf` is each function with its arguments' rule. */
  grammar(functions: readonly CalledFunction[], callsMax: number): Rule;
}

export interface CalledFunction {
  readonly name: string;
  readonly parameters: Rule;
}

export const ANY_ARGUMENTS: Rule = OBJECT;

const json = (
  key: string,
): Pick<CallFormat, 'beforeName' | 'afterName' | 'quotesName'> & {
  one(functions: readonly CalledFunction[]): Rule;
} => ({
  beforeName: '{"name": "',
  afterName: `", "${key}": `,
  quotesName: true,
  one: (functions) =>
    any(
      ...functions.map(({ name, parameters }) =>
        all(text(`{"name": ${JSON.stringify(name)}, "${key}": `), parameters, text('}')),
      ),
    ),
});

/** `max` or fewer, each after the first with `separator` before it. */
function several(one: Rule, separator: string, max: number): Rule {
  if (max === 1) return one;
  const more = separator === '' ? one : all(text(separator), one);
  return all(one, { kind: 'bounded', exact: repeat(more, 0, max - 1), loose: repeat(more, 0) });
}

function hermes(isNative: boolean): CallFormat {
  const { one, ...marks } = json('arguments');
  return {
    name: 'hermes',
    isNative,
    trigger: '<tool_call>',
    isAtStart: false,
    marks: ['<tool_call>', '</tool_call>'],
    ...marks,
    grammar: (functions, max) => several(all(text('<tool_call>\n'), one(functions), text('\n</tool_call>')), '\n', max),
  };
}

function llama(): CallFormat {
  const { one, ...marks } = json('parameters');
  // Its templates have one call in a message.
  return {
    name: 'llama',
    isNative: true,
    trigger: '{"name"',
    isAtStart: true,
    marks: [],
    ...marks,
    grammar: (functions) => one(functions),
  };
}

function mistral(): CallFormat {
  const { one, ...marks } = json('arguments');
  return {
    name: 'mistral',
    isNative: true,
    trigger: '[TOOL_CALLS]',
    isAtStart: false,
    marks: ['[TOOL_CALLS]'],
    ...marks,
    grammar: (functions, max) =>
      all(text('[TOOL_CALLS]'), optional(text(' ')), text('['), several(one(functions), ', ', max), text(']')),
  };
}

function mistralArgs(): CallFormat {
  return {
    name: 'mistral-args',
    isNative: true,
    trigger: '[TOOL_CALLS]',
    isAtStart: false,
    marks: ['[TOOL_CALLS]', '[ARGS]'],
    beforeName: '[TOOL_CALLS]',
    afterName: '[ARGS]',
    quotesName: false,
    grammar: (functions, max) =>
      several(
        any(...functions.map(({ name, parameters }) => all(text(`[TOOL_CALLS]${name}[ARGS]`), parameters))),
        '',
        max,
      ),
  };
}

/** By the text of a chat template; `undefined` is one that there is none. */
export function callFormatOf(template: string | undefined): CallFormat {
  if (template === undefined || !/\btools\b/.test(template)) return hermes(false);
  if (template.includes('[TOOL_CALLS]')) return template.includes('[ARGS]') ? mistralArgs() : mistral();
  // Some write XML between the same marks.
  if (template.includes('<tool_call>')) return hermes(!/<function=|<arg_key>/.test(template));
  if (/"parameters\\?": /.test(template) && /\{\\?"name\\?": /.test(template)) return llama();
  return hermes(false);
}

/** A tool as templates are given it. */
export const toolObject = ({ name, description }: Tool, parameters: unknown): object => ({
  type: 'function',
  function: { name, ...(description !== undefined && { description }), parameters },
});
