import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SECRET_PREFIXES, holdsSecret } from './secret-prefixes.ts';

const packages = join(import.meta.dirname, '../../..');
const prefixes: readonly string[] = Object.values(SECRET_PREFIXES);

test.each(prefixes)('a text that begins with %s is a secret, wherever it stands', (prefix) => {
  const text = prefix + 'a2'.repeat(26);
  expect(holdsSecret(text)).toBe(true);
  expect(holdsSecret(`a key named "${text}".`)).toBe(true);
});

test('ids, names and prefixes that somebody talks of are none', () => {
  for (const text of ['key_aaaaaaaaaaaaaaaaaaaaaaaaaa', 'iw_ and 52 letters', 'iws_', 'Ada Lovelace', 'iwj3', ''])
    expect(holdsSecret(text), text).toBe(false);
});

test('no source makes or tells a secret by a prefix that is not in the list', () => {
  const unknown = globSync('*/src/**/*.ts', { cwd: packages })
    .filter((path) => !path.endsWith('.test.ts'))
    .flatMap((path) =>
      [...readFileSync(join(packages, path), 'utf8').matchAll(/['"`](iw[a-z]?(?:\d\.|_))(?:['"`$]|\$\{)/g)]
        .filter(([, prefix = '']) => !prefixes.includes(prefix))
        .map(([, prefix]) => `${path}: ${prefix}`),
    );
  expect(unknown).toEqual([]);
});
