/**
 * About how many tokens a request will use, from its body alone and before anybody looked whether it is right: the
 * texts of its prompt at four characters a token, and what it allows its answers to have. Only a limit's reservation
 * depends on it, and that is settled by what was used.
 */
const PROMPT_FIELDS = ['messages', 'prompt', 'input', 'instructions', 'tools', 'response_format', 'text', 'sealed'];
const ANSWER_FIELDS = ['max_completion_tokens', 'max_tokens', 'max_output_tokens'];
const CHARACTERS_PER_TOKEN = 4;
/** What an answer has that does not say how long it may be; the scheduler thinks so, too. */
const ANSWER_TOKENS = 200;

/** `path` without its query. Embeddings and labels have no answer that counts. */
export function estimateTokens(path: string, body: unknown): number {
  if (typeof body !== 'object' || body === null) return 0;
  const fields = body as Readonly<Record<string, unknown>>;
  const prompt = Math.ceil(charactersIn(PROMPT_FIELDS.map((name) => fields[name])) / CHARACTERS_PER_TOKEN);
  if (/\/(embeddings|classify)$/.test(path)) return prompt;
  const most = ANSWER_FIELDS.map((name) => fields[name]).find((value) => isCount(value)) ?? ANSWER_TOKENS;
  const choices = isCount(fields.n) ? fields.n : 1;
  const prompts = Array.isArray(fields.prompt) ? fields.prompt.filter((part) => typeof part !== 'number').length : 1;
  return prompt + most * choices * Math.max(1, prompts);
}

const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value >= 1;

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
