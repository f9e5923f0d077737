/** `idlewild use` against a real hub: rules that are signed, and by whom. */
import { writeFileSync } from 'node:fs';
import { createClient } from '@idlewild/client';
import { expect, test, vi } from 'vitest';
import { EXIT } from '../exit-codes.ts';
import { besideHub } from '../testing/called.ts';

const world = besideHub();

test('where a community has a steward’s key, another is made by nobody who does not ask for one', async () => {
  const { file, call } = world;
  const rules = [{ kind: 'phrases', id: 'noise', phrases: ['boo'], why: 'no noise' }];
  writeFileSync(file('rules.json'), JSON.stringify({ v: 1, rules }));
  const stewards = async (): Promise<number> =>
    (await createClient({ hub: world.hub.url, key: world.key }).stewards.list()).length;
  expect(await call('use', 'apply', file('rules.json'), '--sign')).toMatchObject({ code: EXIT.ok });
  expect(await call('use', 'apply', file('rules.json'), '--sign')).toMatchObject({ code: EXIT.ok });
  expect(await stewards()).toBe(1);

  vi.stubEnv('XDG_DATA_HOME', file('another-machine'));
  const refused = await call('use', 'apply', file('rules.json'), '--sign');
  expect(refused).toMatchObject({ code: EXIT.usage, said: expect.stringContaining('idlewild stewards key') });
  expect(await stewards()).toBe(1);
  expect(await call('stewards', 'key')).toMatchObject({ code: EXIT.ok });
  expect(await call('use', 'apply', file('rules.json'), '--sign')).toMatchObject({ code: EXIT.ok });
  expect(await stewards()).toBe(2);
});
