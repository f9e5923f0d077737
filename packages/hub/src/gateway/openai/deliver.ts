/**
 * Answers to one caller over HTTP: as a stream of server-sent events, one for each token and none merged (those
 * of one moment are written together), or as a whole. What the events and the whole look like is its endpoint's matter.
 *
 * Headers wait for a device's first event, so a refusal still becomes a proper status. A caller that hangs up, or does
 * not read, cancels all its answers. Under an Idempotency-Key events have ids, and all that is written is a function of
 * the run and of what devices said: whoever carries it out again writes the same.
 */
import { createHash } from 'node:crypto';
import type { CallPart, Clock, ErrorCode, Logprobs } from '@idlewild/protocol';
import { IdlewildError } from '@idlewild/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { AnswerOutcome, AnswerRequest, Answers, RunRef } from '../../answers/port.ts';
import type { AnswerReceipts } from '../../answers/receipts.ts';
import { HUB_LIMITS } from '../../limits.ts';
import { createPace } from '../../pace.ts';
import type { SlowReaders } from '../../slow-readers.ts';
import { createEventIds, type EventIds } from '../asking/event-ids.ts';
import { answerAll, type AnswersHandle } from './answer-all.ts';
import { createChoiceCollector, type Choice } from './choice.ts';
import type { ToldOutcome } from './notes.ts';

/** Server-sent events as text, ready to be written; an empty text is none. */
export interface EventWriter {
  /** What goes out with the headers. */
  open(): string;
  token(index: number, s: string, calls: readonly CallPart[] | undefined, lp: Logprobs | undefined): string;
  finished(index: number, outcome: ToldOutcome): string;
  done(outcomes: readonly AnswerOutcome[]): string;
  failed(error: IdlewildError): string;
}

/** What one endpoint makes of the answers to one request. */
export interface AnswerFormat {
  createEvents(): EventWriter;
  whole(choices: readonly Choice[]): object;
}

export interface Delivery {
  readonly clock: Clock;
  readonly answers: Pick<Answers, 'submit'>;
  /** One for each choice. */
  readonly orders: readonly AnswerRequest[];
  readonly format: AnswerFormat;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  /** Callers of streams, as far as they do not read. */
  readonly readers: SlowReaders;
  readonly receipts: AnswerReceipts;
}

/** That a machine wrote it, to whoever looks at headers alone (draft-abaris-aicdh). */
const AI_DISCLOSURE = { 'ai-disclosure': 'mode=ai-originated' } as const;

const SSE_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store, no-transform',
  // nginx and its like would otherwise collect tokens before passing them on.
  'x-accel-buffering': 'no',
  ...AI_DISCLOSURE,
} as const;

/** For requests that nobody comes back to. */
const NO_IDS: EventIds = {
  opened: (events) => events,
  token: (_choice, _index, events) => events,
  finished: (_choice, events) => events,
};

/** What says nothing about the answer, only about this replica. */
const GOES_ON: ReadonlySet<ErrorCode> = new Set(['run_taken_over', 'hub_stopping', 'database_unavailable']);

/** Whether it goes on, here or elsewhere, when its caller asks again; then it is left as it is. */
function isLeft({ run }: FastifyRequest, { code }: IdlewildError): boolean {
  if (run === undefined || !GOES_ON.has(code)) return false;
  run.leave();
  return true;
}

/** Each answer as a part of the request's run, where it has one. */
function ordersOf({ orders, request: { run } }: Delivery): readonly AnswerRequest[] {
  if (run === undefined) return orders;
  const { id, epoch, isResumed, heard } = run;
  const ofChoice = (choice: number): RunRef => ({ id, epoch, choice, isResumed, heard: heard[choice] ?? 0 });
  return orders.map((order, choice) => ({ ...order, run: ofChoice(choice) }));
}

/** Resolves when all answers are complete. Throws what a device refused. */
export async function answerWhole(delivery: Delivery): Promise<object> {
  const { answers, format, request, reply } = delivery;
  const orders = ordersOf(delivery);
  const collectors = orders.map((_, index) => createChoiceCollector(request.id, index));
  let handle: AnswersHandle | undefined;
  const onClose = (): void => handle?.cancel('the caller hung up');
  // Not the socket's: a request that is carried out apart from its connection has none.
  reply.raw.once('close', onClose);
  try {
    const outcomes = await new Promise<readonly AnswerOutcome[]>((resolve, reject) => {
      handle = answerAll(answers, orders, {
        started: () => {},
        token: (index, _i, s, calls, lp) => collectors[index]?.token(s, calls, lp),
        finished: () => {},
        done: resolve,
        failed(error) {
          isLeft(request, error);
          reject(error);
        },
      });
      if (reply.raw.destroyed) onClose();
    });
    const choices = await Promise.all(
      collectors.map(async (collector, index) => {
        const choice = collector.end(outcomes[index] as AnswerOutcome);
        const textDigest = createHash('sha256').update(choice.text).digest();
        return { ...choice, outcome: await told(delivery, choice, textDigest) };
      }),
    );
    reply.headers(AI_DISCLOSURE);
    return format.whole(choices);
  } finally {
    reply.raw.off('close', onClose);
  }
}

