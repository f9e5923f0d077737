/**
 * A conversation to tokens: the model's own chat template (Jinja, as Hugging Face's `apply_chat_template` renders it),
 * and nothing else.
 *
 * Invariants: only the template makes control tokens. Wherever a message holds the text of one, a marker is put after
 * its first character, and the rendered text is encoded in the pieces between markers, so that no piece holds the whole
 * of it. Other text is encoded as it would be without this. The same messages give the same tokens on any day: the
 * template is not told the date.
 */
import { IdlewildError, type ChatMessage, type Tool } from '@idlewild/protocol';
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { callFormatOf } from './call-formats.ts';
import { LIMITS } from './limits.ts';
import type { AddedToken, Tokenizer } from './tokenizer.ts';
import { templateInput, type TemplateMessage } from './tool-messages.ts';

export interface ChatTemplate {
  /**
   * Throws `invalid_request` for a conversation that the template refuses, `model_unsupported` for a template that
   * fails, `context_length_exceeded` for one that is certainly longer than `tokensMax`.
   */
  encode(messages: readonly ChatMessage[], tokensMax: number, tools?: readonly Tool[]): number[];
}

/** Roles that templates know. Others are refused: a template pastes the role between its own marks. */
const ROLES: readonly string[] = ['system', 'developer', 'user', 'assistant', 'tool'];

/** First and last of the private-use characters among which the marker is chosen. */
const MARKER_FIRST = 0xe000;
const MARKER_LAST = 0xf8ff;

/**
 * `specialTokens` by the names that templates use: `bos_token`, `eos_token` and the like. Throws `model_unsupported`.
 */
export function createChatTemplate(
  source: string,
  specialTokens: Readonly<Record<string, string>>,
  tokenizer: Tokenizer,
): ChatTemplate {
  if (source.length > LIMITS.templateCharactersMax) {
    throw new IdlewildError(
      'model_unsupported',
      `the chat template of ${source.length} characters is over the limit of ${LIMITS.templateCharactersMax}`,
    );
  }
  const template = compile(source);
  const special = tokenizer.addedTokens.filter((token) => token.special);
  // Many vocabularies hold control tokens that are not flagged as special; what the template writes itself is one of
  // them.
  const controls = tokenizer.addedTokens.filter(
    (token) => token.special || (token.content.trim() !== '' && source.includes(token.content)),
  );
  const toolOptions = {
    isNative: callFormatOf(source).isNative,
    hasSystem: source.includes('system'),
    idCharacters: /length *!= *9\b/.test(source) ? 9 : undefined,
  };
  return {
    encode(messages, tokensMax, tools = []) {
      const wrong = messages.find(({ role }) => !ROLES.includes(role));
      if (wrong !== undefined) {
        throw new IdlewildError(
          'invalid_request',
          `messages have the role "${wrong.role.slice(0, 64)}"; known are ${ROLES.join(', ')}`,
        );
      }
      const input = templateInput(messages, tools, toolOptions);
      const marker = unusedCharacter(source + JSON.stringify(input));
      const safe = (message: TemplateMessage): unknown => {
        const { role, content, ...rest } = message;
        // Templates look for marks in the model's own turns, to take its reasoning out of the history: these stay as
        // they are.
        const broken = breakUp(content, role === 'assistant' ? special : controls, marker);
        return { role, content: broken, ...(breakUpAll(rest, controls, marker) as object) };
      };
      const text = render(template, {
        ...specialTokens,
        messages: input.messages.map(safe),
        tools: breakUpAll(input.tools, controls, marker),
        add_generation_prompt: true,
      });
      return text
        .split(marker)
        .flatMap((piece) => (piece === '' ? [] : tokenizer.encode(piece, { whole: false, tokensMax })));
    },
  };
}

function compile(source: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    throw new IdlewildError(
      'model_unsupported',
      `the chat template of this model cannot be read: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** What `raise_exception` throws, told from a fault of the template by its mark. */
interface Refusal {
  readonly refusal: string;
}

/**
 * Renders with the globals that templates may use. `strftime_now` is left undefined, which templates test for: with it,
 * the same messages would give other tokens tomorrow.
 */
function render(template: Template, variables: Record<string, unknown>): string {
  const environment = new Environment();
  const globals = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    range,
    ...variables,
    raise_exception(message: unknown): never {
      const refusal: Refusal = { refusal: String(message) };
      // Not an error of the template engine's: it would wrap one, and the text would be lost.
      // oxlint-disable-next-line only-throw-error
      throw refusal;
    },
  };
  for (const [name, value] of Object.entries(globals)) environment.set(name, value);
  try {
    return String(new Interpreter(environment).run(template.parsed).value);
  } catch (cause) {
    const { refusal } = cause as Partial<Refusal>;
    if (refusal !== undefined)
      throw new IdlewildError('invalid_request', `the chat template of this model refuses the messages: ${refusal}`, {
        cause,
      });
    throw new IdlewildError(
      'model_unsupported',
      `the chat template of this model fails on the messages: ${(cause as Error).message}`,
      { cause },
    );
  }
}

/** Python's, as far as it goes over messages. */
function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= LIMITS.templateRangeMax)) throw new Error(`range() of ${length} numbers`);
  return Array.from({ length }, (_, i) => start + i * step);
}

function breakUp(text: string, tokens: readonly AddedToken[], marker: string): string {
  const cuts = new Set<number>();
  for (const { content } of tokens) {
    for (let at = text.indexOf(content); at >= 0; at = text.indexOf(content, at + 1))
      cuts.add(at + firstCharacterLength(content));
  }
  if (cuts.size === 0) return text;
  let broken = '';
  let from = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    broken += text.slice(from, cut) + marker;
    from = cut;
  }
  return broken + text.slice(from);
}

/** The same for all texts within a value, keys too. */
function breakUpAll(value: unknown, tokens: readonly AddedToken[], marker: string): unknown {
  if (typeof value === 'string') return breakUp(value, tokens, marker);
  if (Array.isArray(value)) return value.map((one) => breakUpAll(one, tokens, marker));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [breakUp(key, tokens, marker), breakUpAll(one, tokens, marker)]),
  );
}

const firstCharacterLength = (text: string): number => ((text.codePointAt(0) as number) > 0xffff ? 2 : 1);

function unusedCharacter(text: string): string {
  for (let code = MARKER_FIRST; code <= MARKER_LAST; code++) {
    const character = String.fromCharCode(code);
    if (!text.includes(character)) return character;
  }
  throw new IdlewildError('invalid_request', 'the messages use every private-use character of Unicode; leave one out');
}
