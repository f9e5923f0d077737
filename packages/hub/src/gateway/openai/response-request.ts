/**
 * /v1/responses: what may be asked, and the work that it makes for a device.
 *
 * Items of the input become messages of a chat: a call joins the assistant's message before it, an output of a call is
 * a message of its own. What needs a memory on the hub (stored responses, conversations, references) is refused.
 */
import type { AnswerWork, ChatMessage } from '@idlewild/protocol';
import { LIMITS } from '@idlewild/protocol';
import { z } from 'zod';
import { HUB_LIMITS } from '../../limits.ts';
import {
  bookkeepingFields,
  callArguments,
  callId,
  formatTypes,
  functionFields,
  functionName,
  given,
  ignored,
  jsonFormat,
  modelField,
  refused,
  samplingExtras,
  schemaFormFields,
  temperature,
  textFormat,
  textOrParts,
  tokensMax,
  toolChoices,
  topP,
} from './fields.ts';
import { formOf, refuse, samplingOf, toolsOf, type AskedTools, type WorkDraft } from './work.ts';

const onlyText = 'only text parts are supported';
const inputText = z.strictObject({ type: z.literal('input_text', onlyText), text: z.string() });
const inputParts = z.array(inputText).min(1).max(HUB_LIMITS.messagesMax);
/** As an answer's items come back: what a program leaves on them is no fault. */
const outputText = z.strictObject({
  type: z.literal('output_text', onlyText),
  text: z.string(),
  annotations: ignored(z.array(z.unknown()), 'notes on the text, which is all that the model sees'),
  logprobs: ignored(z.array(z.unknown()), 'the model does not see them'),
  parsed: ignored(z.unknown(), "the official client's own reading of `text`"),
});
const refusalText = z.strictObject({ type: z.literal('refusal', onlyText), refusal: z.string() });
const assistantParts = z
  .array(z.union([inputText, outputText, refusalText]))
  .min(1)
  .max(HUB_LIMITS.messagesMax);

const itemFields = {
  id: ignored(z.string().max(HUB_LIMITS.labelCharactersMax), 'items are not stored'),
  status: ignored(z.enum(['in_progress', 'completed', 'incomplete']), 'an item is what it says, however it ended'),
};
const messageType = z.literal('message').optional();
export const responseItemSchemas = {
  message: z.strictObject({
    type: messageType,
    role: z.enum(['user', 'system', 'developer']),
    content: z.union([z.string(), inputParts], { error: textOrParts }),
    ...itemFields,
    phase: ignored(z.string(), 'it is for models that reason'),
  }),
  assistant: z.strictObject({
    type: messageType,
    role: z.literal('assistant'),
    content: z.union([z.string(), assistantParts], { error: textOrParts }),
    ...itemFields,
    phase: ignored(z.string(), 'it is for models that reason'),
  }),
  function_call: z.strictObject({
    type: z.literal('function_call'),
    call_id: callId,
    name: functionName,
    arguments: callArguments,
    ...itemFields,
    parsed_arguments: ignored(z.unknown(), "the official client's own reading of `arguments`"),
    namespace: refused('functions have no namespaces here'),
    caller: refused('only the model calls'),
    async: refused('a call waits for its output'),
  }),
  function_call_output: z.strictObject({
    type: z.literal('function_call_output'),
    call_id: callId,
    output: z.union([z.string(), inputParts], { error: textOrParts }),
    ...itemFields,
  }),
};
const { message, assistant, function_call: functionCall, function_call_output: functionOutput } = responseItemSchemas;
const spoken = z.discriminatedUnion('role', [message, assistant], {
  error: 'must be "user", "system", "developer" or "assistant"',
});
const item = z.discriminatedUnion('type', [spoken, functionCall, functionOutput], {
  error: 'must be "message", "function_call" or "function_call_output"',
});

const onlyFunctions = 'only functions are supported';
const functionTool = z.strictObject({ type: z.literal('function', onlyFunctions), ...functionFields });
const namedFunction = z.strictObject({ type: z.literal('function', onlyFunctions), name: functionName });
const toolChoice = z.union(
  [
    z.enum(['none', 'auto', 'required']),
    namedFunction,
    z.strictObject({
      type: z.literal('allowed_tools'),
      mode: z.enum(['auto', 'required']),
      tools: z.array(namedFunction).min(1).max(LIMITS.toolsMax),
    }),
  ],
  { error: toolChoices },
);

const LOGPROBS = 'message.output_text.logprobs';

