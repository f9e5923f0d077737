/**
 * What the text files beside a model's graph say: how to tokenise, how to put a conversation, when an answer ends, how
 * to sample.
 *
 * The files are somebody else's and in a format that has grown for years: what is missing has a neutral value, what is
 * there in a form that nobody writes is refused by name.
 */
import { IdlewildError, type AnswerWork, type Prompt, type Sampling } from '@idlewild/protocol';
import { callFormatOf, type CallFormat } from './call-formats.ts';
import { createChatTemplate, type ChatTemplate } from './templates.ts';
import { createTokenizer, type Tokenizer } from './tokenizer.ts';

/** Contents of the files, by what they are; all but `tokenizer` may be missing. */
export interface ModelTexts {
  readonly tokenizer: string;
  readonly tokenizerConfig?: string | undefined;
  readonly config?: string | undefined;
  readonly generationConfig?: string | undefined;
  readonly chatTemplate?: string | undefined;
}

/** The names of the files under which folders hold them. */
export const MODEL_TEXT_FILES: Readonly<Record<keyof ModelTexts, string>> = {
  tokenizer: 'tokenizer.json',
  tokenizerConfig: 'tokenizer_config.json',
  config: 'config.json',
  generationConfig: 'generation_config.json',
  chatTemplate: 'chat_template.jinja',
};

export interface ModelSettings {
  readonly tokenizer: Tokenizer;
  /** How the model writes calls of functions. */
  readonly callFormat: CallFormat;
  /** Tokens after which an answer is over. */
  readonly endIds: ReadonlySet<number>;
  /** Heads of attention, where the configuration says: more threads than these split sums within a head. */
  readonly attentionHeads: number | undefined;
  /** Tokens after which an answer ends that was asked for without a number. */
  readonly tokensDefault: number | undefined;
  /**
   * Throws `invalid_request`, `model_unsupported`, or `context_length_exceeded` for what is certainly longer than
   * `tokensMax`.
   */
  encodePrompt(prompt: Prompt, tokensMax: number): number[];
  /** The request's values, then the model's, then neutral ones. */
  completeSampling(asked: AnswerWork['sampling']): Sampling;
}

type Json = Readonly<Record<string, unknown>>;

/** Throws `model_invalid` or `model_unsupported`. */
export function readSettings(texts: ModelTexts): ModelSettings {
  const tokenizerConfig = parse(texts.tokenizerConfig, MODEL_TEXT_FILES.tokenizerConfig);
  const config = parse(texts.config, MODEL_TEXT_FILES.config);
  const generation = parse(texts.generationConfig, MODEL_TEXT_FILES.generationConfig);
  const tokenizer = createTokenizer(parse(texts.tokenizer, MODEL_TEXT_FILES.tokenizer), tokenizerConfig);
  const templates = templateSources(texts.chatTemplate, tokenizerConfig);
  const template = chatTemplateOf(templates.plain, tokenizerConfig, tokenizer);
  const toolTemplate =
    templates.tools === undefined ? template : chatTemplateOf(templates.tools, tokenizerConfig, tokenizer);
  const beginning = tokenText(tokenizerConfig['bos_token']);
  return {
    tokenizer,
    callFormat: callFormatOf(templates.tools ?? templates.plain),
    endIds: endIdsOf(generation, config, tokenizerConfig, tokenizer),
    attentionHeads: countOf(config['num_attention_heads'] ?? config['n_head']),
    tokensDefault: countOf(generation['max_new_tokens']),
    encodePrompt(prompt, tokensMax) {
      const ids =
        prompt.kind === 'chat'
          ? (prompt.tools === undefined ? template : toolTemplate)().encode(prompt.messages, tokensMax, prompt.tools)
          : tokenizer.encode(prompt.text, { whole: true, tokensMax });
      if (ids.length > 0) return ids;
      // With nothing before it, the first token is predicted from the token that begins every text.
      const id = beginning === undefined ? undefined : tokenizer.idOf(beginning);
      if (id === undefined)
        throw new IdlewildError(
          'invalid_request',
          'the prompt is empty, and this model has no token for the beginning of a text',
        );
      return [id];
    },
    completeSampling: (asked) => completeSampling(asked, generation),
  };
}

