import { expect, test } from 'vitest';
import { createCookies } from './cookies.ts';

const secure = createCookies('ter_a', () => true);

test('over TLS a cookie is the host’s own, of one territory, and out of reach of scripts', () => {
  expect(secure.set('session', 'iws_abc', 90_500)).toBe(
    '__Host-idlewild-ter_a-session=iws_abc; Max-Age=90; Path=/; HttpOnly; SameSite=Lax; Secure',
  );
  expect(secure.clear('session')).toMatch(/^__Host-idlewild-ter_a-session=; Max-Age=0; .*Secure$/);
});

test('a cookie is read by its whole name, and only where there is one of it', () => {
  const name = '__Host-idlewild-ter_a-session';
  expect(secure.read(`a=b; ${name}=iws_abc; c=d`, 'session')).toBe('iws_abc');
  for (const header of [
    undefined,
    '',
    `x${name}=iws_abc`,
    `idlewild-ter_a-session=iws_abc`,
    `__Host-idlewild-ter_b-session=iws_abc`,
    `${name}=iws_abc; ${name}=iws_def`,
    `${name}="iws_abc"`,
    `${name}=a%0d%0ab`,
    `${name}=${'a'.repeat(4_000)}`,
    `${'a=b; '.repeat(4_000)}${name}=iws_abc`,
  ])
    expect(secure.read(header, 'session')).toBeUndefined();
});

test.each(['a\r\nSet-Cookie: b=c', 'a; Domain=evil.test', 'a,b', 'a b', ''])('%j is never set', (value) => {
  expect(() => secure.set('session', value, 1_000)).toThrow(/quoting/);
});
