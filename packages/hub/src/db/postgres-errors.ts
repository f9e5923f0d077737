/**
 * What PostgreSQL and the way to it can fail with, in our own words.
 *
 * What the machine or the network did gets a code of its own; a broken constraint or a wrong statement stays as it is.
 * A lost connection leaves one doubt, which the message does not hide: whether a commit that was under way happened.
 * It never repeats a password: places are named by `placeOf`.
 */
import { IdlewildError } from '@idlewild/protocol';

/** SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html; classes by their first two characters. */
const GONE = new Set([
  '57P01',
  '57P02',
  '57P03',
  '57P04',
  '57P05',
  '25P03',
  '25P04',
  '53300',
  '25006',
  '57014',
  '55P03',
]);
const AGAIN = new Set(['40001', '40P01']);
const REFUSED_AT_THE_DOOR = new Set(['28000', '28P01', '3D000', '42501']);
const NETWORK = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
]);
/** `pg` tells of these in words only. */
const SAID_BY_PG = [
  'Connection terminated',
  'timeout exceeded when trying to connect',
  'Query read timeout',
  'Client has encountered a connection error',
  'Client was closed',
  'Cannot use a pool after calling end',
];
const TLS = /^(CERT_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH)/;

/** What was under way when it failed; only a commit, or a write outside a transaction, leaves a doubt. */
export type UnderWay = 'nothing' | 'write';

interface Thrown {
  readonly code?: unknown;
  readonly message?: unknown;
  readonly errors?: readonly unknown[];
}

const codeOfCause = (error: unknown): string => {
  const { code, errors } = (error ?? {}) as Thrown;
  if (typeof code === 'string') return code;
  // A name with several addresses fails once for each.
  return errors?.[0] === undefined ? '' : codeOfCause(errors[0]);
};
const saidBy = (error: unknown): string => {
  const { message, errors } = (error ?? {}) as Thrown;
  if (typeof message === 'string' && message !== '') return message;
  return errors?.[0] === undefined ? String(error) : saidBy(errors[0]);
};

/** Whether the same transaction, from its beginning, may succeed now: others were in its way. */
export const isRetryable = (error: unknown): boolean => AGAIN.has(codeOfCause(error));

/** `place` is where the database is, without a password. */
export function explainPostgres(error: unknown, place: string, underWay: UnderWay = 'nothing'): unknown {
  if (error instanceof IdlewildError) return error;
  const code = codeOfCause(error);
  const seen = saidBy(error);
  if (code === '53100') {
    const message = `the disk that holds the database ${place} is full; nothing was changed`;
    return new IdlewildError('disk_full', message, { cause: error });
  }
  if (code.startsWith('XX00')) {
    const message = `the database ${place} is damaged (${seen}). Restore it from a backup`;
    return new IdlewildError('data_corrupt', message, { cause: error });
  }
  if (code === '22021') {
    const message = 'a text holds the character NUL, which the database does not keep; leave it out';
    return new IdlewildError('invalid_request', message, { cause: error });
  }
  const isLost = NETWORK.has(code) || code.startsWith('08') || SAID_BY_PG.some((words) => seen.startsWith(words));
  if (!isLost && !GONE.has(code)) return error;
  // A statement that the server itself refused was not carried out.
  const isInDoubt = underWay === 'write' && (isLost || code.startsWith('57P'));
  const outcome = isInDoubt ? 'whether the last change was made is not known' : 'nothing was changed';
  return new IdlewildError(
    'database_unavailable',
    `the database ${place} does not answer (${seen}); ${outcome}. Try again in a moment`,
    { details: { committed: isInDoubt ? 'unknown' : 'no' }, cause: error },
  );
}

/** Of an attempt to open it: what waiting does not cure becomes `usage` with the way out. */
export function explainOpening(error: unknown, place: string): unknown {
  if (error instanceof IdlewildError) return error;
  const code = codeOfCause(error);
  const seen = saidBy(error);
  const usage = (wayOut: string): IdlewildError =>
    new IdlewildError('usage', `the database ${place} cannot be opened: ${seen}. ${wayOut}`, { cause: error });
  if (code === '3D000') return usage(`Make it first: createdb ${place.slice(place.lastIndexOf('/') + 1)}`);
  if (REFUSED_AT_THE_DOOR.has(code)) return usage('Check user and password of --database, and what that user may do');
  if (TLS.test(code))
    return usage('Give its certificate authority: --database "…?sslmode=verify-full&sslrootcert=FILE"');
  const isFile = (error as { syscall?: unknown }).syscall === 'open';
  if (isFile || seen.startsWith('SECURITY WARNING'))
    return usage('Check sslrootcert, sslcert and sslkey of --database');
  if (/does not support SSL/.test(seen)) return usage('Turn TLS on there, or write sslmode=disable');
  return explainPostgres(error, place);
}
