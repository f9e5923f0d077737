/**
 * What a request says of its texts, from its headers and its key: the data class, the purpose, and who asks.
 *
 * Headers, and no fields of the body: they hold for every route alike, whatever shape a body has, any OpenAI client can
 * set them once for all requests, and they can be read before a body is. Who says nothing asks as the key is for.
 */
import { DATA_CLASSES, IdlewildError, LIMITS, causeSchema, type DataClass } from '@idlewild/protocol';
import { personOf, type Principal } from '../../identity/principal.ts';
import { isMoreDelicate, type AskedText } from '../../trust/text.ts';
import { principal, type FastifyRequest } from '../server.ts';

export const DATA_CLASS_HEADER = 'idlewild-data-class';
export const PURPOSE_HEADER = 'idlewild-purpose';

/** Of an authorised request. Throws `invalid_request` for a class that is none, or is below its key's. */
export function textOf(request: Pick<FastifyRequest, 'headers' | 'principal'>): AskedText {
  const asker = principal(request as FastifyRequest);
  return {
    dataClass: classOf(request.headers[DATA_CLASS_HEADER], asker),
    cause: causeOf(request.headers[PURPOSE_HEADER]),
    person: personOf(asker),
  };
}

type Header = string | readonly string[] | undefined;

function classOf(given: Header, asker: Principal): DataClass {
  const least: DataClass = asker.kind === 'key' ? asker.dataClass : 'internal';
  if (given === undefined) return least;
  const said = DATA_CLASSES.find((dataClass) => dataClass === given);
  if (said === undefined) throw refuse('Idlewild-Data-Class', `must be one of ${DATA_CLASSES.join(', ')}`);
  if (asker.kind !== 'key' || !isMoreDelicate(least, said)) return said;
  const way = 'ask with another key for what is less delicate';
  throw refuse('Idlewild-Data-Class', `this key is for ${least} data, and ${said} would be shown to more; ${way}`);
}

function causeOf(given: Header): string | undefined {
  if (given === undefined) return undefined;
  const said = causeSchema.safeParse(given);
  if (said.success) return said.data;
  const most = LIMITS.causeCharactersMax;
  throw refuse('Idlewild-Purpose', `must be words of a to z and 0 to 9, joined by hyphens, at most ${most} characters`);
}

const refuse = (param: string, why: string): IdlewildError =>
  new IdlewildError('invalid_request', `${param}: ${why}`, { details: { param } });
