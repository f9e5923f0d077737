/**
 * Answers in turn: one run for each, round and round, so that none waits for more than one run of each of the others.
 *
 * Prompts are read in chunks whose size follows what runs take, so that none is longer than `LIMITS.runMsMax`, or than
 * two steps of decoding where these take longer. Decoding is paced to the tokens per second that the lender allows,
 * over all answers together.
 */
import { IdlewildError, asIdlewildError, codeOf, createSampler, type AnswerWork, type Clock } from '@idlewild/protocol';
import { createChunkSize, type RunCost } from './chunk-size.ts';
import type { Decoder } from './decoder.ts';
import { LIMITS } from './limits.ts';
import type { EngineEvent } from './port.ts';
import { createSequence, type Sequence } from './sequence.ts';
import type { ModelSettings } from './settings.ts';

export interface DecodeLoopOptions {
  readonly decoder: Decoder;
  readonly settings: ModelSettings;
  readonly contextTokens: number;
  readonly vocabulary?: number | undefined;
  readonly slotsMax: number;
  readonly tokensPerSecondMax?: number | undefined;
  /** As measured at loading. */
  readonly runCost?: RunCost | undefined;
  readonly clock: Clock;
}

export interface DecodeLoop {
  /** Events come as the port says. Nothing is thrown: a request that cannot be answered is a `failed` event. */
  answer(work: AnswerWork, listen: (event: EngineEvent) => void): { cancel(): void };
}

interface Waiting {
  readonly work: AnswerWork;
  readonly listen: (event: EngineEvent) => void;
  cancelled: boolean;
  sequence: Sequence | undefined;
}

export function createDecodeLoop(options: DecodeLoopOptions): DecodeLoop {
  const { decoder, settings, clock } = options;
  const waiting: Waiting[] = [];
  const active: Sequence[] = [];
  const chunks = createChunkSize(options.runCost);
  const pace = createPace(options.tokensPerSecondMax, clock);
  const sequenceOptions = {
    settings,
    clock,
    contextTokens: options.contextTokens,
    vocabulary: options.vocabulary,
    emptyCache: decoder.empty,
    sampler: createSampler(),
  };
  let running = false;
  let wake = (): void => undefined;

  function admit(): void {
    while (active.length < options.slotsMax && waiting.length > 0) {
      const next = waiting.shift() as Waiting;
      if (next.cancelled) continue;
      try {
        next.sequence = createSequence(next.work, (event) => next.cancelled || next.listen(event), sequenceOptions);
        // Its first event may have made the listener cancel it.
        if (!next.sequence.isOver && !next.cancelled) active.push(next.sequence);
      } catch (error) {
        const { code, message } = asEngineError(error, 'reading the request');
        next.listen({ t: 'failed', code, message });
      }
    }
  }

  /** One run of one answer. */
  async function step(sequence: Sequence): Promise<void> {
    const rows = sequence.next(chunks.rows(active.length > 0));
    try {
      const before = clock.monotonic();
      const { cache, logits } = await decoder.run(sequence.cache, rows.ids, rows.keep, rows.logitsRow);
      chunks.note(rows.ids.length, clock.monotonic() - before);
      if (sequence.isOver) return;
      sequence.cache = cache;
      sequence.advance(rows, logits);
    } catch (error) {
      sequence.fail(asEngineError(error, 'running the model'));
    }
  }

  /** The next answer in turn that may run now: reading a prompt always may, making a token when the pace allows. */
  function takeTurn(): Sequence | undefined {
    const mayDecode = pace.waitMs() <= 0;
    const index = active.findIndex((sequence) => mayDecode || !sequence.isDecoding);
    return index < 0 ? undefined : active.splice(index, 1)[0];
  }

  async function run(): Promise<void> {
    // Begins after `answer` has returned: a listener may need the handle that it returns.
    await Promise.resolve();
    for (;;) {
      for (let i = active.length - 1; i >= 0; i--) if (active[i]?.isOver === true) active.splice(i, 1);
      admit();
      if (active.length === 0) break;
      const sequence = takeTurn();
      if (sequence === undefined) {
        await pause(pace.waitMs());
        continue;
      }
      if (sequence.isDecoding) pace.count();
      await step(sequence);
      if (!sequence.isOver) active.push(sequence);
    }
    running = false;
  }

  /** Waits, but not when another answer comes. */
  async function pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = clock.after(ms, resolve);
      wake = () => {
        timer.cancel();
        resolve();
      };
    });
    wake = () => undefined;
  }

  return {
    answer(work, listen) {
      const entry: Waiting = { work, listen, cancelled: false, sequence: undefined };
      if (waiting.length >= LIMITS.waitingMax) {
        queueMicrotask(
          () =>
            entry.cancelled ||
            listen({
              t: 'failed',
              code: 'device_full',
              message: `${waiting.length} answers wait for this engine already`,
            }),
        );
      } else {
        waiting.push(entry);
        wake();
        if (!running) {
          running = true;
          void run();
        }
      }
      return {
        cancel() {
          entry.cancelled = true;
          entry.sequence?.cancel();
        },
      };
    },
  };
}

/** What is not ours is the runtime's: the attempt failed, and another device may succeed. */
function asEngineError(thrown: unknown, attempted: string): IdlewildError {
  if (codeOf(thrown) !== undefined) return asIdlewildError(thrown, attempted);
  const message = (thrown as Error).message.slice(0, LIMITS.messageCharactersMax);
  return new IdlewildError('engine_failed', `${attempted}: ${message}`, { cause: thrown });
}

interface Pace {
  /** Until one more token may be made; 0 or less when it may be now. */
  waitMs(): number;
  count(): void;
}

function createPace(tokensPerSecondMax: number | undefined, clock: Clock): Pace {
  if (tokensPerSecondMax === undefined) return { waitMs: () => 0, count: () => undefined };
  let freeMs = 0;
  return {
    waitMs: () => freeMs - clock.monotonic(),
    count() {
      freeMs = Math.max(freeMs, clock.monotonic()) + 1_000 / tokensPerSecondMax;
    },
  };
}
