/** Asking an engine and reading what it says, in a test's words. */
import type { AnswerWork } from '@idlewild/protocol';
import type { EngineEvent } from '../core/port.ts';

/** A greedy-free request with everything that most tests leave alone. */
export const work = (over: Partial<AnswerWork> = {}): AnswerWork => ({
  prompt: { kind: 'text', text: 'Speak, good sir.' },
  sampling: { seed: 1 },
  choice: 0,
  stop: [],
  tokens: [],
  ...over,
});

export interface Collected {
  readonly events: EngineEvent[];
  /** Resolves at `finished` or `failed`. */
  readonly over: Promise<EngineEvent>;
  cancel(): void;
}

type Answering = { answer(work: AnswerWork, listen: (event: EngineEvent) => void): { cancel(): void } };

/** `onEvent` may cancel, or kill the engine. */
export function collect(
  engine: Answering,
  asked: AnswerWork,
  onEvent: (event: EngineEvent) => void = () => undefined,
): Collected {
  const events: EngineEvent[] = [];
  let cancel = (): void => undefined;
  const over = new Promise<EngineEvent>((resolve) => {
    const handle = engine.answer(asked, (event) => {
      events.push(event);
      onEvent(event);
      if (event.t === 'finished' || event.t === 'failed') resolve(event);
    });
    cancel = () => handle.cancel();
  });
  return { events, over, cancel: () => cancel() };
}

export const tokensOf = (events: readonly EngineEvent[]): number[] =>
  events.flatMap((event) => (event.t === 'token' ? [event.id] : []));

/** The whole text: what the tokens added, and what was held back until the end. */
export const textOf = (events: readonly EngineEvent[]): string =>
  events.map((event) => (event.t === 'token' || event.t === 'finished' ? event.s : '')).join('');
