/**
 * About how many tokens a request will use, from its body alone and before anybody looked whether it is right: the
 * texts of its prompt at four characters a token, and what it allows its answers to have. Only a limit's reservation
 * depends on it, and that is settled by what was used.
 * Whatever a body says, these are whole numbers that can be added up.
 */
import { LIMITS } from '@idlewild/protocol';
import type { Wanted } from '../../projects/decide.ts';
import { PROJECT_LIMITS } from '../../projects/limits.ts';

const PROMPT_FIELDS = ['messages', 'prompt', 'input', 'instructions', 'tools', 'response_format', 'text', 'sealed'];
const ANSWER_FIELDS = ['max_completion_tokens', 'max_tokens', 'max_output_tokens'];
const CHARACTERS_PER_TOKEN = 4;
/** What an answer has that does not say how long it may be; the scheduler thinks so, too. */
const ANSWER_TOKENS = 200;

/** `path` without its query. */
export function estimateTokens(path: string, body: unknown): number {
  const { promptTokens, answerTokens } = estimateUse(path, body, ANSWER_TOKENS);
  return promptTokens + answerTokens;
}

/** `unsaid`: for an answer that does not say how long it may be. Embeddings and labels have no answer that counts. */
export function estimateUse(path: string, body: unknown, unsaid: number): Wanted {
  if (typeof body !== 'object' || body === null) return { promptTokens: 0, answerTokens: 0, answers: 0 };
  const fields = body as Readonly<Record<string, unknown>>;
  const promptTokens = Math.ceil(charactersIn(PROMPT_FIELDS.map((name) => fields[name])) / CHARACTERS_PER_TOKEN);
  if (/\/(embeddings|classify)$/.test(path)) return { promptTokens, answerTokens: 0, answers: 0 };
  const isWhole = path.startsWith('/v1/sealed/');
  const named = isWhole ? ['tokens'] : ANSWER_FIELDS;
  const most = whole(named.map((name) => fields[name]).find((value) => isCount(value)) ?? unsaid);
  const choices = isCount(fields.n) ? whole(fields.n) : 1;
  const prompts = Array.isArray(fields.prompt) ? fields.prompt.filter((part) => typeof part !== 'number').length : 1;
  const answers = Math.min(PROJECT_LIMITS.tokensMax, choices * Math.max(1, prompts));
  const answerTokens = Math.min(PROJECT_LIMITS.tokensMax, most * answers);
  return { promptTokens, answerTokens, answers, ...(isWhole ? { isWhole } : {}) };
}

const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value >= 1;

/** What is beyond any answer is refused when the body is looked at. */
const whole = (value: number): number => Math.min(LIMITS.tokensMax, Math.floor(value));

/** Not by recursion: a body may be nested as deep as it is long. */
function charactersIn(values: readonly unknown[]): number {
  const waiting = [...values];
  let characters = 0;
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (typeof value === 'string') characters += value.length;
    // An id of a token.
    else if (typeof value === 'number') characters += CHARACTERS_PER_TOKEN;
    else if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) waiting.push(inner);
  }
  return characters;
}
