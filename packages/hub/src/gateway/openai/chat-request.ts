/** /v1/chat/completions: what may be asked, and the work that it makes for a device. */
import type { AnswerWork, ChatMessage } from '@idlewild/protocol';
import { LIMITS } from '@idlewild/protocol';
import { z } from 'zod';
import { HUB_LIMITS } from '../../limits.ts';
import {
  bookkeepingFields,
  callArguments,
  callId,
  functionFields,
  formatTypes,
  functionNamed,
  given,
  ignored,
  jsonFormat,
  refusalPart,
  refused,
  sampledFields,
  schemaFormFields,
  textFormat,
  textOrParts,
  textPart,
  tokensMax,
  toolChoices,
} from './fields.ts';
import { formOf, refuse, samplingOf, stopsOf, toolsOf, type AskedTools, type WorkDraft } from './work.ts';

const parts = z.array(textPart).min(1).max(HUB_LIMITS.messagesMax);
const content = z.union([z.string(), parts], { error: textOrParts });
const name = ignored(z.string().max(64), 'chat templates have no place for it');

const toolCall = z.strictObject({
  id: callId,
  type: z.literal('function', 'only functions are supported'),
  function: z.strictObject({
    name: functionFields.name,
    arguments: callArguments,
    parsed_arguments: ignored(z.unknown(), "the official client's own reading of `arguments`"),
  }),
});

export const chatMessageSchemas = {
  system: z.strictObject({ role: z.literal('system'), content, name }),
  developer: z.strictObject({ role: z.literal('developer'), content, name }),
  user: z.strictObject({ role: z.literal('user'), content, name }),
  assistant: z.strictObject({
    role: z.literal('assistant'),
    content: given(
      z.union([
        z.string(),
        z
          .array(z.union([textPart, refusalPart]))
          .min(1)
          .max(HUB_LIMITS.messagesMax),
      ]),
    ),
    refusal: given(z.string()).describe('Text like any other: the model sees it after the content.'),
    tool_calls: given(z.array(toolCall).max(LIMITS.toolCallsMax)),
    name,
    annotations: ignored(z.array(z.unknown()), 'notes on the content, which is all that the model sees'),
    parsed: ignored(z.unknown(), "the official client's own reading of `content`"),
    audio: refused('only text is supported'),
    function_call: refused('it is deprecated; use "tool_calls"'),
  }),
  tool: z.strictObject({ role: z.literal('tool'), content, tool_call_id: callId }),
};

const { system, developer, user, assistant, tool } = chatMessageSchemas;
const messageSchema = z.discriminatedUnion('role', [system, developer, user, assistant, tool], {
  error: 'must be "system", "developer", "user", "assistant" or "tool"',
});

const onlyFunctions = 'only functions are supported';
const chatTool = z.strictObject({
  type: z.literal('function', onlyFunctions),
  function: z.strictObject(functionFields),
});
const namedTool = z.strictObject({ type: z.literal('function', onlyFunctions), function: functionNamed });
const toolChoice = z.union(
  [
    z.enum(['none', 'auto', 'required']),
    namedTool,
    z.strictObject({
      type: z.literal('allowed_tools'),
      allowed_tools: z.strictObject({
        mode: z.enum(['auto', 'required']),
        tools: z.array(namedTool).min(1).max(LIMITS.toolsMax),
      }),
    }),
  ],
  { error: toolChoices },
);

export const chatRequestSchema = z.strictObject({
  ...sampledFields,
  ...bookkeepingFields,
  messages: z.array(messageSchema).min(1).max(HUB_LIMITS.messagesMax),
  max_completion_tokens: tokensMax,
  logprobs: given(z.boolean()),
  top_logprobs: given(z.int().min(0).max(LIMITS.logprobsMax)),
  response_format: given(
    z.discriminatedUnion(
      'type',
      [
        textFormat,
        jsonFormat,
        z.strictObject({ type: z.literal('json_schema'), json_schema: z.strictObject(schemaFormFields) }),
      ],
      { error: formatTypes },
    ),
  ),
  tools: given(z.array(chatTool).max(LIMITS.toolsMax)),
  tool_choice: given(toolChoice),
  parallel_tool_calls: given(z.boolean()),
  modalities: given(
    z
      .array(z.string())
      .min(1)
      .refine((values) => values.every((value) => value === 'text'), 'only ["text"] is supported'),
  ),
  audio: refused('only text is supported'),
  functions: refused('it is deprecated; use "tools"'),
  function_call: refused('it is deprecated; use "tool_choice"'),
  prediction: refused('predicted outputs are not supported'),
  reasoning_effort: refused('there are no reasoning models here'),
  verbosity: refused('say in the prompt how long an answer is to be, or use "max_completion_tokens"'),
  web_search_options: refused('nothing here searches the web'),
});
export type ChatRequest = z.infer<typeof chatRequestSchema>;

/** Throws `invalid_request` where fields contradict each other. */
export function chatWork(request: ChatRequest, seed: number): WorkDraft {
  const tools = askedTools(request);
  const format = request.response_format;
  const maximum = request.max_completion_tokens ?? request.max_tokens ?? undefined;
  return {
    prompt: { kind: 'chat', messages: request.messages.map(chatMessage), ...tools.offered },
    sampling: samplingOf(request, seed),
    stop: stopsOf(request.stop),
    ...tools.chosen,
    ...formOf(format?.type === 'json_schema' ? format.json_schema : format, tools, 'response_format'),
    ...logprobsOf(request),
    ...(maximum === undefined ? {} : { tokensMax: maximum }),
  };
}

type MessageIn = ChatRequest['messages'][number];

function chatMessage(message: MessageIn): ChatMessage {
  const text = textOf(message.content);
  switch (message.role) {
    case 'developer':
      return { role: 'system', content: text };
    case 'tool':
      return { role: 'tool', content: text, toolCallId: message.tool_call_id };
    case 'assistant': {
      const calls = (message.tool_calls ?? []).map((call) => ({
        id: call.id,
        name: call.function.name,
        arguments: call.function.arguments,
      }));
      const whole = text + (message.refusal ?? '');
      return { role: 'assistant', content: whole, ...(calls.length === 0 ? {} : { toolCalls: calls }) };
    }
    default:
      return { role: message.role, content: text };
  }
}

function textOf(value: MessageIn['content']): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string') return value;
  return value.map((part) => (part.type === 'text' ? part.text : part.refusal)).join('');
}

function askedTools(request: ChatRequest): AskedTools {
  const choice = request.tool_choice ?? undefined;
  const offered = (request.tools ?? []).map((tool) => tool.function);
  if (typeof choice !== 'object')
    return toolsOf({ offered, choice, parallel: request.parallel_tool_calls, param: 'tool_choice' });
  const allowed = choice.type === 'allowed_tools' ? choice.allowed_tools : undefined;
  return toolsOf({
    offered,
    choice: allowed?.mode ?? { name: choice.type === 'function' ? choice.function.name : '' },
    ...(allowed === undefined ? {} : { allowed: allowed.tools.map((tool) => tool.function.name) }),
    parallel: request.parallel_tool_calls,
    param: 'tool_choice',
  });
}

function logprobsOf(request: ChatRequest): Pick<AnswerWork, 'logprobs'> {
  const alternatives = request.top_logprobs ?? 0;
  if (request.logprobs === true) return { logprobs: alternatives };
  if (request.top_logprobs !== null && request.top_logprobs !== undefined)
    throw refuse('top_logprobs', 'is only allowed with "logprobs": true');
  return {};
}
