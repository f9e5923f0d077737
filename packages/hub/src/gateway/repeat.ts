/**
 * A request with an Idempotency-Key over HTTP: the first is carried out apart from the connection that brought it, and
 * everybody who asks the same gets the bytes of its response.
 *
 * Carried out means: given to this very server once more, without the header. So whatever a route does, streams and
 * refusals included, repeats as it is, and this file knows no route. `x-request-id` is that of each request itself;
 * the id within the answer is the same for all.
 */
import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { IdlewildError, utf8, type Clock, type Timer } from '@idlewild/protocol';
import type { Recording, Repeats, Started } from '../callers/repeats.ts';
import type { KeyPrincipal } from '../identity/principal.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { App, FastifyReply, FastifyRequest } from './server.ts';

/** Runs that were given to the server and are not there yet, by the id of the request that they are for. */
export type Runs = Map<string, (raw: ServerResponse) => void>;

/** Names the run to the hook that sees it first; an id that nobody awaits means nothing. */
const RUN_HEADER = 'x-idlewild-run';

/** To be called for every request as it comes: what is a run can be cancelled from then on. */
export function noteRun(runs: Runs, request: FastifyRequest, reply: FastifyReply): void {
  const id = request.headers[RUN_HEADER];
  if (typeof id === 'string') runs.get(id)?.(reply.raw);
}

export interface RepeatDeps {
  readonly app: App;
  readonly repeats: Repeats;
  readonly clock: Clock;
  readonly runs: Runs;
}

export interface RepeatedRequest {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly caller: KeyPrincipal;
  readonly idempotencyKey: string;
}

/** Of one connection, or of one request: not for the run, not for the next who asks. */
const NOT_CARRIED = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'content-length',
  'expect',
  'upgrade',
  'idempotency-key',
  RUN_HEADER,
]);
const NOT_REPLAYED = new Set(['connection', 'keep-alive', 'transfer-encoding', 'date', 'x-request-id']);

/** Throws `invalid_request` for a header that is none, and `idempotency_conflict`. */
export async function repeat(
  { app, repeats, clock, runs }: RepeatDeps,
  { request, reply, caller, idempotencyKey }: RepeatedRequest,
): Promise<FastifyReply> {
  if (idempotencyKey.length < 1 || idempotencyKey.length > HUB_LIMITS.idempotencyKeyCharactersMax) {
    const most = HUB_LIMITS.idempotencyKeyCharactersMax;
    throw new IdlewildError('invalid_request', `Idempotency-Key: must have 1 to ${most} characters`, {
      details: { param: 'Idempotency-Key' },
    });
  }
  const payload = JSON.stringify(request.body ?? null);
  const { recording, isFirst } = await repeats.open({
    territory: caller.territory,
    key: caller.keyId,
    idempotencyKey,
    asked: utf8(`${request.method} ${request.url}\n${payload}`),
    start: (signal) => carryOut(app, runs, request, payload, signal),
  });
  const body = listenTo(recording, clock);
  reply.raw.once('close', () => body.destroy());
  try {
    const { status, headers } = await recording.head;
    for (const [name, value] of Object.entries(headers)) {
      // How the key stands now is told already; what the run took is for the one who began it.
      const isOld = !isFirst && name.startsWith('x-ratelimit-');
      if (!NOT_REPLAYED.has(name) && !isOld) void reply.header(name, value);
    }
    if (!isFirst) void reply.header('idempotent-replayed', 'true');
    return await reply.status(status).send(body);
  } catch (error) {
    body.destroy();
    throw error;
  }
}

async function carryOut(
  app: App,
  runs: Runs,
  request: FastifyRequest,
  payload: string,
  signal: AbortSignal,
): Promise<Started> {
  runs.set(request.id, (raw) => {
    // To the route it is a caller that hangs up.
    const end = (): void => void raw.destroy();
    if (signal.aborted) return end();
    signal.addEventListener('abort', end);
    raw.once('close', () => signal.removeEventListener('abort', end));
    return undefined;
  });
  const headers = Object.entries(request.headers).filter(
    ([name, value]) => value !== undefined && !NOT_CARRIED.has(name),
  );
  const injected = app.inject({
    method: 'POST',
    url: request.url,
    headers: { ...(Object.fromEntries(headers) as Record<string, string>), [RUN_HEADER]: request.id },
    payload,
    remoteAddress: request.ip,
    payloadAsStream: true,
  });
  const response = await injected.finally(() => runs.delete(request.id));
  const told = Object.entries(response.headers).filter(([, value]) => value !== undefined);
  return {
    head: {
      status: response.statusCode,
      headers: Object.fromEntries(told.map(([name, value]) => [name.toLowerCase(), String(value)])),
    },
    body: response.stream() as AsyncIterable<Uint8Array>,
  };
}

/** The recording from its first byte, as fast as its reader takes it and no faster. */
function listenTo(recording: Recording, clock: Clock): Readable {
  let next = 0;
  let isWanted = false;
  let stall: Timer | undefined;
  const feed = (): void => {
    while (isWanted && next < recording.chunks.length) isWanted = body.push(recording.chunks[next++]);
    if (!isWanted) {
      stall ??= clock.after(HUB_LIMITS.replayStallMsMax, () => body.destroy());
      return;
    }
    const state = recording.state();
    if (state === 'whole') {
      isWanted = false;
      body.push(null);
    } else if (state === 'broken') {
      body.destroy(new IdlewildError('disconnected', 'the answer broke off'));
    }
  };
  const body = new Readable({
    read() {
      isWanted = true;
      stall?.cancel();
      stall = undefined;
      feed();
    },
    destroy(error, done) {
      stall?.cancel();
      leave();
      done(error);
    },
  });
  const leave = recording.listen(feed);
  // Until it is sent nobody else listens; then the server does.
  body.on('error', () => {});
  return body;
}
