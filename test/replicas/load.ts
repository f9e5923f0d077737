/**
 * Callers who never rest: so many streams at once, each followed by the next question, until the load is stopped and
 * the last answers have come. Each question is asked once in a run, under an Idempotency-Key of its own.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { ask, PATIENCE_MS, type Door, type Heard } from './caller.ts';

export interface LoadOptions {
  readonly door: Door;
  readonly model: string;
  readonly streams: number;
  readonly tokensMax: number;
  /** Of the streams, how many resume; the others have neither key nor second try. All, unless told. */
  readonly resuming?: number;
  /** Names the questions: two loads of one name ask the same. */
  readonly name: string;
}

export interface Load {
  /** Answers that ended so far. */
  readonly heard: readonly Heard[];
  /** Streams that wait for their next token now, and how long the one that waits longest has. */
  open(): number;
  /** No more questions; resolves with all answers. */
  stop(): Promise<readonly Heard[]>;
}

/** All begin within this time, and not in one moment. */
const SPREAD_MS = 500;

export function startLoad(options: LoadOptions): Load {
  const { door, model, streams, tokensMax, resuming = streams, name } = options;
  const heard: Heard[] = [];
  const late = new AbortController();
  let isOver = false;
  let open = 0;
  const run = async (stream: number): Promise<void> => {
    const resumes = stream < resuming;
    await pause((stream * SPREAD_MS) / streams);
    for (let number = 0; !isOver; number++) {
      const label = `${name}-${stream}-${number}`;
      const question = { model, prompt: `Question ${label}.`, seed: number, tokensMax, resumes };
      open++;
      heard.push(await ask(door, resumes ? { ...question, idempotencyKey: label } : question, late.signal));
      open--;
    }
  };
  const running = Promise.all(Array.from({ length: streams }, (_, stream) => run(stream)));
  running.catch(() => undefined /* told by `stop` */);
  return {
    heard,
    open: () => open,
    async stop() {
      isOver = true;
      const timer = setTimeout(() => late.abort(), PATIENCE_MS);
      await running;
      clearTimeout(timer);
      return heard;
    },
  };
}
