/** Claims about the register of replicas, on the embedded database. */
import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { createLoneRegister } from './register.ts';
import { testRegister } from './testing/register-conformance.ts';

async function open(): Promise<OpenDatabase> {
  const database = await openDatabase({ file: ':memory:', clock: createFakeClock(async () => {}) });
  onTestFinished(() => database.close());
  return database;
}

testRegister('on SQLite', open, yieldToNode);

test('who has the database to itself is its only replica, and writes nothing about it', async () => {
  const database = await open();
  const counts = { devices: 2, answers: 1 };
  const replica = { id: 'rep_a', version: '1.0.0', hasBus: false, address: () => 'http://a', counts: () => counts };
  const register = createLoneRegister({ database, replica });
  await register.admit();
  await register.draining();
  expect(await register.list()).toMatchObject([{ id: 'rep_a', ...counts, state: 'draining', isSelf: true }]);
  expect(await database.db.selectFrom('replicas').selectAll().execute()).toEqual([]);
});
