/**
 * Answers as they are made: a request becomes a stream of pieces of text, and one end.
 *
 * Leaving the loop, or aborting the signal, hangs up, and the device stops. A stream that breaks off is asked for again
 * under its name, from the last event that has an id: what came after that one is not told until it comes whole. Where
 * the hub gives no ids, or has the answer no longer, it is an error: text that was yielded is right, but not all.
 */
import { IdlewildError, asIdlewildError, codeOf, hex, type Clock, type Random } from '@idlewild/protocol';
import { abortOf, errorOfBody, faultOf, type CallOptions, type HubConnection } from './http.ts';
import { createEventReader, type ServerSentEvent } from './server-sent-events.ts';
import type { AnswerEnd, AnswerPiece, ChatRequest, CompletionRequest, IdlewildNote, Usage } from './shapes/answers.ts';

export interface StreamDeps {
  readonly connection: HubConnection;
  readonly clock: Clock;
  readonly random: Random;
}

/** In a row, without a new token between them: with the waits between them about 20 s, in which a hub restarts. */
const RESUMES_MAX = 8;
const RESUME_MS_MIN = 250;
const RESUME_MS_MAX = 4_000;
/** For saying that nobody comes back: the answer ends without it, too, half a minute later. */
const CANCEL_MS_MAX = 2_000;
const NAME_BYTES = 16;

/** One event's JSON, of either endpoint, or an error in the middle of a stream. */
interface Chunk {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string | null };
    readonly text?: string;
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: Usage | null;
  readonly idlewild?: IdlewildNote;
  readonly error?: { readonly message: string; readonly code?: string };
}

const NO_USAGE: Usage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };

/** How far an answer is, over all its connections. */
interface Progress {
  /** Of the last event that is told, or whose text is. */
  lastId: string | undefined;
  /** Whether text was told that no id stands for: then nothing can be asked for again. */
  isLoose: boolean;
  /** How often it was asked for again since the last event that was new. */
  resumes: number;
  readonly end: { -readonly [Field in keyof AnswerEnd]?: AnswerEnd[Field] };
}

/** Throws what the hub refuses with; `hub_unreachable`; `disconnected` when the stream breaks for good; `cancelled`. */
export async function* streamAnswer(
  deps: StreamDeps,
  path: string,
  request: ChatRequest | CompletionRequest,
  options: CallOptions,
): AsyncGenerator<AnswerPiece, void, undefined> {
  const { connection, random } = deps;
  const name = options.idempotencyKey ?? hex(random.bytes(NAME_BYTES));
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const progress: Progress = { lastId: undefined, isLoose: false, resumes: 0, end: {} };
  const ask = (): Promise<Response> =>
    connection.open('POST', path, body, 'text/event-stream', {
      ...options,
      idempotencyKey: name,
      lastEventId: progress.lastId,
    });
  let isLeft = true;
  try {
    let response = await ask();
    for (;;) {
      const broken = yield* piecesOf(response, connection.hub, options.signal, progress);
      if (broken === undefined) break;
      response = await again(deps, ask, broken, progress, options.signal);
    }
    isLeft = false;
    const { finish, usage = NO_USAGE, idlewild } = progress.end;
    yield { finish, usage, idlewild } as AnswerEnd;
  } catch (error) {
    isLeft = options.signal?.aborted === true;
    throw error;
  } finally {
    // Who named it may come again.
    if (isLeft && options.idempotencyKey === undefined) await cancel(deps, name);
  }
}

/** Yields what one connection brings; returns why it broke off, `undefined` when the answer is whole. */
async function* piecesOf(
  response: Response,
  hub: string,
  signal: AbortSignal | undefined,
  progress: Progress,
): AsyncGenerator<AnswerPiece, IdlewildError | undefined, undefined> {
  const { end } = progress;
  /** Text of events whose id has not come. */
  let held = '';
  try {
    for await (const { data, id } of eventsOf(response, hub, signal)) {
      if (data === '[DONE]' && end.finish !== undefined && end.idlewild !== undefined) return undefined;
      const text = data === '[DONE]' ? '' : note(parseChunk(data), end);
      held += text;
      if (id !== undefined) {
        progress.lastId = id;
        progress.resumes = 0;
      } else if (progress.lastId !== undefined) continue;
      else if (text !== '') progress.isLoose = true;
      const told = held;
      held = '';
      if (told !== '') yield { text: told };
    }
  } catch (error) {
    if (codeOf(error) === 'disconnected') return asIdlewildError(error, 'reading an answer');
    throw error;
  }
  return new IdlewildError('disconnected', `the answer broke off: ${hub} closed the stream before its end`);
}

