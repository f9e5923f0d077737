/**
 * OpenAI's endpoints in front of whatever answers them, where that is no hub: the same bodies, checks, shapes and
 * errors as a hub's, so that a client cannot tell the difference. Who may ask, and which models there are, is the
 * owner's to say.
 *
 * Everything that is not one of these endpoints is refused with the owner's words.
 */
import { IdlewildError, newId, type Clock, type Random } from '@idlewild/protocol';
import fastify from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import type { Answers } from '../answers/port.ts';
import type { KeyPrincipal } from '../identity/principal.ts';
import type { ScopeOf } from '../identity/scope.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import { OWN_LEAVE } from '../policy/permit.ts';
import type { Use } from '../use/use.ts';
import { sendError, translate } from './errors.ts';
import { askRoutes, type AskDeps } from './routes/v1.ts';
import type { App, FastifyRequest } from './server.ts';

export interface OpenAiDoorDeps {
  readonly answers: Pick<Answers, 'submit'>;
  readonly models: AskDeps['models'] & {
    /** The bodies of `GET /v1/models` and of one model. */
    list(): Promise<object>;
    show(name: string): Promise<object>;
  };
  readonly scopeOf: ScopeOf;
  /** What goes out with each answer for its reader to verify. */
  readonly receipts: AskDeps['receipts'];
  /** Told of the texts before anything is made of them; throws what refuses them. */
  readonly judge: Use['judge'];
  /** Throws for whoever may not ask. Called before anything is read. */
  guard(request: Pick<FastifyRequest, 'headers' | 'url' | 'method'>): void;
  /** What is said of everything else. */
  readonly elsewhere: string;
  readonly hub: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Whoever comes through it; what a request does not say of its text, whoever is behind it decides. */
const CALLER: KeyPrincipal = {
  kind: 'key',
  keyId: 'local',
  territory: 'local',
  role: 'caller',
  name: 'local',
  dataClass: 'public',
};

/** A server that does not listen yet. */
export async function createOpenAiDoor(deps: OpenAiDoorDeps): Promise<App> {
  const { guard, random, log, models } = deps;
  const app = fastify({
    bodyLimit: HUB_LIMITS.bodyBytesMax,
    genReqId: () => newId('req', random),
    logger: false,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 256 },
  }) as unknown as App;
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  for (const name of ['principal', 'run', 'hold']) app.decorateRequest(name, undefined);
  // A page of another site can send this without asking first; what it sends is not even read.
  app.removeContentTypeParser('text/plain');
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    guard(request);
    request.principal = CALLER;
  });
  app.setErrorHandler((thrown, request, reply) => {
    const error = translate(thrown, request);
    if (error.code === 'cancelled') return reply.hijack();
    log.debug({ request: request.id, route: request.routeOptions.url, code: error.code }, 'refused');
    return sendError(reply, error, log, request.id);
  });
  app.setNotFoundHandler((request, reply) => {
    const asked = `${request.method} ${request.url.split('?', 1)[0]}`;
    sendError(reply, new IdlewildError('not_found', `${asked}: ${deps.elsewhere}`), log, request.id);
  });
  const config = { action: 'answer', resource: 'later' } as const;
  app.get('/v1/models', { config }, () => models.list());
  app.get<{ Params: { name: string } }>('/v1/models/:name', { config }, ({ params }) => models.show(params.name));
  askRoutes({
    ...deps,
    use: { judge: deps.judge },
    policy: { permit: () => OWN_LEAVE },
    territory: { id: CALLER.territory },
  })(app);
  await app.ready();
  return app;
}
