/**
 * One answer to one caller over HTTP: as a stream of server-sent events, one for each token and none merged, or as a
 * whole.
 *
 * Headers wait for the device's first event, so a refusal still becomes a proper status. A caller that hangs up, or
 * does not read, cancels its answer.
 */
import type { ServerResponse } from 'node:http';
import { IdlewildError } from '@idlewild/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { AnswerHandle, AnswerOutcome, AnswerRequest, AnswerSink, Answers } from '../answers/answers.ts';
import { HUB_LIMITS } from '../limits.ts';
import { errorBody } from './errors.ts';
import { noteOf, usageOf, type Shape } from './openai.ts';

export interface StreamContext {
  readonly answers: Answers;
  readonly hub: string;
  readonly nowMs: number;
  readonly id: string;
  readonly model: string;
  readonly shape: Shape;
  readonly includeUsage: boolean;
}

const SSE_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  // nginx and its like would otherwise collect tokens before passing them on.
  'x-accel-buffering': 'no',
} as const;

/** Resolves when the answer is complete. Throws what a device refused before its first event. */
export async function answerWhole(
  context: StreamContext,
  request: AnswerRequest,
  from: FastifyRequest,
): Promise<object> {
  const { shape } = context;
  let text = '';
  let handle: AnswerHandle | undefined;
  let gone = false;
  const onClose = (): void => {
    gone = true;
    handle?.cancel('the caller hung up');
  };
  from.raw.socket.once('close', onClose);
  try {
    const outcome = await new Promise<AnswerOutcome>((resolve, reject) => {
      const sink: AnswerSink = {
        started: () => {},
        token: (_i, _id, s) => {
          text += s;
        },
        finished: resolve,
        failed: reject,
      };
      context.answers.submit(request, sink).then((submitted) => {
        handle = submitted;
        if (gone) onClose();
      }, reject);
    });
    return {
      id: context.id,
      object: shape.object,
      created: Math.floor(context.nowMs / 1000),
      model: context.model,
      choices: [shape.whole(text + outcome.s, outcome.finish)],
      usage: usageOf(outcome.promptTokens, outcome.answerTokens),
      idlewild: noteOf(outcome, context.hub),
    };
  } finally {
    from.raw.socket.off('close', onClose);
  }
}

/** Resolves when the stream has been handed over or ended; throws what happened before the headers were sent. */
export async function answerStream(context: StreamContext, request: AnswerRequest, reply: FastifyReply): Promise<void> {
  const raw = reply.raw;
  const write = createWriter(context, raw);
  let handle: AnswerHandle | undefined;
  let gone = false;
  let over = false;
  const hangUp = (): void => {
    gone = true;
    if (!over) handle?.cancel('the caller hung up');
  };
  raw.once('close', hangUp);
  await new Promise<void>((resolve, reject) => {
    const begin = (): void => {
      if (raw.headersSent) return;
      reply.hijack();
      raw.writeHead(200, { ...SSE_HEADERS, ...(reply.getHeaders() as Record<string, string>) });
      write.first();
      resolve();
    };
    const sink: AnswerSink = {
      started: begin,
      token(_i, _id, s) {
        if (s !== '') write.piece(s);
        if (raw.writableLength > HUB_LIMITS.callerBufferedBytesMax) {
          over = true;
          handle?.cancel('the caller does not read its stream');
          raw.destroy();
        }
      },
      finished(outcome) {
        over = true;
        begin();
        write.end(outcome);
      },
      failed(error) {
        over = true;
        if (!raw.headersSent) return reject(error);
        write.fail(error);
      },
    };
    context.answers.submit(request, sink).then((submitted) => {
      handle = submitted;
      if (gone) hangUp();
    }, reject);
    raw.once('close', () => {
      if (!raw.headersSent) reject(new IdlewildError('cancelled', 'the caller hung up'));
    });
  });
}

function createWriter(
  context: StreamContext,
  raw: ServerResponse,
): { first(): void; piece(text: string): void; end(outcome: AnswerOutcome): void; fail(error: IdlewildError): void } {
  const { shape, includeUsage } = context;
  const head = {
    id: context.id,
    object: shape.chunkObject,
    created: Math.floor(context.nowMs / 1000),
    model: context.model,
  };
  const usageNull = includeUsage ? { usage: null } : {};
  // Everything but the text is the same for each token of an answer.
  const before = `data: ${JSON.stringify(head).slice(0, -1)},"choices":[`;
  const after = `]${includeUsage ? ',"usage":null' : ''}}\n\n`;
  const event = (body: object): string => `data: ${JSON.stringify(body)}\n\n`;
  return {
    first() {
      const first = shape.first();
      if (first === undefined) raw.flushHeaders();
      else raw.write(event({ ...head, choices: [first], ...usageNull }));
    },
    piece(text) {
      raw.write(before + shape.piece(text) + after);
    },
    end(outcome) {
      const note = noteOf(outcome, context.hub);
      let tail = outcome.s === '' ? '' : before + shape.piece(outcome.s) + after;
      tail += event({ ...head, choices: [shape.last(outcome.finish)], ...usageNull, idlewild: note });
      if (includeUsage)
        tail += event({
          ...head,
          choices: [],
          usage: usageOf(outcome.promptTokens, outcome.answerTokens),
          idlewild: note,
        });
      raw.end(`${tail}data: [DONE]\n\n`);
    },
    fail(error) {
      raw.end(event(errorBody(error)));
    },
  };
}