/** What an event tells of the end, and its text. Throws an error that it carries. */
function note(chunk: Chunk, end: Progress['end']): string {
  if (chunk.error !== undefined) throw errorOfBody(chunk.error);
  const choice = chunk.choices?.[0];
  if (typeof choice?.finish_reason === 'string') end.finish = choice.finish_reason;
  if (chunk.usage !== undefined && chunk.usage !== null) end.usage = chunk.usage;
  if (chunk.idlewild !== undefined) end.idlewild = chunk.idlewild;
  return choice?.delta?.content ?? choice?.text ?? '';
}

/** Asks for what is left, as often as may help; throws `broken` when it does not. */
async function again(
  { clock, random }: StreamDeps,
  ask: () => Promise<Response>,
  broken: IdlewildError,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<Response> {
  if (progress.isLoose) throw broken;
  while (progress.resumes < RESUMES_MAX) {
    const waitMs = Math.min(RESUME_MS_MAX, RESUME_MS_MIN * 2 ** progress.resumes++) * (0.5 + random.unit() / 2);
    await wait(clock, waitMs, signal);
    try {
      return await ask();
    } catch (thrown) {
      const error = asIdlewildError(thrown, 'going on with an answer');
      if (signal?.aborted === true) throw error;
      // What is between us and a hub that is gone answers with a status of its own.
      if (!error.retryable && error.status < 500) throw endOf(broken, error);
    }
  }
  throw broken;
}

const endOf = ({ message }: IdlewildError, cause: IdlewildError): IdlewildError =>
  new IdlewildError('disconnected', `${message}; it cannot be gone on with: ${cause.message}`, { cause });

export function wait(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(abortOf(signal));
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    const onAbort = (): void => {
      timer.cancel();
      reject(abortOf(signal as AbortSignal));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    return undefined;
  });
}

/** Hanging up alone leaves the device at work for whoever may come again. */
async function cancel({ connection, clock }: StreamDeps, name: string): Promise<void> {
  const abort = new AbortController();
  const timer = clock.after(CANCEL_MS_MAX, () => abort.abort());
  // A hub that does not hear it ends the answer by itself.
  await connection
    .json('DELETE', `/v1/answers/${encodeURIComponent(name)}`, undefined, { signal: abort.signal })
    .catch(() => undefined);
  timer.cancel();
}

export async function* eventsOf(
  response: Response,
  hub: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ServerSentEvent> {
  if (response.body === null) throw new IdlewildError('disconnected', `${hub} answered without a body`);
  const bytes = response.body.getReader();
  const events = createEventReader();
  try {
    for (;;) {
      const { done, value } = await bytes.read().catch((thrown: unknown) => {
        throw breakOf(thrown, hub, signal);
      });
      if (done) return;
      yield* events.push(value);
    }
  } finally {
    // Also when the caller leaves its loop early: this is what hangs up. A stream that broke has nobody to tell.
    await bytes.cancel().catch(() => undefined);
  }
}

function breakOf(thrown: unknown, hub: string, signal: AbortSignal | undefined): IdlewildError {
  if (signal?.aborted === true) return abortOf(signal);
  return new IdlewildError('disconnected', `the answer broke off: ${faultOf(thrown, hub, undefined).message}`, {
    cause: thrown,
  });
}

function parseChunk(data: string): Chunk {
  try {
    return JSON.parse(data) as Chunk;
  } catch (cause) {
    throw new IdlewildError('internal', `the hub sent an event that is not JSON: ${data.slice(0, 80)}`, { cause });
  }
}

export interface WholeAnswer extends AnswerEnd {
  readonly text: string;
}

/** The whole of an answer, for those who can wait. */
export async function wholeAnswer(pieces: AsyncIterable<AnswerPiece>): Promise<WholeAnswer> {
  let text = '';
  for await (const piece of pieces) {
    if ('text' in piece) text += piece.text;
    else return { text, ...piece };
  }
  throw new IdlewildError('disconnected', 'the answer has no end');
}
