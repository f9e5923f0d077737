/**
 * A sink that can be held shut: what is told meanwhile is told, in order, once it opens.
 *
 * An attempt at a run's answer is written down before its caller hears of it. So whoever takes the run over knows of
 * which numeric class the tokens are that the caller may have beyond the journal.
 */
import type { AnswerSink } from './port.ts';

export interface Gate extends AnswerSink {
  /** Shut until the promise is settled, however. */
  hold(until: Promise<void>): void;
}

export function createGate(sink: AnswerSink): Gate {
  const waiting: (() => void)[] = [];
  let held = 0;
  const pass = (tell: () => void): void => {
    if (held === 0) tell();
    else waiting.push(tell);
  };
  const release = (): void => {
    held--;
    while (held === 0 && waiting.length > 0) waiting.shift()?.();
  };
  return {
    hold(until) {
      held++;
      until.then(release, release);
    },
    started: (promptTokens) => pass(() => sink.started(promptTokens)),
    token: (...token) => pass(() => sink.token(...token)),
    finished: (outcome) => pass(() => sink.finished(outcome)),
    // What was held back is not needed by anybody any more.
    failed(error) {
      waiting.length = 0;
      sink.failed(error);
    },
  };
}
