/**
 * Headers that say who is meant and who asks may be there once. Of two Node takes the first, and a proxy in front of it
 * may have looked at the other, and let in what it should not.
 */
import type { IncomingMessage } from 'node:http';
import { IdlewildError } from '@idlewild/protocol';

const ONCE = ['host', 'authorization'];

/** Throws `invalid_request`. */
export function checkSaidOnce({ rawHeaders }: IncomingMessage): void {
  const seen: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = ONCE.find((one) => one === rawHeaders[index]?.toLowerCase());
    if (name === undefined) continue;
    if (seen.includes(name))
      throw new IdlewildError('invalid_request', `the header "${name}" is there twice; send it once`, {
        details: { param: name },
      });
    seen.push(name);
  }
}
