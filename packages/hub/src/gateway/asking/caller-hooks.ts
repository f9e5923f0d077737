/**
 * What goes before and after every answer under /v1/, whatever its route: limits of the key, repeats under an
 * Idempotency-Key, ids of requests in the log.
 *
 * A repeat is neither limited nor counted; the run behind it is, once, also where it was taken over. Where a limit
 * holds, every answer says how the key stands, in OpenAI's headers. What a request holds back of its limit is given
 * back when its response is over, however it ends.
 */
import { IdlewildError, type Clock } from '@idlewild/protocol';
import type { Level, Limits, Standing } from '../../callers/limits.ts';
import type { Repeats } from '../../callers/repeats.ts';
import type { KeyPrincipal } from '../../identity/principal.ts';
import { HUB_LIMITS } from '../../limits.ts';
import type { Log } from '../../log.ts';
import { PROJECT_LIMITS } from '../../projects/limits.ts';
import type { Carried } from '../door/carried.ts';
import { repeat } from './repeat.ts';
import { OFFERS_PATH, REFUSALS_PATH, SEALED_PATH } from '../routes/sealed.ts';
import type { App, FastifyReply, FastifyRequest } from '../server.ts';
import { callerOf as payerOf, holdFor, personLimits, type SpendHookDeps } from './spend-hook.ts';
import { estimateTokens, estimateUse } from './token-estimate.ts';

export interface CallerHooksDeps extends SpendHookDeps {
  readonly limits: Limits;
  readonly repeats: Repeats;
  readonly carried: Carried;
  readonly clock: Clock;
  readonly log: Log;
}

/** To be registered before the routes that it is for. */
export const callerHooks =
  (deps: CallerHooksDeps) =>
  (app: App): void => {
    const { limits, carried, clock, log } = deps;
    const pathOf = (request: FastifyRequest): string => request.url.split('?', 1)[0] ?? '';
    app.decorateRequest('hold', undefined);
    const callerOf = (request: FastifyRequest): KeyPrincipal | undefined =>
      request.url.startsWith('/v1/') ? payerOf(request.principal) : undefined;

    app.addHook('onRequest', async (request, reply) => {
      carried.of(request.headers)?.onSeen(reply.raw);
      const clientRequest = clientRequestId(request);
      const caller = callerOf(request);
      if (caller === undefined) return;
      if (request.run === undefined) noteEnd(request, reply, caller, clientRequest);
      tell(reply, await limits.standing(caller));
    });
    app.addHook('preValidation', async (request, reply) => {
      const caller = callerOf(request);
      if (caller === undefined || request.method !== 'POST') return;
      if (pathOf(request).startsWith(SEALED_PATH)) refuseNames(request);
      if ([OFFERS_PATH, REFUSALS_PATH].includes(pathOf(request))) {
        const refused = await limits.mayAsk(caller);
        if (refused !== undefined) throw refused;
        return undefined;
      }
      const idempotencyKey = request.headers['idempotency-key'];
      if (idempotencyKey !== undefined) {
        const refused = await limits.mayAsk(caller);
        if (refused !== undefined) throw refused;
        await repeat({ app, ...deps }, { request, reply, caller, idempotencyKey: String(idempotencyKey) });
        return undefined;
      }
      if (request.headers['last-event-id'] !== undefined) throw withoutName();
      if (request.run?.isResumed !== true) await admit(request, reply, caller);
      const wanted = estimateUse(pathOf(request), request.body, PROJECT_LIMITS.answerTokens);
      await holdFor(deps, { request, reply, caller }, wanted);
      return undefined;
    });

    async function admit(request: FastifyRequest, reply: FastifyReply, caller: KeyPrincipal): Promise<void> {
      const tokens = estimateTokens(pathOf(request), request.body);
      const person = await personLimits(deps, caller);
      limits.chargeAlso(caller.keyId, person?.keyId);
      for (const limited of person === undefined ? [caller] : [caller, person]) {
        const admission = await limits.admit(limited, tokens);
        if (limited === caller) tell(reply, admission.standing);
        if ('error' in admission) throw admission.error;
        reply.raw.once('close', admission.release);
      }
    }

    function noteEnd(
      request: FastifyRequest,
      reply: FastifyReply,
      caller: KeyPrincipal,
      clientRequest: string | undefined,
    ): void {
      const beganAtMs = clock.monotonic();
      reply.raw.once('close', () => {
        const facts = {
          request: request.id,
          ...(clientRequest === undefined ? {} : { clientRequest }),
          caller: caller.keyId,
          route: `${request.method} ${request.routeOptions.url ?? pathOf(request)}`,
          status: reply.raw.headersSent ? reply.raw.statusCode : 499,
          ms: Math.round(clock.monotonic() - beganAtMs),
        };
        // Who sends an id of its own wants to find it here.
        (clientRequest === undefined ? log.debug : log.info)(facts, 'a request is over');
      });
    }
  };

/** Throws `invalid_request`. */
function refuseNames({ headers }: FastifyRequest): void {
  const param = ['Idempotency-Key', 'Last-Event-ID'].find((name) => headers[name.toLowerCase()] !== undefined);
  if (param === undefined) return;
  const why = 'sealed answers are not kept; whose stream breaks takes a new offer and seals the prompt again';
  throw new IdlewildError('invalid_request', `${param}: ${why}`, { details: { param } });
}

const withoutName = (): IdlewildError =>
  new IdlewildError(
    'invalid_request',
    'Last-Event-ID: needs the Idempotency-Key that the answer was asked under; an answer without one is not kept',
    { details: { param: 'Last-Event-ID' } },
  );

/** Throws `invalid_request`. */
function clientRequestId(request: FastifyRequest): string | undefined {
  const given = request.headers['x-client-request-id'];
  if (given === undefined) return undefined;
  const id = String(given);
  if (id.length <= HUB_LIMITS.clientRequestIdCharactersMax && /^[\x20-\x7e]*$/.test(id)) return id;
  throw new IdlewildError(
    'invalid_request',
    `X-Client-Request-Id: must be ASCII and at most ${HUB_LIMITS.clientRequestIdCharactersMax} characters`,
    { details: { param: 'X-Client-Request-Id' } },
  );
}

function tell(reply: FastifyReply, standing: Standing): void {
  for (const what of ['requests', 'tokens'] as const) {
    const level: Level | undefined = standing[what];
    if (level === undefined) continue;
    void reply.header(`x-ratelimit-limit-${what}`, String(level.perMinute));
    void reply.header(`x-ratelimit-remaining-${what}`, String(level.remaining));
    void reply.header(`x-ratelimit-reset-${what}`, durationText(level.resetMs));
  }
}

/** As OpenAI writes durations, and Go: `20ms`, `8.64s`, `6m0s`, `1h0m0s`. */
export function durationText(ms: number): string {
  const whole = Math.ceil(ms);
  if (whole <= 0) return '0s';
  if (whole < 1_000) return `${whole}ms`;
  const [hours, minutes] = [Math.floor(whole / 3_600_000), Math.floor(whole / 60_000) % 60];
  const seconds = `${(whole % 60_000) / 1_000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}