function parse(text: string | undefined, file: string): Json {
  if (text === undefined) return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch (cause) {
    throw new IdlewildError('model_invalid', `${file} is not valid JSON: ${(cause as Error).message}`, { cause });
  }
  throw new IdlewildError('model_invalid', `${file} does not hold a JSON object`);
}

const countOf = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;

/** A token as configurations write it: a string, or an object around one. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : undefined;
}

/** A template that is missing or broken matters only to who asks for a chat: it throws then. */
function chatTemplateOf(source: string | undefined, tokenizerConfig: Json, tokenizer: Tokenizer): () => ChatTemplate {
  if (source === undefined) {
    return () => {
      throw new IdlewildError(
        'model_unsupported',
        'this model has no chat template; ask it for a completion of a text instead',
      );
    };
  }
  const specialTokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(tokenizerConfig)) {
    const text = name.endsWith('_token') ? tokenText(value) : undefined;
    if (text !== undefined) specialTokens[name] = text;
  }
  let template: ChatTemplate | undefined;
  return () => (template ??= createChatTemplate(source, specialTokens, tokenizer));
}

/** One template, or several by name: `default` is for conversations, `tool_use` for those with tools. */
function templateSources(
  file: string | undefined,
  tokenizerConfig: Json,
): { plain?: string | undefined; tools?: string | undefined } {
  const value = tokenizerConfig['chat_template'];
  if (file !== undefined) return { plain: file };
  if (typeof value === 'string') return { plain: value };
  const named = (name: string): string | undefined => {
    const entries = (Array.isArray(value) ? value : []) as ({ name?: unknown; template?: unknown } | null)[];
    const template = entries.find((entry) => entry?.name === name)?.template;
    return typeof template === 'string' ? template : undefined;
  };
  return { plain: named('default'), tools: named('tool_use') };
}

function endIdsOf(generation: Json, config: Json, tokenizerConfig: Json, tokenizer: Tokenizer): ReadonlySet<number> {
  for (const [file, value] of [
    [MODEL_TEXT_FILES.generationConfig, generation['eos_token_id']],
    [MODEL_TEXT_FILES.config, config['eos_token_id']],
  ] as const) {
    if (value === undefined || value === null) continue;
    const ids: unknown[] = Array.isArray(value) ? value : [value];
    if (ids.every((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0)) return new Set(ids);
    throw new IdlewildError('model_invalid', `${file} has an eos_token_id that is neither an id nor a list of ids`);
  }
  const token = tokenText(tokenizerConfig['eos_token']);
  const id = token === undefined ? undefined : tokenizer.idOf(token);
  return new Set(id === undefined ? [] : [id]);
}

function completeSampling(asked: AnswerWork['sampling'], generation: Json): Sampling {
  const number = (name: string, isFit: (value: number) => boolean, neutral: number): number => {
    const value = generation[name];
    return typeof value === 'number' && isFit(value) ? value : neutral;
  };
  const temperature =
    generation['do_sample'] === false ? 0 : number('temperature', (value) => value >= 0 && value <= 100, 1);
  return {
    temperature: asked.temperature ?? temperature,
    topK: asked.topK ?? number('top_k', (value) => Number.isSafeInteger(value) && value >= 0, 0),
    topP: asked.topP ?? number('top_p', (value) => value > 0 && value <= 1, 1),
    repetitionPenalty: asked.repetitionPenalty ?? number('repetition_penalty', (value) => value > 0 && value <= 100, 1),
    frequencyPenalty: asked.frequencyPenalty ?? 0,
    presencePenalty: asked.presencePenalty ?? 0,
    ...(asked.logitBias !== undefined && { logitBias: asked.logitBias }),
    seed: asked.seed,
  };
}
