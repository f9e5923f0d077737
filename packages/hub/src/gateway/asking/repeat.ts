/**
 * A request with an Idempotency-Key over HTTP: the first is carried out apart from the connection that brought it, and
 * everybody who asks the same gets the bytes of its response, from the first or from the event that they have.
 *
 * Carried out means: given to this very server once more, without the header. So whatever a route does, streams and
 * refusals included, repeats as it is, and this file knows no route. `x-request-id` is that of each request itself;
 * the id within the answer is that of the first.
 */
import { Readable } from 'node:stream';
import { IdlewildError, asIdlewildError, utf8, type Clock, type Timer } from '@idlewild/protocol';
import { isEventStream, type Recording, type Started } from '../../callers/recording.ts';
import type { Repeats } from '../../callers/repeats.ts';
import type { KeyPrincipal } from '../../identity/principal.ts';
import { HUB_LIMITS } from '../../limits.ts';
import { RUN_HEADER, type Carried, type CarriedRun } from '../door/carried.ts';
import { createContinuation, heardOf, lastEventId, type Continuation, type StreamPlace } from './event-ids.ts';
import { DATA_CLASS_HEADER, PURPOSE_HEADER } from './said.ts';
import type { App, FastifyReply, FastifyRequest } from '../server.ts';

export interface RepeatDeps {
  readonly app: App;
  readonly repeats: Repeats;
  readonly clock: Clock;
  readonly carried: Carried;
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
  'last-event-id',
  RUN_HEADER,
]);
const NOT_REPLAYED = new Set([
  ...['connection', 'keep-alive', 'transfer-encoding', 'date', 'x-request-id'],
  // What one origin's page may read says nothing of another's.
  ...['access-control-allow-origin', 'access-control-expose-headers'],
]);

/**
 * Resolves when the response is over. Throws `invalid_request` for headers that are none, `idempotency_conflict`,
 * `bus_down`.
 */
export async function repeat(
  deps: RepeatDeps,
  { request, reply, caller, idempotencyKey }: RepeatedRequest,
): Promise<void> {
  checkName(idempotencyKey);
  const after = placeOf(request);
  const payload = JSON.stringify(request.body ?? null);
  const { recording, isFirst } = await deps.repeats.open({
    territory: caller.territory,
    key: caller.keyId,
    idempotencyKey,
    asked: utf8(`${request.method} ${request.url}${saidIn(request)}\n${payload}`),
    requestId: request.id,
    continues: after?.requestId,
    start: (run, making) => {
      const carriedRun = { ...run, leave: making.leave, heard: after === undefined ? [] : heardOf(after) };
      return carryOut(deps, carriedRun, request, payload, making.signal);
    },
  });
  let continuation: Continuation | undefined;
  const body = listenTo(recording, deps.clock, () => continuation);
  const onClose = (): void => {
    body.destroy();
    // To the server a response that was cut off is not sent yet, and it would go on to the route.
    if (!reply.sent) reply.hijack();
  };
  reply.raw.once('close', onClose);
  if (reply.raw.destroyed) onClose();
  try {
    const head = await recording.head;
    if (reply.raw.destroyed) return;
    if (after !== undefined && isEventStream(head)) continuation = createContinuation(after);
    for (const [name, value] of Object.entries(head.headers)) {
      // How the key stands now is told already; what the run took is for the one who began it.
      const isOld = !isFirst && name.startsWith('x-ratelimit-');
      if (!NOT_REPLAYED.has(name) && !isOld) void reply.header(name, value);
    }
    if (!isFirst) void reply.header('idempotent-replayed', 'true');
    void reply.status(head.status).send(body);
    // A stream that waits for its next event has begun all the same.
    if (isEventStream(head)) reply.raw.flushHeaders();
    await reply;
  } catch (error) {
    body.destroy();
    throw error;
  }
}

/** What headers say of the texts is asked, too: under the same name nobody gets what was asked for other eyes. */
function saidIn({ headers }: FastifyRequest): string {
  const said = [headers[DATA_CLASS_HEADER], headers[PURPOSE_HEADER]];
  return said.every((value) => value === undefined) ? '' : ` ${JSON.stringify(said)}`;
}

export function checkName(idempotencyKey: string): void {
  if (idempotencyKey.length >= 1 && idempotencyKey.length <= HUB_LIMITS.idempotencyKeyCharactersMax) return;
  const most = HUB_LIMITS.idempotencyKeyCharactersMax;
  throw new IdlewildError('invalid_request', `Idempotency-Key: must have 1 to ${most} characters`, {
    details: { param: 'Idempotency-Key' },
  });
}

function placeOf({ headers, body }: FastifyRequest): StreamPlace | undefined {
  const given = headers['last-event-id'];
  if (given === undefined) return undefined;
  const place = lastEventId(String(given));
  if ((body as { readonly stream?: unknown } | null | undefined)?.stream === true) return place;
  throw new IdlewildError('invalid_request', 'Last-Event-ID: goes on with a stream; this asks for none ("stream")', {
    details: { param: 'Last-Event-ID' },
  });
}

async function carryOut(
  { app, carried }: RepeatDeps,
  run: CarriedRun,
  request: FastifyRequest,
  payload: string,
  signal: AbortSignal,
): Promise<Started> {
  const announced = carried.announce(run, (raw) => {
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
    headers: { ...(Object.fromEntries(headers) as Record<string, string>), [RUN_HEADER]: announced.name },
    payload,
    remoteAddress: request.ip,
    payloadAsStream: true,
  });
  const response = await injected.finally(() => announced.forget());
  const told = Object.entries(response.headers).filter(([, value]) => value !== undefined);
  return {
    head: {
      status: response.statusCode,
      headers: Object.fromEntries(told.map(([name, value]) => [name.toLowerCase(), String(value)])),
    },
    body: response.stream() as AsyncIterable<Uint8Array>,
  };
}

/** The recording as fast as its reader takes it and no faster; all of it, or what `continuation` leaves. */
function listenTo(recording: Recording, clock: Clock, continuation: () => Continuation | undefined): Readable {
  const reader = recording.read();
  let isPulling = false;
  let stall: Timer | undefined;

  /** Whether more is wanted. */
  function push(bytes: Uint8Array): boolean {
    if (bytes.length === 0 || body.push(bytes)) return true;
    stall ??= clock.after(HUB_LIMITS.replayStallMsMax, () => body.destroy());
    return false;
  }
  /** Until no more is wanted; what the stream wants from then on, it says by calling `read` again. */
  async function pull(): Promise<void> {
    isPulling = true;
    while (isPulling) {
      const bytes = await reader.next();
      if (body.destroyed) return;
      const told = continuation();
      if (bytes === undefined) {
        if (told !== undefined) push(told.end());
        body.push(null);
        return;
      }
      isPulling = push(told === undefined ? bytes : told.push(bytes));
    }
  }
  const body = new Readable({
    read() {
      stall?.cancel();
      stall = undefined;
      if (!isPulling) pull().catch((error: unknown) => body.destroy(asIdlewildError(error, 'answering')));
    },
    destroy(error, done) {
      stall?.cancel();
      reader.close();
      done(error);
    },
  });
  // Until it is sent nobody else listens; then the server does.
  body.on('error', () => {});
  return body;
}
