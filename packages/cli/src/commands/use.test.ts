/** `idlewild use` against a real hub: rules that are signed, and by whom. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { createClient } from '@idlewild/client';
import { expect, onTestFinished, test, vi } from 'vitest';
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

test('a signature ends, is renewed by its steward alone, and goes on above what was seen on her machine', async () => {
  const { file, call } = world;
  const rules = [{ kind: 'phrases', id: 'noise', phrases: ['boo'], why: 'no noise' }];
  writeFileSync(file('rules.json'), JSON.stringify({ v: 1, rules }));
  expect(await call('use', 'apply', file('rules.json'), '--expires', '9d')).toMatchObject({ code: EXIT.usage });
  expect(await call('use', 'apply', file('rules.json'), '--sign', '--expires', '9d')).toMatchObject({ code: EXIT.ok });
  expect((await call('use', 'show')).said).toContain('ends in 9');
  expect((await call('status')).said).toContain('idlewild use sign');

  // Its own word is renewed unasked, for a year.
  const renewed = await call('use', 'sign');
  expect(renewed).toMatchObject({ code: EXIT.ok, out: expect.stringMatching(/that ends in 36[45]/) as string });
  expect((await call('status')).said).toBe('');
  expect(await call('use', 'sign', '--expires', 'never')).toMatchObject({
    out: expect.stringContaining('without an end') as string,
  });

  // The same hub as it would be after a restore: what this machine has seen stays below what it signs.
  const { version } = await createClient({ hub: world.hub.url, key: world.key }).use.current();
  const seen = file('idlewild/rules.seen.json');
  const text = readFileSync(seen, 'utf8');
  writeFileSync(seen, text.replaceAll(`"version": ${version}`, `"version": ${version + 4}`));
  const older = await call('use', 'sign');
  expect(older).toMatchObject({ code: EXIT.usage, said: expect.stringContaining('no noise') as string });
  const above = await call('use', 'sign', '--yes');
  expect(above).toMatchObject({ code: EXIT.ok, said: expect.stringContaining('restored from a backup') as string });
  expect(above.out).toContain(`version ${version + 5} holds`);

  // Another steward's word is signed at a yes alone.
  vi.stubEnv('XDG_DATA_HOME', file('one-more-machine'));
  expect(await call('stewards', 'key')).toMatchObject({ code: EXIT.ok });
  const asked = await call('use', 'sign');
  expect(asked).toMatchObject({ code: EXIT.usage, said: expect.stringContaining('--yes') as string });
  expect(asked.said).toContain('no noise');
  expect(await call('use', 'sign', '--yes')).toMatchObject({ code: EXIT.ok });

  // A key that is removed takes its word along.
  const client = createClient({ hub: world.hub.url, key: world.key });
  const { key: own } = JSON.parse((await call('stewards', 'key', '--json')).out) as { key: string };
  const steward = (await client.stewards.list()).find(({ key }) => key === own);
  expect((await client.use.current()).signature).toBe('holds');
  const removed = await call('stewards', 'remove', steward?.id ?? '');
  expect(removed).toMatchObject({ code: EXIT.ok, said: expect.stringContaining('idlewild use sign') as string });
  expect(await client.use.current()).toMatchObject({ signature: 'removed', signed: null });
});

test('a prompt is tried as somebody in several groups, and never an empty one in its place', async () => {
  const heard: unknown[] = [];
  const server = createServer((request, response) => {
    void json(request).then((body) => {
      heard.push(body);
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ isRefused: true, reason: 'rule:noise', why: 'no noise' }));
    });
  });
  onTestFinished(() => void server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { call } = world;
  vi.stubEnv('IDLEWILD_HUB', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const tried = await call('use', 'try', '-m', 'lear', '--group', 'children', '--group', 'readers', 'boo');
  expect(tried).toMatchObject({ code: EXIT.ok, out: 'refused (rule:noise): no noise\n' });
  expect(heard).toEqual([{ model: 'lear', text: 'boo', groups: ['children', 'readers'] }]);
  await call('use', 'try', '-m', 'lear', '--of-key', 'kiosk', 'boo');
  expect(heard.pop()).toEqual({ model: 'lear', text: 'boo', groups: [], keys: ['kiosk'] });
  const none = await call('use', 'try', '-m', 'lear', '--group', 'children');
  expect(none).toMatchObject({ code: EXIT.usage, said: expect.stringContaining('say the TEXT') as string });
  expect(heard).toHaveLength(1);
});
