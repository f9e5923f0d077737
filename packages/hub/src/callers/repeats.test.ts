/** Claims about requests that come again to the replica that has them. */
import { utf8 } from '@idlewild/protocol';
import { createFakeClock, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { endsInError } from './recording.ts';
import type { Repeats } from './repeats.ts';
import { answering, createWorld, good, order, runRows, setUp, territory, textOf } from './testing/repeats-world.ts';

const fakeClock = (): FakeClock => createFakeClock(yieldToNode);

/** Keeps one whole answer of `bytes`. */
async function keep(repeats: Repeats, clock: FakeClock, name: string, bytes = 10): Promise<void> {
  const answer = answering();
  const { recording } = await repeats.open(order(answer, name));
  answer.say('x'.repeat(bytes));
  answer.end();
  expect(await textOf(recording)).toHaveLength(bytes);
  await clock.settle();
}

test('an answer is kept for its time and not longer, and then it is erased', async () => {
  const { db, clock, kept, repeats } = await setUp(fakeClock());
  await keep(repeats, clock, 'n');
  await clock.advance(HUB_LIMITS.keptAnswerMs - 1);
  const again = answering();
  const { recording, isFirst } = await repeats.open(order(again));
  expect({ isFirst, text: await textOf(recording), starts: again.starts() }).toEqual({
    isFirst: false,
    text: 'x'.repeat(10),
    starts: 0,
  });
  expect(await recording.head).toEqual(good);
  await clock.advance(1);
  expect((await repeats.open(order(again))).isFirst).toBe(true);
  await kept.expire();
  expect(await db.selectFrom('kept_answers').select('id').execute()).toEqual([]);
});

test('when the last listener has gone it may come again for a while; then the answer is cancelled', async () => {
  const { db, clock, repeats } = await setUp(fakeClock());
  const answer = answering();
  const { recording } = await repeats.open(order(answer));
  const [one, two] = [recording.read(), recording.read()];
  one.close();
  await clock.advance(HUB_LIMITS.repeatGraceMs * 2);
  expect(answer.wasAborted()).toBe(false);
  two.close();
  await clock.advance(HUB_LIMITS.repeatGraceMs - 1);
  const joined = await repeats.open(order(answer));
  expect(joined.isFirst).toBe(false);
  const last = joined.recording.read();
  await clock.advance(HUB_LIMITS.repeatGraceMs);
  expect(answer.wasAborted()).toBe(false);
  const broken = last.next();
  last.close();
  await clock.advance(HUB_LIMITS.repeatGraceMs);
  expect(answer.wasAborted()).toBe(true);
  expect(await broken).toBeUndefined();
  await expect(textOf(recording)).rejects.toThrow('broke off');
  await expect.poll(() => runRows(db)).toEqual([]);
});

test('what broke off or was refused is not kept', async () => {
  const { db, repeats } = await setUp(fakeClock());
  for (const head of [
    { status: 503, headers: {} },
    { status: 400, headers: {} },
  ]) {
    const answer = answering(head);
    const { recording } = await repeats.open(order(answer));
    answer.say('no');
    answer.end();
    expect(await textOf(recording)).toBe('no');
    await expect.poll(() => runRows(db)).toEqual([]);
  }
  const failing = { ...order(answering()), start: () => Promise.reject(new Error('no way')) };
  const { recording } = await repeats.open(failing);
  await expect(recording.head).rejects.toThrow('no way');
  await expect(textOf(recording)).rejects.toThrow('broke off');
  await expect.poll(() => runRows(db)).toEqual([]);
  expect(await db.selectFrom('kept_answers').select('id').execute()).toEqual([]);
  expect((await repeats.open(order(answering()))).isFirst).toBe(true);
});

test('an answer that is too long to be kept can be joined while it runs', async () => {
  const { db, repeats } = await setUp(fakeClock());
  const answer = answering();
  await repeats.open(order(answer));
  answer.say('x'.repeat(HUB_LIMITS.keptBytesMax + 1));
  const { recording, isFirst } = await repeats.open(order(answer));
  expect(isFirst).toBe(false);
  answer.end();
  expect(await textOf(recording)).toHaveLength(HUB_LIMITS.keptBytesMax + 1);
  await expect.poll(() => runRows(db)).toEqual([]);
  expect(await db.selectFrom('kept_answers').select('id').execute()).toEqual([]);
});

test('one key keeps so many bytes and no more: the oldest goes, and nobody else loses any', async () => {
  const { db, clock, kept, repeats } = await setUp(fakeClock());
  const other = { territory, key: 'key_b', idempotencyKey: 'n' };
  const answer = { fingerprint: new Uint8Array(32), ...good, body: new Uint8Array(10) };
  const id = await kept.idOf(other);
  await db.transaction().execute((transaction) => kept.put(transaction, other, id, answer));
  const fifth = Math.floor(HUB_LIMITS.keptBytesPerKeyMax / 5);
  for (let i = 0; i < 6; i++) {
    await keep(repeats, clock, `n${i}`, fifth);
    await clock.advance(1);
  }
  const rows = await db.selectFrom('kept_answers').select(['key_id', 'bytes']).execute();
  const own = rows.filter((row) => row.key_id === 'key_a');
  expect(own.reduce((sum, row) => sum + row.bytes, 0)).toBeLessThanOrEqual(HUB_LIMITS.keptBytesPerKeyMax);
  expect(own).toHaveLength(4);
  expect(rows.filter((row) => row.key_id === 'key_b')).toHaveLength(1);
  expect((await repeats.open(order(answering(), 'n5'))).isFirst).toBe(false);
  expect((await repeats.open(order(answering(), 'n0'))).isFirst).toBe(true);
});

test('a kept row that was damaged or put in the place of another is as if it were not there', async () => {
  const { db, clock, repeats } = await setUp(fakeClock());
  await keep(repeats, clock, 'n0');
  await keep(repeats, clock, 'n1');
  const rows = await db.selectFrom('kept_answers').select(['id', 'sealed']).execute();
  const [one, two] = rows as [(typeof rows)[0], (typeof rows)[0]];
  await db.updateTable('kept_answers').set({ sealed: two.sealed }).where('id', '=', one.id).execute();
  await db
    .updateTable('kept_answers')
    .set({ sealed: new Uint8Array(3) })
    .where('id', '=', two.id)
    .execute();
  for (const name of ['n0', 'n1']) expect((await repeats.open(order(answering(), name))).isFirst).toBe(true);
});

test('an answer that cannot be written down is given all the same, and written down as soon as it can be', async () => {
  const world = await createWorld(fakeClock());
  let isFull = true;
  const { repeats } = world.replica('rep_a', (kept) => ({
    put: (...order) => (isFull ? Promise.reject(new Error('the disk is full')) : kept.put(...order)),
  }));
  await keep(repeats, world.clock, 'n');
  const again = answering();
  expect((await repeats.open(order(again))).isFirst).toBe(false);
  expect(again.runs()).toEqual([]);
  expect(await world.database.db.selectFrom('runs').select('id').execute()).toHaveLength(1);
  isFull = false;
  await world.clock.advance(HUB_LIMITS.journalRetryMs);
  await expect.poll(() => world.database.db.selectFrom('runs').select('id').execute()).toEqual([]);
  expect(await world.database.db.selectFrom('kept_answers').select('id').execute()).toHaveLength(1);
});

test.each([
  ['data: {"choices":[{}]}\n\ndata: [DONE]\n\n', false],
  ['data: {"choices":[{}]}\n\ndata: {"error":{"code":"no_device"}}\n\n', true],
  ['event: response.completed\ndata: {"type":"response.completed","response":{"error":null}}\n\n', false],
  ['event: response.incomplete\ndata: {"type":"response.incomplete"}\n\n', false],
  ['event: response.failed\ndata: {"type":"response.failed"}\n\n', true],
  ['event: error\ndata: {"type":"error","code":"no_device"}\n\n', true],
  ['data: {"choices":[{', true],
  ['', true],
])('whether a stream failed is seen from its last event: %j', (text, failed) => {
  expect(endsInError([utf8(text)])).toBe(failed);
});
