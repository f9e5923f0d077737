/**
 * Conversations with tools as chat templates are given them: as Hugging Face's `apply_chat_template` gives them where a
 * template knows tools, and as plain messages in Hermes' notation where it does not.
 *
 * The generic way: the tools stand at the end of the system message (of the first message, where a template has no
 * place for a system), an assistant's calls in its text, and a tool's answer in a user's message.
 */
import { IdlewildError, type ChatMessage, type Tool, type ToolCall } from '@idlewild/protocol';
import { toolObject } from './call-formats.ts';

/** Fields are those that templates read. */
export interface TemplateMessage {
  readonly role: string;
  readonly content: string;
  readonly tool_calls?: readonly object[];
  readonly tool_call_id?: string;
  readonly name?: string;
}

export interface TemplateInput {
  readonly messages: readonly TemplateMessage[];
  readonly tools: readonly object[] | null;
}

export interface ToolMessageOptions {
  /** Whether the template knows tools. */
  readonly isNative: boolean;
  readonly hasSystem: boolean;
  /** Mistral's templates demand ids of this many letters and digits. */
  readonly idCharacters: number | undefined;
}

/** Throws `invalid_request` for arguments or parameters that are not JSON objects. */
export function templateInput(
  messages: readonly ChatMessage[],
  tools: readonly Tool[],
  options: ToolMessageOptions,
): TemplateInput {
  const objects = tools.map((tool) => toolObject(tool, parametersOf(tool)));
  if (options.isNative)
    return {
      messages: messages.map((message) => nativeMessage(message, messages, options)),
      tools: objects.length > 0 ? objects : null,
    };
  const plain = messages.map(plainMessage);
  return { messages: objects.length > 0 ? withTools(plain, objects, options.hasSystem) : plain, tools: null };
}

function parametersOf({ name, parameters }: Tool): object {
  return parameters === undefined
    ? { type: 'object', properties: {} }
    : parseObject(parameters, `the parameters of the tool "${name}"`);
}

const argumentsOf = (call: ToolCall): object =>
  call.arguments.trim() === '' ? {} : parseObject(call.arguments, `the arguments of the call "${call.id}"`);

function parseObject(source: string, what: string): object {
  try {
    const value: unknown = JSON.parse(source);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch (cause) {
    throw new IdlewildError('invalid_request', `${what} are not valid JSON: ${(cause as Error).message}`, { cause });
  }
  throw new IdlewildError('invalid_request', `${what} are not a JSON object`);
}

function nativeMessage(
  { role, content, toolCalls, toolCallId }: ChatMessage,
  all: readonly ChatMessage[],
  { idCharacters }: ToolMessageOptions,
): TemplateMessage {
  const idOf = (id: string): string =>
    idCharacters === undefined
      ? id
      : id
          .replace(/[^A-Za-z0-9]/g, '')
          .slice(-idCharacters)
          .padStart(idCharacters, '0');
  const answered = all.flatMap((message) => message.toolCalls ?? []).findLast(({ id }) => id === toolCallId);
  return {
    role,
    content,
    ...(toolCalls !== undefined && {
      tool_calls: toolCalls.map((call) => ({
        id: idOf(call.id),
        type: 'function',
        function: { name: call.name, arguments: argumentsOf(call) },
      })),
    }),
    ...(toolCallId !== undefined && { tool_call_id: idOf(toolCallId) }),
    ...(answered !== undefined && { name: answered.name }),
  };
}

function plainMessage({ role, content, toolCalls = [] }: ChatMessage): TemplateMessage {
  if (role === 'tool') return { role: 'user', content: `<tool_response>\n${content}\n</tool_response>` };
  const calls = toolCalls.map((call) => {
    const [name, given] = [JSON.stringify(call.name), JSON.stringify(argumentsOf(call))];
    return `<tool_call>\n{"name": ${name}, "arguments": ${given}}\n</tool_call>`;
  });
  return { role, content: [...(content === '' ? [] : [content]), ...calls].join('\n') };
}

function withTools(
  messages: readonly TemplateMessage[],
  tools: readonly object[],
  hasSystem: boolean,
): TemplateMessage[] {
  const [first, ...rest] = messages as [TemplateMessage, ...TemplateMessage[]];
  const explained = explain(tools);
  if (first.role === 'system') return [{ ...first, content: `${first.content}\n\n${explained}` }, ...rest];
  if (hasSystem) return [{ role: 'system', content: explained }, ...messages];
  return [{ ...first, content: `${explained}\n\n${first.content}` }, ...rest];
}

/** Hermes' and Qwen's words, shortened: models that know tools have met them, and small contexts hold them. */
const explain = (tools: readonly object[]): string =>
  `# Tools

You may call these functions:
<tools>
${tools.map((tool) => JSON.stringify(tool)).join('\n')}
</tools>

To call one, answer with its name and arguments:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>`;
