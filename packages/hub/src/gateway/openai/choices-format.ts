/**
 * The shapes of /v1/chat/completions and /v1/completions, whole and as events.
 *
 * A token of plain text is written by hand: everything around the text is the same for each token of a choice and made
 * once, so that a stream costs one concatenation a token.
 */
import type { CallPart, IdlewildError, Logprobs } from '@idlewild/protocol';
import type { AnswerOutcome } from '../../answers/port.ts';
import { errorBody } from '../errors.ts';
import { callIdOf, type Choice } from './choice.ts';
import type { AnswerFormat, EventWriter } from './deliver.ts';
import { createCompletionLogprobs, createLogprobsAligner, tokenLogprob, type LogprobsAligner } from './logprobs.ts';
import { countTokens, noteOf, usageOf } from './notes.ts';

/** What the shapes of both endpoints are made of. */
export interface ChoicesContext {
  readonly kind: 'chat' | 'completion';
  /** Of the HTTP request. */
  readonly requestId: string;
  readonly model: string;
  readonly hub: string;
  readonly nowMs: number;
  readonly includeUsage: boolean;
  /** Choices for each prompt. */
  readonly n: number;
  readonly choices: number;
  readonly wantsLogprobs: boolean;
  /** An answer that may be calls alone has `null` content until text comes. */
  readonly mayCall: boolean;
  /** Text that is repeated before each choice, by index; empty texts where none is. */
  readonly echo: readonly string[];
}

interface Shape {
  readonly object: string;
  readonly chunkObject: string;
  readonly idPrefix: string;
  /** JSON of a choice before and after its text. */
  readonly before: (index: number) => string;
  readonly after: string;
  whole(choice: Choice, context: ChoicesContext): object;
  first(index: number, context: ChoicesContext): object | undefined;
  last(outcome: AnswerOutcome): object;
  piece(text: string): object;
}

const CHAT: Shape = {
  object: 'chat.completion',
  chunkObject: 'chat.completion.chunk',
  idPrefix: 'chatcmpl-',
  before: (index) => `{"index":${index},"delta":{"content":`,
  after: '},"logprobs":null,"finish_reason":null}',
  whole: ({ text, calls, logprobs }, { wantsLogprobs }) => ({
    message: {
      role: 'assistant',
      content: text === '' && calls.length > 0 ? null : text,
      refusal: null,
      ...(calls.length === 0
        ? {}
        : {
            tool_calls: calls.map(({ id, name, arguments: args }) => ({
              id,
              type: 'function',
              function: { name, arguments: args },
            })),
          }),
    },
    logprobs: wantsLogprobs ? { content: logprobs.map(tokenLogprob), refusal: null } : null,
  }),
  first: (index, { mayCall }) => ({
    index,
    delta: { role: 'assistant', content: mayCall ? null : '', refusal: null },
    logprobs: null,
    finish_reason: null,
  }),
  last: () => ({ delta: {} }),
  piece: (text) => ({ delta: { content: text } }),
};

const COMPLETION: Shape = {
  object: 'text_completion',
  chunkObject: 'text_completion',
  idPrefix: 'cmpl-',
  before: (index) => `{"index":${index},"text":`,
  after: ',"logprobs":null,"finish_reason":null}',
  whole: ({ index, text, logprobs }, { wantsLogprobs, echo }) => ({
    text: (echo[index] ?? '') + text,
    logprobs: wantsLogprobs ? createCompletionLogprobs()(logprobs) : null,
  }),
  first(index, { echo }) {
    const text = echo[index] ?? '';
    return text === '' ? undefined : { index, text, logprobs: null, finish_reason: null };
  },
  last: () => ({ text: '' }),
  piece: (text) => ({ text }),
};

