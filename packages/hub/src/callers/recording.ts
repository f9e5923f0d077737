/**
 * The response to one run, recorded as it goes out: everybody who listens gets it from its first byte, at their pace.
 *
 *   running ──► whole
 *      └──────► broken: it failed, nobody listened for `repeatGraceMs`, or it is another replica's by now
 *
 * It knows nothing of what is asked and answered but whether an event stream ended with an error.
 */
import { IdlewildError, asIdlewildError, concat, fromUtf8, type Clock, type Timer } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Run } from './runs.ts';

export interface Head {
  readonly status: number;
  /** Lower case names. */
  readonly headers: Readonly<Record<string, string>>;
}

/** A response that is being made. */
export interface Started {
  readonly head: Head;
  readonly body: AsyncIterable<Uint8Array>;
}

/** Between who makes a response and who has it made. */
export interface Making {
  /** Once it is aborted nobody wants the response. */
  readonly signal: AbortSignal;
  /** Says that what is told is no end: another replica goes on with the run, or will when it is asked. */
  leave(): void;
}

/** One who listens. */
export interface Reader {
  /** What comes next, `undefined` at the end. Rejects when it broke off. */
  next(): Promise<Uint8Array | undefined>;
  close(): void;
}

export interface Recording {
  /** The run's; `undefined` for one that was kept by a hub which did not tell. */
  readonly requestId: string | undefined;
  /** Rejects when it broke off before there was one. */
  readonly head: Promise<Head>;
  /** From the first byte. */
  read(): Reader;
}

export type RecordingState = 'running' | 'whole' | 'broken';

/** One that is made in this process. */
export interface LiveRecording extends Recording {
  readonly run: Run;
  /** SHA-256 of what was asked. */
  readonly fingerprint: Uint8Array;
  state(): RecordingState;
  /** Whether the run is somebody else's to end. */
  isLeft(): boolean;
  /** Resolves when it is over. */
  make(start: (making: Making) => Promise<Started>): Promise<void>;
  /** What is worth keeping of it. */
  answer(): { readonly head: Head; readonly body: Uint8Array } | undefined;
  /** Breaks it off, and what makes it. */
  abort(): void;
  /** Breaks it off for who listens: another has the run, and may have taken over what makes it, too. */
  fence(): void;
  /** What there is from byte `from` on, at most `bytesMax`; and the head, once it is there. */
  look(from: number, bytesMax: number): { readonly head: Head | undefined; readonly bytes: Uint8Array };
  /** Resolves at the next change. */
  changed(): Promise<void>;
  /** Counts as a listener until the result is called. */
  hold(): () => void;
}

/** At once to one who comes late: what its socket takes in a few writes. */
const READ_BYTES = 65_536;

const brokeOff = (): IdlewildError => new IdlewildError('disconnected', 'the answer broke off');

export function createRecording(run: Run, fingerprint: Uint8Array, clock: Clock): LiveRecording {
  const chunks: Uint8Array[] = [];
  /** Where each chunk begins. */
  const starts: number[] = [];
  const abort = new AbortController();
  const headed = Promise.withResolvers<Head>();
  headed.promise.catch(() => {});
  const waiting = new Set<() => void>();
  let state: RecordingState = 'running';
  let isLeft = false;
  let head: Head | undefined;
  let size = 0;
  let holders = 0;
  let grace: Timer | undefined;

  const tell = (): void => {
    const woken = [...waiting];
    waiting.clear();
    for (const wake of woken) wake();
  };
  const breakOff = (error: unknown): void => {
    state = 'broken';
    headed.reject(asIdlewildError(error, 'answering'));
    tell();
  };
  const add = (chunk: Uint8Array): void => {
    if (state !== 'running') return;
    if (size + chunk.length > HUB_LIMITS.recordedBytesMax) {
      abort.abort();
      const most = `${HUB_LIMITS.recordedBytesMax} bytes`;
      throw new IdlewildError('body_too_large', `an answer under an Idempotency-Key may have ${most} at most`);
    }
    if (chunk.length === 0) return;
    // Of a stream it is a Buffer, which does not pass everywhere for what it is.
    chunks.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    starts.push(size);
    size += chunk.length;
    tell();
  };
  /** Of the chunk that holds byte `at`. */
  function placeOf(at: number): number {
    let [low, high] = [0, starts.length];
    while (low + 1 < high) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] as number) <= at) low = middle;
      else high = middle;
    }
    return low;
  }
  function look(from: number, bytesMax: number): Uint8Array {
    if (from >= size) return new Uint8Array(0);
    const parts: Uint8Array[] = [];
    let left = bytesMax;
    for (let place = placeOf(from); place < chunks.length && left > 0; place++) {
      const skipped = Math.max(0, from - (starts[place] as number));
      const part = (chunks[place] as Uint8Array).subarray(skipped, skipped + left);
      parts.push(part);
      left -= part.length;
    }
    return parts.length === 1 ? (parts[0] as Uint8Array) : concat(parts);
  }
  function hold(): () => void {
    grace?.cancel();
    holders++;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      holders--;
      if (holders === 0 && state === 'running') grace = clock.after(HUB_LIMITS.repeatGraceMs, () => abort.abort());
    };
  }

  return {
    run,
    requestId: run.requestId,
    fingerprint,
    head: headed.promise,
    state: () => state,
    hold,
    changed: () => new Promise((resolve) => waiting.add(resolve)),
    look: (from, bytesMax) => ({ head, bytes: look(from, bytesMax) }),
    read() {
      const leave = hold();
      let isClosed = false;
      let wake = (): void => {};
      let at = 0;
      return {
        async next() {
          for (;;) {
            if (isClosed) return undefined;
            const bytes = look(at, READ_BYTES);
            at += bytes.length;
            if (bytes.length > 0) return bytes;
            if (state === 'whole') return undefined;
            if (state === 'broken') throw brokeOff();
            await new Promise<void>((resolve) => {
              wake = resolve;
              waiting.add(resolve);
            });
          }
        },
        close() {
          isClosed = true;
          waiting.delete(wake);
          wake();
          leave();
        },
      };
    },
    isLeft: () => isLeft,
    async make(start) {
      const leave = (): void => {
        isLeft = true;
      };
      try {
        const started = await start({ signal: abort.signal, leave });
        head = started.head;
        headed.resolve(head);
        tell();
        for await (const chunk of started.body) add(chunk);
        if (abort.signal.aborted) throw brokeOff();
        if (state === 'running') state = 'whole';
        tell();
      } catch (error) {
        breakOff(error);
      }
      grace?.cancel();
    },
    answer() {
      if (state !== 'whole' || head === undefined || size > HUB_LIMITS.keptBytesMax) return undefined;
      const isGood = head.status >= 200 && head.status < 300 && !(isEventStream(head) && endsInError(chunks));
      return isGood ? { head, body: concat(chunks) } : undefined;
    },
    abort: () => abort.abort(),
    fence() {
      if (state !== 'running') return;
      isLeft = true;
      breakOff(brokeOff());
    },
  };
}

/** One that was kept. */
export const replayOf = (
  { status, headers, body }: Head & { readonly body: Uint8Array },
  requestId: string | undefined,
): Recording => ({
  requestId,
  head: Promise.resolve({ status, headers }),
  read() {
    let at = 0;
    return {
      async next() {
        if (at >= body.length) return undefined;
        const bytes = body.subarray(at, at + READ_BYTES);
        at += bytes.length;
        return bytes;
      },
      close() {
        at = body.length;
      },
    };
  },
});

export const isEventStream = (head: Head): boolean =>
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
