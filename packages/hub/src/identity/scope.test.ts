import { createHmac } from 'node:crypto';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import { createScopes } from './scope.ts';

const secret = new Uint8Array(32).fill(7);
const scopeOf = createScopes({ crypto: nodeCrypto, secret });

test('a scope is the same for one caller and label and differs with either, and with the secret', async () => {
  const one = await scopeOf('key_a', undefined);
  expect(await scopeOf('key_a', undefined)).toBe(one);
  const elsewhere = createScopes({ crypto: nodeCrypto, secret: new Uint8Array(32) });
  const others = [
    await scopeOf('key_b', undefined),
    await scopeOf('key_a', ''),
    await scopeOf('key_a', 'draft'),
    await elsewhere('key_a', undefined),
  ];
  expect(new Set([one, ...others]).size).toBe(5);
});

test('it is HMAC-SHA256, cut to 144 bits', async () => {
  const whole = createHmac('sha256', secret).update('idlewild/v1/scope\nkey_a\ndraft').digest();
  expect(await scopeOf('key_a', 'draft')).toBe(whole.subarray(0, 18).toString('base64url'));
});
