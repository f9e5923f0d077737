/**
 * From the fields of a request, however its endpoint spells them, to the work for a device.
 *
 * Text passes through untouched; nothing here looks into it. What contradicts itself is refused, naming the field.
 */
import type { AnswerWork, Tool, ToolChoice } from '@idlewild/protocol';
import { IdlewildError, LIMITS } from '@idlewild/protocol';
import { HUB_LIMITS } from '../../limits.ts';

/** Work but for what makes one choice differ from another. */
export type WorkDraft = Omit<AnswerWork, 'tokens' | 'choice'>;

/** Like a refusal of a schema: `invalid_request` that names the field. */
export const refuse = (param: string, why: string): IdlewildError =>
  new IdlewildError('invalid_request', `"${param}" ${why}`, { details: { param } });

type Given<Value> = Value | null | undefined;

interface SampledRequest {
  readonly temperature?: Given<number>;
  readonly top_p?: Given<number>;
  readonly top_k?: Given<number>;
  readonly repetition_penalty?: Given<number>;
  readonly frequency_penalty?: Given<number>;
  readonly presence_penalty?: Given<number>;
  readonly logit_bias?: Given<Readonly<Record<string, number>>>;
}

export function samplingOf(request: SampledRequest, seed: number): WorkDraft['sampling'] {
  const biases = Object.entries(request.logit_bias ?? {}).map(([id, bias]): [number, number] => [Number(id), bias]);
  const fields = {
    temperature: request.temperature,
    topP: request.top_p,
    topK: request.top_k,
    repetitionPenalty: request.repetition_penalty,
    frequencyPenalty: request.frequency_penalty,
    presencePenalty: request.presence_penalty,
    logitBias: biases.length === 0 ? undefined : biases.sort(([a], [b]) => a - b),
  };
  const set = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined);
  return { ...(Object.fromEntries(set) as Partial<WorkDraft['sampling']>), seed };
}

export const stopsOf = (stop: Given<string | string[]>): string[] =>
  stop === null || stop === undefined ? [] : typeof stop === 'string' ? [stop] : stop;

interface FunctionAsked {
  readonly name: string;
  readonly description?: Given<string>;
  readonly parameters?: Given<Readonly<Record<string, unknown>>>;
  readonly strict?: Given<boolean>;
}

export interface ToolsAsked {
  readonly offered: readonly FunctionAsked[];
  readonly choice: ToolChoice | undefined;
  /** Of those offered, the only ones that may be called. */
  readonly allowed?: readonly string[];
  readonly parallel: Given<boolean>;
  /** How the endpoint calls the choice. */
  readonly param: string;
}

export interface AskedTools {
  readonly offered: { readonly tools?: Tool[] };
  readonly chosen: Pick<AnswerWork, 'toolChoice' | 'oneCall'>;
  /** Whether an answer may hold calls. */
  readonly mayCall: boolean;
}

/** Throws `invalid_request` for a choice of what is not offered, and for two tools of one name. */
export function toolsOf({ offered, choice, allowed, parallel, param }: ToolsAsked): AskedTools {
  const names = new Set(offered.map((tool) => tool.name));
  if (names.size < offered.length) throw refuse('tools', 'has two functions of the same name');
  const named = typeof choice === 'object' ? [choice.name] : (allowed ?? []);
  const stranger = named.find((name) => !names.has(name));
  if (stranger !== undefined) throw refuse(param, `names "${stranger}", which is not among "tools"`);
  if (offered.length === 0) {
    if (choice === 'required') throw refuse(param, 'is only allowed where "tools" has functions');
    return { offered: {}, chosen: {}, mayCall: false };
  }
  // The model is not shown what it may not call.
  const shown = allowed === undefined ? offered : offered.filter((tool) => allowed.includes(tool.name));
  return {
    offered: { tools: shown.map(toolOf) },
    chosen: {
      ...(choice === undefined ? {} : { toolChoice: choice }),
      ...(parallel === false ? { oneCall: true } : {}),
    },
    mayCall: choice !== 'none',
  };
}

function toolOf({ name, description, parameters, strict }: FunctionAsked): Tool {
  return {
    name,
    ...(description === null || description === undefined ? {} : { description }),
    ...(parameters === null || parameters === undefined ? {} : { parameters: schemaText(parameters, 'tools') }),
    ...(strict === true ? { strict: true } : {}),
  };
}

interface SchemaFormat {
  readonly type?: string;
  readonly schema?: Given<Readonly<Record<string, unknown>>>;
}

/** Throws `invalid_request` for a form together with tools that may be called: an answer is one or the other. */
export function formOf(format: Given<SchemaFormat>, tools: AskedTools, param: string): Pick<AnswerWork, 'form'> {
  if (format === null || format === undefined || format.type === 'text') return {};
  if (tools.mayCall)
    throw refuse(param, 'other than text is not supported together with "tools" that may be called; ask in two turns');
  const { schema } = format;
  if (format.type === 'json_object' || schema === null || schema === undefined) return { form: { kind: 'json' } };
  return { form: { kind: 'schema', schema: schemaText(schema, param) } };
}

/** Throws `invalid_request` for what is nested so deeply that writing it down would end in an overflow. */
function schemaText(schema: object, param: string): string {
  let level: readonly object[] = [schema];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth >= HUB_LIMITS.schemaDepthMax)
      throw refuse(param, `has a schema with more than ${HUB_LIMITS.schemaDepthMax} levels`);
    level = level.flatMap((each) => Object.values(each).filter((value) => typeof value === 'object' && value !== null));
  }
  return JSON.stringify(schema);
}

/** Throws `body_too_large` when everything that a device must read is more than one frame may hold. */
export function checkSize({ prompt, form }: WorkDraft): void {
  let bytes = form?.kind === 'schema' ? Buffer.byteLength(form.schema) : 0;
  if (prompt.kind === 'text') bytes += Buffer.byteLength(prompt.text);
  else {
    for (const { content, toolCalls = [] } of prompt.messages) {
      bytes += Buffer.byteLength(content);
      for (const call of toolCalls) bytes += Buffer.byteLength(call.name) + Buffer.byteLength(call.arguments);
    }
    for (const { name, description = '', parameters = '' } of prompt.tools ?? [])
      bytes += Buffer.byteLength(name) + Buffer.byteLength(description) + Buffer.byteLength(parameters);
  }
  if (bytes <= LIMITS.promptBytesMax) return;
  const what = prompt.kind === 'chat' && prompt.tools !== undefined ? 'the prompt with its tools' : 'the prompt';
  throw new IdlewildError(
    'body_too_large',
    `${what} of ${bytes} bytes is over the limit of ${LIMITS.promptBytesMax}; ask with less of it`,
  );
}

/** Throws `invalid_request` for a bias of a token that the model does not have. */
export function checkBiases({ sampling }: WorkDraft, vocabularyTokens: number): void {
  const last = sampling.logitBias?.at(-1)?.[0];
  if (last !== undefined && last >= vocabularyTokens)
    throw refuse('logit_bias', `names token ${last}; this model has ${vocabularyTokens}, counted from 0`);
}
