/** The resource of /v1/responses: what it repeats of the request, its items, its usage and how it ended. */
import type { AnswerOutcome } from '../../answers/port.ts';
import type { Call, Choice } from './choice.ts';
import { tokenLogprob, type TokenLogprob } from './logprobs.ts';
import { countTokens, noteOf } from './notes.ts';
import type { ResponseRequest } from './response-request.ts';

export interface ResponseContext {
  /** Of the HTTP request. */
  readonly requestId: string;
  readonly request: ResponseRequest;
  readonly hub: string;
  readonly createdAtMs: number;
  /** When it is complete. */
  readonly now: () => number;
}

export type ItemStatus = 'in_progress' | 'completed' | 'incomplete';

const bareId = ({ requestId }: ResponseContext): string => requestId.replace(/^req_/, '');
/** `place` is the item's in the output. */
export const itemIdOf = (context: ResponseContext, kind: 'msg' | 'fc', place: number): string =>
  `${kind}_${bareId(context)}_${place}`;

export const outputTextPart = (text: string, logprobs: readonly TokenLogprob[]): object => ({
  type: 'output_text',
  text,
  annotations: [],
  logprobs,
});

export const messageItem = (id: string, status: ItemStatus, content: readonly object[]): object => ({
  type: 'message',
  id,
  status,
  role: 'assistant',
  content,
});

export const callItem = (id: string, status: ItemStatus, call: Call): object => ({
  type: 'function_call',
  id,
  call_id: call.id,
  name: call.name,
  arguments: call.arguments,
  status,
});

/** How the items of an answer that ended stand. */
export const statusOf = (outcome: AnswerOutcome): 'completed' | 'incomplete' =>
  outcome.finish === 'length' ? 'incomplete' : 'completed';

/** Everything of the resource that does not change while it is made. */
export function responseHead(context: ResponseContext): object {
  const { request, createdAtMs } = context;
  return {
    id: `resp_${bareId(context)}`,
    object: 'response',
    created_at: Math.floor(createdAtMs / 1000),
    background: false,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    max_tool_calls: null,
    model: request.model,
    parallel_tool_calls: request.parallel_tool_calls ?? true,
    previous_response_id: null,
    prompt_cache_key: request.prompt_cache_key ?? null,
    reasoning: null,
    safety_identifier: request.safety_identifier ?? null,
    service_tier: 'default',
    store: false,
    temperature: request.temperature ?? null,
    text: { format: formatOf(request) },
    tool_choice: request.tool_choice ?? 'auto',
    tools: (request.tools ?? []).map(({ type, name, description, parameters, strict }) => ({
      type,
      name,
      description: description ?? null,
      parameters: parameters ?? null,
      strict: strict ?? false,
    })),
    top_logprobs: request.top_logprobs ?? 0,
    top_p: request.top_p ?? null,
    truncation: 'disabled',
    user: request.user ?? null,
    metadata: request.metadata ?? {},
  };
}

function formatOf({ text }: ResponseRequest): object {
  const format = text?.format ?? { type: 'text' };
  return format.type === 'json_schema' ? { ...format, description: format.description ?? null, strict: true } : format;
}

/** The fields that say where it stands. */
export const standing = (status: string, output: readonly object[], more: object = {}): object => ({
  status,
  error: null,
  incomplete_details: null,
  completed_at: null,
  output,
  usage: null,
  ...more,
});

export function endOf(context: ResponseContext, outcome: AnswerOutcome): object {
  const { prompt, cached, answer } = countTokens([outcome], 1);
  const isWhole = statusOf(outcome) === 'completed';
  return {
    completed_at: isWhole ? Math.floor(context.now() / 1000) : null,
    incomplete_details: isWhole ? null : { reason: 'max_output_tokens' },
    usage: {
      input_tokens: prompt,
      input_tokens_details: { cached_tokens: cached, cache_write_tokens: 0 },
      output_tokens: answer,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: prompt + answer,
    },
    idlewild: noteOf([outcome], context.hub),
  };
}

/** The items of a whole answer: its message, unless it is calls alone, then its calls. */
export function itemsOf(context: ResponseContext, { text, calls, logprobs, outcome }: Choice): object[] {
  const status = statusOf(outcome);
  const part = outputTextPart(text, logprobs.map(tokenLogprob));
  const messages = text === '' && calls.length > 0 ? [] : [messageItem(itemIdOf(context, 'msg', 0), status, [part])];
  // What was cut off is the end: what comes before it is whole.
  const callItems = calls.map((call, i) =>
    callItem(itemIdOf(context, 'fc', messages.length + i), i < calls.length - 1 ? 'completed' : status, call),
  );
  return [...messages, ...callItems];
}
