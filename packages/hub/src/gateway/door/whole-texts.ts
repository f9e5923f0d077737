/**
 * Texts that are none: with a NUL, which PostgreSQL keeps nowhere, or half of a surrogate pair, which JSON can write
 * and UTF-8 cannot. What is kept or decided on by a text (names, reasons, filters) is refused with one; prompts under
 * /v1/ are nobody's names, and are taken as they come.
 */
import { IdlewildError } from '@idlewild/protocol';

/** Of where it stands: enough to find it, and no more than what an error should have. */
const PLACE_CHARACTERS_MAX = 128;

const isWhole = (text: string): boolean => !text.includes('\u0000') && text.isWellFormed();

/** Throws `invalid_request`, with where it stands. Goes as deep as the value does, and needs no stack for it. */
export function checkTexts(value: unknown): void {
  const left: [at: string, value: unknown][] = [['', value]];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const [at, each] = next;
    if (typeof each === 'string' && !isWhole(each)) throw refuse(at.slice(0, PLACE_CHARACTERS_MAX));
    if (typeof each !== 'object' || each === null || ArrayBuffer.isView(each)) continue;
    for (const [name, inner] of Object.entries(each)) {
      if (!isWhole(name)) throw refuse(at.slice(0, PLACE_CHARACTERS_MAX));
      left.push([at === '' ? name : `${at}.${name}`, inner]);
    }
  }
}

const refuse = (param: string): IdlewildError =>
  new IdlewildError(
    'invalid_request',
    `${param === '' ? 'the request' : `"${param}"`}: holds a NUL or half a character; leave it out`,
    { details: { param } },
  );
