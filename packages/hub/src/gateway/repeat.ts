/**
 * A request with an Idempotency-Key over HTTP: the first is carried out apart from the connection that brought it, and
 * everybody who asks the same gets the bytes of its response.
 *
 * Carried out means: given to this very server once more, without the header. So whatever a route does, streams and
 * refusals included, repeats as it is, and this file knows no route. `x-request-id` is that of each request itself;
 * the id within the answer is the same for all.
 */
import { Readable } from 'node:stream';
import { IdlewildError, utf8, type Clock, type Timer } from '@idlewild/protocol';
import type { Recording, Repeats, Started } from '../callers/repeats.ts';
import type { KeyPrincipal } from '../identity/principal.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { App, FastifyReply, FastifyRequest } from './server.ts';

export interface RepeatDeps {
  readonly app: App;
  readonly repeats: Repeats;
  readonly clock: Clock;
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
]);
const NOT_REPLAYED = new Set(['connection', 'keep-alive', 'transfer-encoding', 'date', 'x-request-id']);

/** Throws `invalid_request` for a header that is none, and `idempotency_conflict`. */
export async function repeat(
  { app, repeats, clock }: RepeatDeps,
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
    start: (signal) => carryOut(app, request, payload, signal),
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

async function carryOut(app: App, request: FastifyRequest, payload: string, signal: AbortSignal): Promise<Started> {
  const headers = Object.entries(request.headers).filter(
    ([name, value]) => value !== undefined && !NOT_CARRIED.has(name),
  );
  const response = await app.inject({
    method: 'POST',
    url: request.url,
    headers: Object.fromEntries(headers) as Record<string, string>,
    payload,
    remoteAddress: request.ip,
    payloadAsStream: true,
    signal,
  });
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