/** An outcome with the receipt of what went out. */
async function told(
  { receipts, orders, request }: Delivery,
  { index, outcome, calls }: Pick<Choice, 'index' | 'outcome' | 'calls'>,
  textDigest: Uint8Array,
): Promise<ToldOutcome> {
  const { model, text } = orders[index] as AnswerRequest;
  const { dataClass } = text;
  const atMs = request.run?.createdAtMs;
  const order = { request: request.id, choice: index, model, dataClass, atMs, outcome, textDigest, calls };
  return { ...outcome, receiptText: await receipts.issue(order) };
}

/** What was told of one choice of a stream, as far as its receipt needs it: text is hashed and not kept. */
function createTold(
  requestId: string,
  index: number,
): {
  add(s: string, calls: readonly CallPart[] | undefined): void;
  end(outcome: AnswerOutcome): { readonly choice: Choice; readonly textDigest: Uint8Array };
} {
  const hash = createHash('sha256');
  const collector = createChoiceCollector(requestId, index);
  return {
    add(s, calls) {
      if (s !== '') hash.update(s);
      if (calls !== undefined) collector.token('', calls, undefined);
    },
    end(outcome) {
      const choice = collector.end(outcome);
      return { choice, textDigest: hash.update(outcome.s).digest() };
    },
  };
}

/** Resolves when the stream has begun or ended; throws what happened before the headers were sent. */
export async function answerStream(delivery: Delivery): Promise<void> {
  const { answers, format, request, reply } = delivery;
  const orders = ordersOf(delivery);
  const { raw } = reply;
  const events = format.createEvents();
  const ids = request.run === undefined ? NO_IDS : createEventIds(request.id, orders.length);
  const choices = orders.map((_, index) => createTold(request.id, index));
  /** Ends of choices wait for their receipts, and the end of all for these. */
  let ending = Promise.resolve();
  let handle: AnswersHandle | undefined;
  let over = false;
  let waiting = '';
  const pace = createPace(delivery.clock, HUB_LIMITS.streamGapMs, () => {
    if (waiting !== '') raw.write(waiting);
    waiting = '';
  });
  const write = (text: string): void => {
    if (text === '') return;
    waiting += text;
    pace.ask();
  };
  const end = (text: string): void => {
    pace.stop();
    raw.end(waiting + text);
  };
  await new Promise<void>((resolve, reject) => {
    const begin = (): void => {
      if (raw.headersSent) return;
      reply.hijack();
      const given = reply.getHeaders() as Record<string, string>;
      raw.writeHead(200, { ...SSE_HEADERS, 'x-request-id': request.id, ...given });
      const opening = ids.opened(events.open());
      if (opening === '') raw.flushHeaders();
      else write(opening);
      resolve();
    };
    const reader = delivery.readers.open(() => raw.writableLength);
    raw.once('close', () => {
      reader.close();
      pace.stop();
      if (!over) handle?.cancel('the caller hung up');
      if (!raw.headersSent) reject(new IdlewildError('cancelled', 'the caller hung up'));
    });
    handle = answerAll(answers, orders, {
      started: begin,
      token(index, i, s, calls, lp) {
        choices[index]?.add(s, calls);
        write(ids.token(index, i, events.token(index, s, calls, lp)));
        if (reader.isTooMuch()) {
          over = true;
          handle?.cancel('the caller does not read its stream');
          raw.destroy();
        }
      },
      finished(index, outcome) {
        begin();
        const { choice, textDigest } = (choices[index] as (typeof choices)[number]).end(outcome);
        ending = ending.then(async () => {
          const whole = await told(delivery, { index, outcome, calls: choice.calls }, textDigest);
          if (!over) write(ids.finished(index, events.finished(index, whole)));
        });
      },
      done(outcomes) {
        void ending.then(() => {
          over = true;
          end(events.done(outcomes));
        });
      },
      failed(error) {
        over = true;
        const hasLeft = isLeft(request, error);
        if (!raw.headersSent) return reject(error);
        // Who hears of an end does not come back.
        if (hasLeft) return raw.destroy();
        end(events.failed(error));
      },
    });
    if (raw.destroyed) handle.cancel('the caller hung up');
  });
}
