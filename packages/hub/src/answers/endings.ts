/**
 * How an answer ends: what its caller hears, and that it is in the books.
 *
 * Both at once, but for an answer of a run: what a run's caller hears as done is done in the books, on every replica,
 * and so it waits for them, though not for ever. Another owner may have the answer by then; then it ends there.
 */
import { IdlewildError, type Clock, type ErrorCode } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import { atMost } from './at-most.ts';
import type { Attempts } from './attempts.ts';
import { createBooks, type BooksDeps } from './books.ts';
import type { Journal } from './journal/journal.ts';
import type { Attempt, Effect } from './machine.ts';
import type { OpenAnswer } from './open-answer.ts';
import type { AnswerOutcome } from './port.ts';
import { takenOverError } from './refusals.ts';
import { summaryOf } from './take-up.ts';

export interface Endings {
  /** Its last attempt is whole. */
  finish(answer: OpenAnswer, attempt: Attempt, effect: Extract<Effect, { t: 'finished' }>): void;
  /** It came to nothing, or was cancelled. */
  fail(answer: OpenAnswer, code: ErrorCode, message: string): void;
  /** Another owner has the request. */
  takenOver(request: string): void;
}

export interface EndingsDeps extends BooksDeps {
  readonly clock: Clock;
  readonly journal: Pick<Journal, 'fact' | 'close'>;
  readonly attempts: Pick<Attempts, 'release'>;
  readonly log: Log;
}

export function createEndings(deps: EndingsDeps): Endings {
  const { clock, journal, attempts, log } = deps;
  const books = createBooks(deps);
  /** Answers of runs that are finished and not yet in the books. */
  const settling = new Map<string, 'own' | 'lost'>();

  return {
    finish(answer, attempt, { finish, s, calls, receipt }) {
      const { state, sink } = answer;
      const device = attempts.release(attempt);
      const outcome: AnswerOutcome = {
        ...summaryOf(state, answer.names),
        numericClass: attempt.numericClass,
        finish,
        s,
        calls,
        promptTokens: state.promptTokens ?? 0,
        cachedTokens: state.cachedTokens,
        answerTokens: state.tokens.length,
        receipt,
      };
      journal.fact(state.request, { t: 'finished', finish, s, calls });
      const settled = books.done(answer, attempt, device, receipt);
      const tell = (): void => {
        const isLost = settling.get(state.request) === 'lost';
        settling.delete(state.request);
        if (answer.silenced) return;
        if (isLost) sink.failed(takenOverError());
        else sink.finished(outcome);
      };
      if (answer.request.run === undefined) return tell();
      settling.set(state.request, 'own');
      void atMost(settled, HUB_LIMITS.settleMsMax, clock).then(tell);
      return undefined;
    },
    fail(answer, code, message) {
      const { state, sink } = answer;
      books.ended(answer, code);
      log.info({ request: state.request, code, tokens: state.tokens.length }, 'answer ended early');
      const details = code === 'too_busy' ? { retryAfterSeconds: 5 } : {};
      if (!answer.silenced) sink.failed(new IdlewildError(code, message, { details }));
    },
    takenOver(request) {
      if (settling.has(request)) settling.set(request, 'lost');
    },
  };
}
