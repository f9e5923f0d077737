/** Claims about what is noted in passing: when it is written, how it is counted, that nothing is lost in silence. */
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase } from '../db/open.ts';
import { silentLog } from '../log.ts';
import { createAudit } from './audit.ts';
import type { AuditEvent } from './event.ts';
import { AUDIT_LIMITS } from './limits.ts';
import { createRecorder } from './recorder.ts';

const TERRITORY = 'ter_a';
const use = (actor: string, route = 'POST /v1/chat/completions') => ({
  actor,
  action: 'used',
  subject: TERRITORY,
  details: { route },
});

async function setUp() {
  // What is written on a fake clock is written before it goes on.
  const clock = createFakeClock(async () => {
    for (let turn = 0; turn < 8; turn++) await db.selectFrom('audit').select('seq').limit(1).execute();
  });
  const { db, close } = await openDatabase({ file: ':memory:', clock, sync: 'off' });
  onTestFinished(close);
  const row = { id: TERRITORY, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 };
  await db.insertInto('territories').values(row).execute();
  const audit = createAudit({ db, crypto: nodeCrypto, clock });
  const disk = { isFull: false, commits: [] as number[] };
  const appendAll: typeof audit.appendAll = (transaction, events: readonly AuditEvent[]) => {
    if (disk.isFull) throw new Error('the disk is full');
    disk.commits.push(events.length);
    return audit.appendAll(transaction, events);
  };
  const log = { ...silentLog, error: vi.fn<typeof silentLog.error>() };
  const recorder = createRecorder({ db, audit: { appendAll }, clock, log, territory: TERRITORY });
  const written = async () =>
    (await audit.list({ territory: TERRITORY, limit: 1_000 }))
      .toReversed()
      .map(({ actor, details }) => [actor, details.count ?? 1]);
  return { clock, audit, recorder, written, disk, log };
}

test('what is new is written within a quarter of a second, all of it together', async () => {
  const { clock, recorder, written, disk } = await setUp();
  for (let at = 0; at < 39; at++) recorder.note(use(`key_${at}`));
  await clock.advance(AUDIT_LIMITS.noteMs - 1);
  recorder.note(use('key_late'));
  expect(await written()).toEqual([]);
  await clock.advance(1);
  expect(await written()).toHaveLength(40);
  expect(disk.commits).toEqual([40]);
});

test('the same of the same is one entry a minute with a count, for as long as it goes on', async () => {
  const { clock, recorder, written } = await setUp();
  recorder.note(use('key_a'));
  recorder.note(use('key_a', 'GET /v1/models'));
  await clock.advance(AUDIT_LIMITS.noteMs);
  for (let second = 0; second < 150; second++) {
    recorder.note(use('key_a'));
    await clock.advance(1_000);
  }
  expect(await written()).toEqual([
    ['key_a', 1],
    ['key_a', 1],
    ['key_a', 60],
    ['key_a', 60],
  ]);
  await recorder.stop();
  expect((await written()).at(-1)).toEqual(['key_a', 30]);
});

test('what is seen again after a quiet minute is new again', async () => {
  const { clock, recorder, written } = await setUp();
  recorder.note(use('key_a'));
  await clock.advance(2 * AUDIT_LIMITS.noteWindowMs);
  recorder.note(use('key_a'));
  await clock.advance(AUDIT_LIMITS.noteMs);
  expect(await written()).toEqual([
    ['key_a', 1],
    ['key_a', 1],
  ]);
});

test('a stop writes what waits', async () => {
  const { recorder, written } = await setUp();
  for (let at = 0; at < 3; at++) recorder.note(use('key_a'));
  await recorder.stop();
  expect(await written()).toEqual([['key_a', 3]]);
});

test('while the disk is full everything is kept and counted, and written once when there is room', async () => {
  const { clock, recorder, written, disk, log } = await setUp();
  disk.isFull = true;
  recorder.note(use('key_a'));
  await clock.advance(60_000);
  recorder.note(use('key_a'));
  recorder.note(use('key_b'));
  await clock.advance(60_000);
  expect(log.error).toHaveBeenCalledTimes(1);
  disk.isFull = false;
  await clock.advance(AUDIT_LIMITS.noteRetryMs);
  expect(await written()).toEqual([
    ['key_a', 2],
    ['key_b', 1],
  ]);
  expect(disk.commits).toEqual([2]);
});

test('what there is no room for is counted, and the count is in the log', async () => {
  const { clock, audit, recorder, disk } = await setUp();
  disk.isFull = true;
  for (let at = 0; at < AUDIT_LIMITS.notesMax + 7; at++) recorder.note(use(`key_${at}`));
  await clock.advance(10_000);
  disk.isFull = false;
  await clock.advance(AUDIT_LIMITS.noteRetryMs);
  const drops = (await audit.list({ territory: TERRITORY, limit: 1_000, beforeSeq: 2_000 })).filter(
    ({ action }) => action === 'dropNotes',
  );
  expect(drops.map(({ details }) => details)).toEqual([{ count: 7 }]);
  expect(await audit.verify(TERRITORY)).toMatchObject({ intact: true, entries: AUDIT_LIMITS.notesMax + 1 });
  expect(Math.max(...disk.commits)).toBeLessThanOrEqual(AUDIT_LIMITS.notesPerCommit + 1);
  for (let at = 0; at < AUDIT_LIMITS.notesMax; at++) recorder.note(use(`key_${at}`));
  await recorder.stop();
  expect(await audit.verify(TERRITORY)).toMatchObject({ entries: 2 * AUDIT_LIMITS.notesMax + 1 });
});

test('a key, a text and a line that looks like another entry are refused', async () => {
  const { recorder } = await setUp();
  for (const actor of [`iw_${'a'.repeat(52)}`, 'x'.repeat(300), 'key_a\n2 hub revokeKey']) {
    expect(() => recorder.note(use(actor))).toThrow(expect.objectContaining({ code: 'invalid_request' }));
  }
  expect(() => recorder.note(use('key_a', 'x'.repeat(300)))).toThrow('do not belong into an audit log');
});
