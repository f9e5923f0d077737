/**
 * Several answers to one request, as one: they are submitted together, and if one fails all do.
 *
 * After `done` or `failed` nothing follows, whatever the answers do. A request of one answer goes the same way.
 */
import type { CallPart, IdlewildError, Logprobs } from '@idlewild/protocol';
import { asIdlewildError } from '@idlewild/protocol';
import type { AnswerHandle, AnswerOutcome, AnswerRequest, Answers, AnswerSink } from '../../answers/port.ts';
import { HUB_LIMITS } from '../../limits.ts';

export interface AnswersSink {
  /** A device began with answer `index`. */
  started(index: number): void;
  /** Token `i` of answer `index`. */
  token(index: number, i: number, s: string, calls: readonly CallPart[] | undefined, lp: Logprobs | undefined): void;
  finished(index: number, outcome: AnswerOutcome): void;
  /** All have finished; one outcome for each, in the order of the requests. */
  done(outcomes: readonly AnswerOutcome[]): void;
  failed(error: IdlewildError): void;
}

export interface AnswersHandle {
  cancel(why: string): void;
}

export function answerAll(
  answers: Pick<Answers, 'submit'>,
  requests: readonly AnswerRequest[],
  sink: AnswersSink,
): AnswersHandle {
  const handles: AnswerHandle[] = [];
  const outcomes = new Map<number, AnswerOutcome>();
  let over: string | undefined;

  function end(why: string): void {
    over = why;
    for (const handle of handles) handle.cancel(why);
  }
  function fail(error: IdlewildError): void {
    if (over !== undefined) return;
    end('another answer to the same request failed');
    sink.failed(error);
  }
  const sinkOf = (index: number): AnswerSink => ({
    started() {
      if (over === undefined) sink.started(index);
    },
    token(i, _id, s, calls, lp) {
      if (over === undefined) sink.token(index, i, s, calls, lp);
    },
    finished(outcome) {
      if (over !== undefined) return;
      outcomes.set(index, outcome);
      sink.finished(index, outcome);
      if (outcomes.size < requests.length) return;
      over = 'all are finished';
      sink.done(requests.map((_, i) => outcomes.get(i) as AnswerOutcome));
    },
    failed: fail,
  });

  requests.forEach((request, index) => {
    // The first stands for all: that the others wait behind it is no sign of a hub that is too busy.
    const order = index === 0 ? request : { ...request, queueMs: HUB_LIMITS.answerMsMax };
    answers.submit(order, sinkOf(index)).then(
      (handle) => {
        if (over === undefined) handles.push(handle);
        else handle.cancel(over);
      },
      (error: unknown) => fail(asIdlewildError(error, 'submitting an answer')),
    );
  });
  return { cancel: end };
}
