/** What is named by a whole id is not looked up, and a refusal speaks of what was asked for. */
import { createClient } from '@idlewild/client';
import { expect, test, vi } from 'vitest';
import { besideHub } from './testing/called.ts';

const world = besideHub();
const id = (prefix: string): string => `${prefix}_${'a'.repeat(26)}`;

async function as(permissions: readonly string[]): Promise<void> {
  const client = createClient({ hub: world.hub.url, key: world.key });
  const name = `may-${permissions.length}`;
  await client.people.roles.create({ name, permissions });
  vi.stubEnv('IDLEWILD_KEY', (await client.keys.create({ role: name })).key);
}

test('who may act and not look anything up acts on whole ids', async () => {
  await as(['manageMembers', 'manageGroups', 'bindRole', 'revokeKey', 'drainDevice', 'tierDevice']);
  for (const words of [
    ['members', 'suspend', id('per')],
    ['groups', 'add', id('grp'), id('per')],
    ['roles', 'bind', 'caller', '--person', id('per')],
    ['keys', 'revoke', id('key')],
    ['devices', 'drain', id('dev')],
  ]) {
    const { said } = await world.call(...words);
    expect(said, words.join(' ')).not.toMatch(/may not (readPeople|listKeys|listDevices)/);
    expect(said, words.join(' ')).not.toBe('');
  }
  const named = await world.call('members', 'suspend', 'Ada');
  expect(named.said).toMatch(/may not readPeople.*named by its whole id, per_…, is not looked up/);
});

test('who may not act is told of the act, by name as by id', async () => {
  await as(['readStatus']);
  for (const who of ['Ada', id('per')])
    expect((await world.call('members', 'suspend', who)).said).toMatch(/may not manageMembers/);
  for (const which of ['mine', id('key')])
    expect((await world.call('keys', 'revoke', which)).said).toMatch(/may not revokeKey/);
  for (const which of ['ada', id('dev')])
    expect((await world.call('devices', 'tier', which, 'vetted')).said).toMatch(/may not tierDevice/);
});
