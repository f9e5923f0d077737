import { utf8 } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../db/open.ts';
import type { Database } from '../db/schema.ts';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import { createKeptAnswers, type KeptAnswers } from './kept-answers.ts';
import { createRepeats, endsInError, type Recording, type Repeats, type Started } from './repeats.ts';

const territory = 'ter_a';
const good = { status: 200, headers: { 'content-type': 'application/json' } };

async function setUp(): Promise<{ db: Database; clock: FakeClock; kept: KeptAnswers; repeats: Repeats }> {
  const clock = createFakeClock(() => new Promise((resolve) => setImmediate(resolve)));
  const { db, close } = await openDatabase({ file: ':memory:', clock, sync: 'off' });
  onTestFinished(close);
  await db
    .insertInto('territories')
    .values({ id: territory, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 })
    .execute();
  const key = new Uint8Array(32).fill(1);
  const deps = { db, crypto: nodeCrypto, random: createSeededRandom(1), clock, key, log: silentLog };
  const kept = createKeptAnswers(deps);
  return { db, clock, kept, repeats: createRepeats({ kept, clock, log: silentLog }) };
}

/** An answer whose chunks a test gives one by one. */
function answering(head: Started['head'] = good) {
  const chunks: Uint8Array[] = [];
  let more = Promise.withResolvers<void>();
  let isOver = false;
  let starts = 0;
  let signal = new AbortController().signal;
  const change = (): void => {
    more.resolve();
    more = Promise.withResolvers();
  };
  async function* body(): AsyncGenerator<Uint8Array> {
    for (let next = 0; ;) {
      if (signal.aborted) throw new Error('aborted');
      const chunk = chunks[next];
      if (chunk !== undefined) {
        next++;
        yield chunk;
      } else if (isOver) return;
      else await more.promise;
    }
  }
  return {
    say(text: string): void {
      chunks.push(utf8(text));
      change();
    },
    end(): void {
      isOver = true;
      change();
    },
    starts: () => starts,
    wasAborted: () => signal.aborted,
    async start(given: AbortSignal): Promise<Started> {
      starts++;
      signal = given;
      given.addEventListener('abort', change);
      return { head, body: body() };
    },
  };
}
const order = (answer: ReturnType<typeof answering>, name = 'n', asked = 'what') => ({
  territory,
  key: 'key_a',
  idempotencyKey: name,
  asked: utf8(asked),
  start: (signal: AbortSignal) => answer.start(signal),
});
const textOf = (recording: Recording): string =>
  recording.chunks.map((chunk) => Buffer.from(chunk).toString()).join('');
/** Keeps one whole answer of `bytes`. */
async function keep(repeats: Repeats, clock: FakeClock, name: string, bytes = 10): Promise<void> {
  const answer = answering();
  const { recording } = await repeats.open(order(answer, name));
  answer.say('x'.repeat(bytes));
  answer.end();
  await expect.poll(() => recording.state()).toBe('whole');
  await repeats.stop();
  await clock.settle();
}

test('an answer is kept for its time and not longer, and then it is erased', async () => {
  const { db, clock, kept, repeats } = await setUp();
  await keep(repeats, clock, 'n');
  await clock.advance(HUB_LIMITS.keptAnswerMs - 1);
  const again = answering();
  const { recording, isFirst } = await repeats.open(order(again));
  expect({ isFirst, text: textOf(recording), starts: again.starts() }).toEqual({
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
  const { clock, repeats } = await setUp();
  const answer = answering();
  const { recording } = await repeats.open(order(answer));
  const [leave, leaveToo] = [recording.listen(() => {}), recording.listen(() => {})];
  leave();
  await clock.advance(HUB_LIMITS.repeatGraceMs * 2);
  expect(answer.wasAborted()).toBe(false);
  leaveToo();
  await clock.advance(HUB_LIMITS.repeatGraceMs - 1);
  const joined = await repeats.open(order(answer));
  expect(joined.isFirst).toBe(false);
  const leaveLast = joined.recording.listen(() => {});
  await clock.advance(HUB_LIMITS.repeatGraceMs);
  expect(answer.wasAborted()).toBe(false);
  leaveLast();
  await clock.advance(HUB_LIMITS.repeatGraceMs);
  expect(answer.wasAborted()).toBe(true);
  await expect.poll(() => recording.state()).toBe('broken');
});

test('what broke off or was refused is not kept', async () => {
  const { db, repeats } = await setUp();
  for (const head of [
    { status: 503, headers: {} },
    { status: 400, headers: {} },
  ]) {
    const answer = answering(head);
    const { recording } = await repeats.open(order(answer));
    answer.say('no');
    answer.end();
    await expect.poll(() => recording.state()).toBe('whole');
    await repeats.stop();
  }
  const failing = { ...order(answering()), start: () => Promise.reject(new Error('no way')) };
  const { recording } = await repeats.open(failing);
  await expect(recording.head).rejects.toThrow('no way');
  expect(recording.state()).toBe('broken');
  expect(await db.selectFrom('kept_answers').select('id').execute()).toEqual([]);
  expect((await repeats.open(order(answering()))).isFirst).toBe(true);
});

test('an answer that is too long to be kept can be joined while it runs', async () => {
  const { db, repeats } = await setUp();
  const answer = answering();
  await repeats.open(order(answer));
  answer.say('x'.repeat(HUB_LIMITS.keptBytesMax + 1));
  const { recording, isFirst } = await repeats.open(order(answer));
  expect(isFirst).toBe(false);
  answer.end();
  await expect.poll(() => recording.state()).toBe('whole');
  expect(recording.chunks[0]?.length).toBe(HUB_LIMITS.keptBytesMax + 1);
  await repeats.stop();
  expect(await db.selectFrom('kept_answers').select('id').execute()).toEqual([]);
});

test('one key keeps so many bytes and no more: the oldest goes, and nobody else loses any', async () => {
  const { db, clock, kept, repeats } = await setUp();
  const other = { territory, key: 'key_b', idempotencyKey: 'n' };
  const answer = { fingerprint: new Uint8Array(32), ...good, body: new Uint8Array(10) };
  await kept.put(other, await kept.idOf(other), answer);
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
  const { db, clock, repeats } = await setUp();
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

test('an answer that cannot be written down is given all the same, and asked again it is made anew', async () => {
  const { clock, kept } = await setUp();
  const put = async (): Promise<void> => {
    throw new Error('the disk is full');
  };
  const repeats = createRepeats({ kept: { ...kept, put }, clock, log: silentLog });
  await keep(repeats, clock, 'n');
  expect((await repeats.open(order(answering()))).isFirst).toBe(true);
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
