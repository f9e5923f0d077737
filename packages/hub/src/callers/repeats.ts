/**
 * A request that comes again under the same Idempotency-Key: it joins the one that runs, or gets its answer again.
 *
 *   nobody asked ──► running ──► whole, kept for a while (`kept-answers.ts`) ──► forgotten
 *                       └──────► failed or refused: forgotten at once, so that a retry tries anew
 *
 * An answer is recorded as it goes out, as bytes, and everybody who listens gets it from its first byte. It runs on
 * without listeners for `repeatGraceMs`, because its caller may come again, and is then cancelled. It knows nothing of
 * what is asked and answered but whether an event stream ended with an error.
 */
import {
  IdlewildError,
  asIdlewildError,
  concat,
  equalBytes,
  fromUtf8,
  messageOf,
  type Clock,
  type Timer,
} from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { KeptAnswers, KeptName } from './kept-answers.ts';

export interface Head {
  readonly status: number;
  /** Lower case names. */
  readonly headers: Readonly<Record<string, string>>;
}

/** An answer that is being made. Aborting the signal that `start` was given ends it. */
export interface Started {
  readonly head: Head;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface Recording {
  /** Rejects when it broke off before there was one. */
  readonly head: Promise<Head>;
  /** From the first byte; only ever added to. */
  readonly chunks: readonly Uint8Array[];
  state(): 'running' | 'whole' | 'broken';
  /** Calls `onChange` after each addition and at the end; call the result to stop listening. */
  listen(onChange: () => void): () => void;
}

export interface RepeatOrder extends KeptName {
  /** All that makes the answer what it is: the same Idempotency-Key with another is a conflict. */
  readonly asked: Uint8Array;
  readonly start: (signal: AbortSignal) => Promise<Started>;
}

export interface Repeats {
  /** `isFirst` when this call started it. Throws `idempotency_conflict`. */
  open(order: RepeatOrder): Promise<{ readonly recording: Recording; readonly isFirst: boolean }>;
  /** Waits for what is being written; cancels what nobody listens to. */
  stop(): Promise<void>;
}

export interface RepeatsDeps {
  readonly kept: KeptAnswers;
  readonly clock: Clock;
  readonly log: Log;
}

interface Running extends Recording {
  readonly fingerprint: Uint8Array;
  run(order: RepeatOrder): Promise<void>;
  answer(): { readonly head: Head; readonly body: Uint8Array } | undefined;
  abort(): void;
}

export function createRepeats({ kept, clock, log }: RepeatsDeps): Repeats {
  const live = new Map<string, Running>();
  const writing = new Set<Promise<void>>();

  /** A whole answer stays live until it is committed, so there is no moment in which it is nowhere. */
  async function carry(order: RepeatOrder, id: string, recording: Running): Promise<void> {
    await recording.run(order);
    const answer = recording.answer();
    try {
      if (answer !== undefined) {
        const { head, body } = answer;
        await kept.put(order, id, { fingerprint: recording.fingerprint, ...head, body });
      }
    } catch (error) {
      log.warn({ why: messageOf(error) }, 'an answer could not be kept; asked again it is made anew');
    } finally {
      live.delete(id);
    }
  }

  const agreed = <Thing extends { readonly fingerprint: Uint8Array }>(found: Thing, fingerprint: Uint8Array): Thing => {
    if (equalBytes(found.fingerprint, fingerprint)) return found;
    const message = 'this Idempotency-Key was used for another request already; take a new one for each request';
    throw new IdlewildError('idempotency_conflict', message, { details: { param: 'Idempotency-Key' } });
  };

  return {
    async open(order) {
      const id = await kept.idOf(order);
      const fingerprint = await kept.fingerprintOf(order.asked);
      const known = live.get(id) ?? (await kept.get(order.territory, id));
      // Another may have come first while this one read.
      const running = live.get(id);
      if (running !== undefined) return { recording: agreed(running, fingerprint), isFirst: false };
      if (known !== undefined && 'body' in known)
        return { recording: replayOf(agreed(known, fingerprint)), isFirst: false };
      const recording = createRecording(fingerprint, clock);
      live.set(id, recording);
      const carried = carry(order, id, recording).finally(() => writing.delete(carried));
      writing.add(carried);
      return { recording, isFirst: true };
    },
    async stop() {
      for (const recording of live.values()) recording.abort();
      await Promise.all(writing);
    },
  };
}

function createRecording(fingerprint: Uint8Array, clock: Clock): Running {
  const chunks: Uint8Array[] = [];
  const listeners = new Set<() => void>();
  const abort = new AbortController();
  const headed = Promise.withResolvers<Head>();
  headed.promise.catch(() => {});
  let state: 'running' | 'whole' | 'broken' = 'running';
  let head: Head | undefined;
  let bytes = 0;
  let grace: Timer | undefined;
  const tell = (): void => {
    for (const onChange of [...listeners]) onChange();
  };
  const add = (chunk: Uint8Array): void => {
    bytes += chunk.length;
    if (bytes > HUB_LIMITS.recordedBytesMax) {
      abort.abort();
      const most = `${HUB_LIMITS.recordedBytesMax} bytes`;
      throw new IdlewildError('body_too_large', `an answer under an Idempotency-Key may have ${most} at most`);
    }
    chunks.push(chunk);
    tell();
  };
  return {
    fingerprint,
    chunks,
    head: headed.promise,
    state: () => state,
    listen(onChange) {
      grace?.cancel();
      listeners.add(onChange);
      return () => {
        if (!listeners.delete(onChange) || listeners.size > 0 || state !== 'running') return;
        grace = clock.after(HUB_LIMITS.repeatGraceMs, () => abort.abort());
      };
    },
    async run({ start }) {
      try {
        const started = await start(abort.signal);
        head = started.head;
        headed.resolve(head);
        for await (const chunk of started.body) add(chunk);
        state = 'whole';
      } catch (error) {
        state = 'broken';
        headed.reject(asIdlewildError(error, 'answering'));
      }
      grace?.cancel();
      tell();
    },
    answer() {
      if (state !== 'whole' || head === undefined || bytes > HUB_LIMITS.keptBytesMax) return undefined;
      const isGood = head.status >= 200 && head.status < 300 && !(isEventStream(head) && endsInError(chunks));
      return isGood ? { head, body: concat(chunks) } : undefined;
    },
    abort: () => abort.abort(),
  };
}

const replayOf = ({ status, headers, body }: Head & { readonly body: Uint8Array }): Recording => ({
  head: Promise.resolve({ status, headers }),
  chunks: [body],
  state: () => 'whole',
  listen: () => () => {},
});

const isEventStream = (head: Head): boolean =>
  (head.headers['content-type'] ?? '').toLowerCase().startsWith('text/event-stream');

/** Enough for the last event of every endpoint; a longer one carries a whole answer, and that is no error. */
const TAIL_CHUNKS = 4;

/**
 * Whether an event stream's last event tells of a failure: an object with `error`, as chat and completions have it, or
 * an event of type `error` or `response.failed`, as responses have it.
 */
export function endsInError(chunks: readonly Uint8Array[]): boolean {
  try {
    const events = fromUtf8(concat(chunks.slice(-TAIL_CHUNKS)))
      .split('\n\n')
      .map((event) => /^data: (.*)$/m.exec(event)?.[1])
      .filter((text) => text !== undefined && text !== '[DONE]');
    const last = JSON.parse(events.at(-1) ?? 'null') as { error?: unknown; type?: unknown } | null;
    if (last === null) return true;
    return (last.error ?? null) !== null || last.type === 'error' || last.type === 'response.failed';
  } catch {
    return true; // Cut in the middle of an event: nobody can make use of it.
  }
}
