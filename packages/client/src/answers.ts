/**
 * Answers as they are made: a request becomes a stream of pieces of text, and one end.
 *
 * Leaving the loop, or aborting the signal, hangs up, and the device stops. A stream that breaks off without its end is
 * an error: text that was yielded is right, but not all.
 */
import { IdlewildError } from '@idlewild/protocol';
import { abortOf, errorOfBody, faultOf, type CallOptions, type HubConnection } from './http.ts';
import { createEventReader } from './server-sent-events.ts';
import type { AnswerEnd, AnswerPiece, ChatRequest, CompletionRequest, IdlewildNote, Usage } from './shapes.ts';

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

/** Throws what the hub refuses with; `hub_unreachable`; `disconnected` when the stream breaks off; `cancelled`. */
export async function* streamAnswer(
  connection: HubConnection,
  path: string,
  request: ChatRequest | CompletionRequest,
  options: CallOptions,
): AsyncGenerator<AnswerPiece, void, undefined> {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await connection.open('POST', path, body, 'text/event-stream', options);
  const end: { -readonly [Field in keyof AnswerEnd]?: AnswerEnd[Field] } = {};
  let done = false;
  for await (const data of eventsOf(response, connection.hub, options.signal)) {
    if (data === '[DONE]') {
      done = true;
      break;
    }
    const chunk = parseChunk(data);
    if (chunk.error !== undefined) throw errorOfBody(chunk.error);
    const choice = chunk.choices?.[0];
    const text = choice?.delta?.content ?? choice?.text;
    if (text !== undefined && text !== '') yield { text };
    if (typeof choice?.finish_reason === 'string') end.finish = choice.finish_reason;
    if (chunk.usage !== undefined && chunk.usage !== null) end.usage = chunk.usage;
    if (chunk.idlewild !== undefined) end.idlewild = chunk.idlewild;
  }
  const { finish, usage = NO_USAGE, idlewild } = end;
  if (!done || finish === undefined || idlewild === undefined) {
    throw new IdlewildError('disconnected', `the answer broke off: ${connection.hub} closed the stream before its end`);
  }
  yield { finish, usage, idlewild };
}

async function* eventsOf(response: Response, hub: string, signal: AbortSignal | undefined): AsyncGenerator<string> {
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