export const responseRequestSchema = z.strictObject({
  model: modelField,
  input: z.union([z.string().min(1, 'must not be empty'), z.array(item).min(1).max(HUB_LIMITS.messagesMax)], {
    error: 'must be a text or a list of items',
  }),
  instructions: given(z.string()),
  max_output_tokens: tokensMax,
  temperature,
  top_p: topP,
  ...samplingExtras,
  text: given(
    z.strictObject({
      format: given(
        z.discriminatedUnion(
          'type',
          [textFormat, jsonFormat, z.strictObject({ type: z.literal('json_schema'), ...schemaFormFields })],
          { error: formatTypes },
        ),
      ),
      verbosity: refused('say in the prompt how long an answer is to be, or use "max_output_tokens"'),
    }),
  ),
  tools: given(z.array(functionTool).max(LIMITS.toolsMax)),
  tool_choice: given(toolChoice),
  parallel_tool_calls: given(z.boolean()),
  include: given(z.array(z.literal(LOGPROBS, `only "${LOGPROBS}" is supported`)).max(16)),
  top_logprobs: given(z.int().min(0).max(LIMITS.logprobsMax)),
  stream: given(z.boolean()),
  stream_options: given(
    z.strictObject({
      include_obfuscation: given(z.literal(false, 'only false is supported: nothing is added to a stream')),
    }),
  ),
  truncation: given(z.literal('disabled', 'only "disabled" is supported: no part of a prompt is left out')),
  background: given(z.literal(false, 'only false is supported: the hub keeps no answer to ask for later')),
  user: ignored(z.string().max(HUB_LIMITS.labelCharactersMax), 'callers are told apart by their keys'),
  ...bookkeepingFields,
  previous_response_id: refused('the hub keeps no answers; send the earlier turns in "input"'),
  conversation: refused('the hub keeps no conversations; send the earlier turns in "input"'),
  prompt: refused('the hub keeps no prompt templates; send the text in "input"'),
  context_management: refused('the hub keeps no conversations, so there is nothing to compact'),
  max_tool_calls: refused('it bounds built-in tools, of which there are none; "parallel_tool_calls" bounds calls'),
  reasoning: refused('there are no reasoning models here'),
  image: refused('only text is supported'),
  access_programs: refused('there are no access programs here'),
});
export type ResponseRequest = z.infer<typeof responseRequestSchema>;

/** Throws `invalid_request` where fields contradict each other. */
export function responseWork(request: ResponseRequest, seed: number): WorkDraft {
  const tools = askedTools(request);
  const maximum = request.max_output_tokens ?? undefined;
  return {
    prompt: { kind: 'chat', messages: messagesOf(request), ...tools.offered },
    sampling: samplingOf(request, seed),
    stop: [],
    ...tools.chosen,
    ...formOf(request.text?.format, tools, 'text.format'),
    ...logprobsOf(request),
    ...(maximum === undefined ? {} : { tokensMax: maximum }),
  };
}

type Item = Exclude<ResponseRequest['input'], string>[number];

function messagesOf({ instructions, input }: ResponseRequest): ChatMessage[] {
  const messages: ChatMessage[] = [];
  if (instructions !== null && instructions !== undefined) messages.push({ role: 'system', content: instructions });
  if (typeof input === 'string') messages.push({ role: 'user', content: input });
  else for (const each of input) add(messages, each);
  if (messages.every((each) => each.role === 'system')) throw refuse('input', 'has no message to answer');
  return messages;
}

function add(messages: ChatMessage[], each: Item): void {
  if ('output' in each) {
    messages.push({ role: 'tool', content: textOf(each.output), toolCallId: each.call_id });
    return;
  }
  if ('content' in each) {
    messages.push({ role: each.role === 'developer' ? 'system' : each.role, content: textOf(each.content) });
    return;
  }
  const call = { id: each.call_id, name: each.name, arguments: each.arguments };
  const last = messages.at(-1);
  if (last?.role !== 'assistant') messages.push({ role: 'assistant', content: '', toolCalls: [call] });
  else messages[messages.length - 1] = { ...last, toolCalls: [...(last.toolCalls ?? []), call] };
}

type Part = { readonly text: string } | { readonly refusal: string };
const textOf = (value: string | readonly Part[]): string =>
  typeof value === 'string' ? value : value.map((part) => ('text' in part ? part.text : part.refusal)).join('');

function askedTools(request: ResponseRequest): AskedTools {
  const choice = request.tool_choice ?? undefined;
  const common = { offered: request.tools ?? [], parallel: request.parallel_tool_calls, param: 'tool_choice' };
  if (typeof choice !== 'object') return toolsOf({ ...common, choice });
  if (choice.type === 'function') return toolsOf({ ...common, choice: { name: choice.name } });
  return toolsOf({ ...common, choice: choice.mode, allowed: choice.tools.map((tool) => tool.name) });
}

/** Either field asks for them. */
function logprobsOf(request: ResponseRequest): Pick<AnswerWork, 'logprobs'> {
  const asked = (request.include ?? []).length > 0 || (request.top_logprobs ?? undefined) !== undefined;
  return asked ? { logprobs: request.top_logprobs ?? 0 } : {};
}
