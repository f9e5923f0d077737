/** Claims about duties, on the embedded database. */
import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
import { onTestFinished } from 'vitest';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { testDuties } from './testing/duties-conformance.ts';

async function open(): Promise<OpenDatabase> {
  const database = await openDatabase({ file: ':memory:', clock: createFakeClock(async () => {}) });
  onTestFinished(() => database.close());
  return database;
}

testDuties('on SQLite', open, yieldToNode);
