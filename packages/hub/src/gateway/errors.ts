/**
 * Errors on their way to a caller: one shape, OpenAI's, whatever went wrong, with the status of the one table.
 * Faults of ours are logged in full and told without their insides.
 */
import { ERRORS, IdlewildError, asIdlewildError, codeOf, type ErrorCode } from '@idlewild/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import type { Log } from '../log.ts';

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
    /** What decided, and what would be needed: for programs. */
    readonly details?: Readonly<Record<string, unknown>>;
  };
}

function typeOf({ status, code, details }: IdlewildError): string {
  // As OpenAI has it: `requests` or `tokens`.
  if (code === 'rate_limit_exceeded' && typeof details.limit === 'string') return details.limit;
  // OpenAI's word for what no waiting helps.
  if (code === 'allocation_spent' || code === 'spend_cap') return 'insufficient_quota';
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 404) return 'not_found_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}

/** Errors whose details are meant for who asks. */
const EXPLAINED: ReadonlySet<ErrorCode> = new Set(['forbidden', 'model_stopped', 'policy_invalid', 'use_refused']);

/** Of no device only what a policy decided: the rest is in the words, and in `retry-after`. */
const isExplained = ({ code, details }: IdlewildError): boolean =>
  EXPLAINED.has(code) || (code === 'no_device' && details.decidedBy !== undefined);

export const errorBody = (error: IdlewildError): ErrorBody => ({
  error: {
    message: error.code === 'internal' ? ERRORS.internal.meaning : error.message,
    type: typeOf(error),
    param: typeof error.details.param === 'string' ? error.details.param : null,
    code: error.code,
    ...(isExplained(error) ? { details: detailsOf(error) } : {}),
  },
});

/** Of every 403: where no policy decided, the message says what is needed. */
const detailsOf = ({ status, message, details }: IdlewildError): IdlewildError['details'] =>
  status === 403 ? { decidedBy: [], rolesThatMay: [], needed: message, ...details } : details;

interface Issue {
  readonly code?: string;
  readonly keys?: readonly string[];
  readonly message: string;
  readonly path: readonly PropertyKey[];
  readonly errors?: readonly (readonly Issue[])[];
  readonly expected?: string;
}

/** How the validator reports a zod issue. */
interface Reported {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message: string;
  readonly params: Pick<Issue, 'keys' | 'errors' | 'expected'>;
}

/** The issue that says most: within a union, that of the branch that got furthest. */
function deepest(issue: Issue): Issue {
  const inner =
    issue.errors?.flat().map((nested) => deepest({ ...nested, path: [...issue.path, ...nested.path] })) ?? [];
  return inner.reduce((best, candidate) => (candidate.path.length > best.path.length ? candidate : best), issue);
}

function fromIssue(raw: Issue): IdlewildError {
  const issue = deepest(raw);
  const at = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const field = [at, issue.keys?.[0] ?? ''].filter((part) => part !== '').join('.');
    return new IdlewildError(
      'unsupported_field',
      `the field "${field}" is not supported here; remove it and try again`,
      { details: { param: field } },
    );
  }
  // A field that only null passes is one that is refused by name, with its reason as the message.
  if (issue.expected === 'null')
    return new IdlewildError('unsupported_field', `the field "${at}" is not supported here: ${issue.message}`, {
      details: { param: at },
    });
  return new IdlewildError('invalid_request', `${at === '' ? 'the request' : `"${at}"`}: ${issue.message}`, {
    details: { param: at },
  });
}

/** Anything thrown in a route, as one of ours. */
export function translate(thrown: unknown, request: Pick<FastifyRequest, 'method' | 'url'>): IdlewildError {
  if (hasZodFastifySchemaValidationErrors(thrown)) {
    const { keyword, instancePath, message, params } = thrown.validation[0] as unknown as Reported;
    return fromIssue({
      ...params,
      code: keyword,
      message,
      path: instancePath.split('/').filter((part) => part !== ''),
    });
  }
  if (codeOf(thrown) === undefined) {
    const code = (thrown as { code?: string }).code ?? '';
    const message = (thrown as Error).message;
    if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
      return new IdlewildError(
        'body_too_large',
        `the body of ${request.method} ${request.url} is over the limit of this hub`,
      );
    if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return new IdlewildError('unsupported_media_type', message);
    const status = (thrown as { statusCode?: number }).statusCode;
    if (status !== undefined && status >= 400 && status < 500)
      return new IdlewildError('invalid_request', `the body could not be read: ${message}`);
  }
  return asIdlewildError(thrown, `${request.method} ${request.url}`);
}

export function sendError(reply: FastifyReply, error: IdlewildError, log: Log, requestId: string): void {
  if (error.status >= 500 && error.code === 'internal') {
    log.error(
      { request: requestId, code: error.code, why: error.message, stack: (error.cause as Error | undefined)?.stack },
      'a request failed',
    );
  }
  const { retryAfterSeconds, retryAfterMs } = error.details;
  if (typeof retryAfterSeconds === 'number') void reply.header('retry-after', String(retryAfterSeconds));
  // Finer than seconds, and what OpenAI's client looks at first.
  if (typeof retryAfterMs === 'number') void reply.header('retry-after-ms', String(retryAfterMs));
  // That client tries 409 and 5xx again unless it is told that it need not.
  void reply.header('x-should-retry', String(error.retryable));
  void reply.status(error.status).send(errorBody(error));
}