export function createChoicesFormat(context: ChoicesContext): AnswerFormat {
  const shape = context.kind === 'chat' ? CHAT : COMPLETION;
  const head = {
    id: `${shape.idPrefix}${context.requestId}`,
    created: Math.floor(context.nowMs / 1000),
    model: context.model,
  };
  return {
    createEvents: () => createEvents(context, shape, { ...head, object: shape.chunkObject }),
    whole(choices) {
      const outcomes = choices.map((choice) => choice.outcome);
      return {
        ...head,
        object: shape.object,
        choices: choices.map((choice) => ({
          index: choice.index,
          ...shape.whole(choice, context),
          finish_reason: choice.outcome.finish,
        })),
        usage: usageOf(countTokens(outcomes, context.n)),
        idlewild: noteOf(outcomes, context.hub),
      };
    },
  };
}

const event = (body: object): string => `data: ${JSON.stringify(body)}\n\n`;

function createEvents(context: ChoicesContext, shape: Shape, head: object): EventWriter {
  const { includeUsage, wantsLogprobs, hub } = context;
  const usageNull = includeUsage ? { usage: null } : {};
  const opening = `data: ${JSON.stringify(head).slice(0, -1)},"choices":[`;
  const closing = `]${includeUsage ? ',"usage":null' : ''}}\n\n`;
  const after = shape.after + closing;
  const chunk = (choice: object, more: object = {}): string =>
    event({ ...head, choices: [choice], ...usageNull, ...more });
  const lines = Array.from({ length: context.choices }, (_, index) => ({
    before: opening + shape.before(index),
    probabilities: wantsLogprobs ? createProbabilities(context.kind) : undefined,
  }));

  function text(index: number, s: string, told: object | null): string {
    const line = lines[index];
    if (line === undefined) return '';
    if (told === null) return s === '' ? '' : line.before + JSON.stringify(s) + after;
    return chunk({ index, ...shape.piece(s), logprobs: told, finish_reason: null });
  }
  const callChunk = (index: number, part: CallPart): string => {
    const opens = part.name === undefined ? {} : { id: callIdOf(context.requestId, index, part.i), type: 'function' };
    const named = part.name === undefined ? {} : { name: part.name };
    const call = { index: part.i, ...opens, function: { ...named, arguments: part.s } };
    return chunk({ index, delta: { tool_calls: [call] }, logprobs: null, finish_reason: null });
  };
  const calls = (index: number, parts: readonly CallPart[] | undefined): string =>
    parts === undefined ? '' : parts.map((part) => callChunk(index, part)).join('');

  return {
    open: () =>
      lines
        .map((_, index) => shape.first(index, context))
        .map((first) => (first === undefined ? '' : chunk(first)))
        .join(''),
    token(index, s, parts, lp) {
      const probabilities = lines[index]?.probabilities;
      const told = probabilities === undefined || lp === undefined ? null : probabilities.push(lp, s);
      const said = text(index, s, told);
      return parts === undefined ? said : said + calls(index, parts);
    },
    finished(index, outcome) {
      const told = lines[index]?.probabilities?.rest(outcome.s) ?? null;
      const last = { index, ...shape.last(outcome), logprobs: null, finish_reason: outcome.finish };
      return (
        text(index, outcome.s, told) + calls(index, outcome.calls) + chunk(last, { idlewild: noteOf([outcome], hub) })
      );
    },
    done(outcomes) {
      if (!includeUsage) return 'data: [DONE]\n\n';
      const usage = usageOf(countTokens(outcomes, context.n));
      return `${event({ ...head, choices: [], usage, idlewild: noteOf(outcomes, hub) })}data: [DONE]\n\n`;
    },
    failed: (error: IdlewildError) => event(errorBody(error)),
  };
}

/** What is told of tokens with the text that they are of; `null` where there is nothing to tell. */
function createProbabilities(kind: ChoicesContext['kind']): {
  push(lp: Logprobs, shown: string): object | null;
  rest(shown: string): object | null;
} {
  const aligner: LogprobsAligner = createLogprobsAligner();
  const asCompletion = createCompletionLogprobs();
  const told = (list: readonly Logprobs[]): object | null => {
    if (list.length === 0) return null;
    return kind === 'chat' ? { content: list.map(tokenLogprob), refusal: null } : asCompletion(list);
  };
  return { push: (lp, shown) => told(aligner.push(lp, shown)), rest: (shown) => told(aligner.rest(shown)) };
}
