/**
 * Web pages of other origins that may ask this hub with a key (CORS, in the Fetch standard). Unless somebody who runs
 * the hub names origins, there are none.
 *
 * What they reach is what callers need, and nothing that stewards do: `/v1/`, who the hub is, and the signed rules of
 * use. A page shows a bearer or it is nobody: cookies are neither allowed by what is answered here
 * (`Access-Control-Allow-Credentials` is never said) nor looked at if they come all the same. So a page can do no more
 * than any other program that was given the same key.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { IdlewildError, WELL_KNOWN_PATH } from '@idlewild/protocol';
import { HUB_LIMITS } from '../../limits.ts';
import { isOwnOrigin, type Place } from './same-origin.ts';

/** Every origin, with a key like any other. */
const ANY = '*';

/**
 * Marks what a page of another origin may read, and takes its cookies away. True for a question that browsers ask
 * beforehand (a preflight), which is answered then: it asks for nothing but these headers.
 */
export type MeetOtherOrigins = (request: FastifyRequest, reply: FastifyReply) => boolean;

export interface OtherOriginsDeps {
  readonly origins: readonly string[];
  readonly place: () => Place;
}

export function createOtherOrigins({ origins, place }: OtherOriginsDeps): MeetOtherOrigins {
  const allowed = new Set(readOrigins(origins));
  const isAny = allowed.has(ANY);
  if (allowed.size === 0) return () => false;
  return (request, reply) => {
    const { headers, method, raw } = request;
    const methods = methodsOf(request.url.split('?', 1)[0] ?? '');
    if (methods === undefined) return false;
    // Caches keep apart what is told to one origin from what is told to another.
    if (!isAny) void reply.header('vary', 'origin');
    const { origin } = headers;
    if (origin === undefined || isOwnOrigin(place(), headers) || !(isAny || allowed.has(origin))) return false;
    delete raw.headers.cookie;
    void reply.header('access-control-allow-origin', isAny ? ANY : origin);
    if (method !== 'OPTIONS' || headers['access-control-request-method'] === undefined) {
      // Limits, ids of requests, times to come back: without credentials the star means all there are.
      void reply.header('access-control-expose-headers', '*');
      return false;
    }
    void reply.code(204).headers({
      'access-control-allow-methods': methods,
      // What a script can set any other program can send, too; the star is for all but `Authorization`.
      'access-control-allow-headers': 'authorization, *',
      'access-control-max-age': String(HUB_LIMITS.preflightSecondsMax),
    });
    return true;
  };
}

/** What may be asked there; `undefined` where no page of another origin has any business. */
function methodsOf(path: string): string | undefined {
  if (path.startsWith('/v1/')) return 'GET, POST';
  return path === WELL_KNOWN_PATH || path === '/api/use' ? 'GET' : undefined;
}

/** Throws `usage` for what is not the origin of a web page as browsers write it, and for too many. */
export function readOrigins(origins: readonly string[]): readonly string[] {
  if (origins.length > HUB_LIMITS.otherOriginsMax)
    throw new IdlewildError('usage', `at most ${HUB_LIMITS.otherOriginsMax} origins can be let in; "*" is all of them`);
  for (const origin of origins) {
    if (origin === ANY) continue;
    const parsed = URL.parse(origin);
    if (parsed !== null && /^https?:$/.test(parsed.protocol) && parsed.origin === origin) continue;
    const like = parsed === null || parsed.origin === 'null' ? 'https://chat.example' : parsed.origin;
    throw new IdlewildError(
      'usage',
      `"${origin}" is not the origin of a web page; write it as browsers do, like ${like}, or * for all`,
    );
  }
  return origins;
}
