import { expect, test } from 'vitest';
import { equalBytes } from './bytes.ts';

/** The same bytes, of which it is counted how many were looked at. */
function watched(bytes: Uint8Array): { readonly bytes: Uint8Array; looked: () => number } {
  let looked = 0;
  const seen = new Proxy(bytes, {
    get(target, name) {
      if (typeof name === 'string' && /^\d+$/.test(name)) looked++;
      return Reflect.get(target, name, target) as unknown;
    },
  });
  return { bytes: seen, looked: () => looked };
}

test('comparing looks at every byte, wherever the first difference is: how long it takes tells nothing', () => {
  const secret = Uint8Array.from({ length: 32 }, (_, index) => index);
  for (let at = -1; at < secret.length; at++) {
    const guess = secret.slice();
    if (at >= 0) guess[at] = 0xff;
    const seen = watched(guess);
    expect(equalBytes(seen.bytes, secret)).toBe(at === -1);
    expect(seen.looked()).toBe(32);
  }
  expect(equalBytes(secret.subarray(1), secret)).toBe(false);
});
