/** Claims about requests that come again to another replica than the one that has them. */
import { createHash } from 'node:crypto';
import { fromHex, hex } from '@idlewild/protocol';
import { createFakeClock, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { answering, codeOf, createWorld, good, next, order, runRows, textOf } from './testing/repeats-world.ts';

const fakeClock = (): FakeClock => createFakeClock(yieldToNode);

async function twoReplicas() {
  const world = await createWorld(fakeClock());
  return { ...world, a: world.replica('rep_a'), b: world.replica('rep_bb') };
}
const seen = (db: Awaited<ReturnType<typeof createWorld>>['db'], id: string, at: number) =>
  db
    .insertInto('replicas')
    .values({
      id,
      address: '',
      version: '0',
      bus: 1,
      state: 'live',
      devices: 0,
      answers: 0,
      started_at_ms: 0,
      seen_at_ms: at,
    })
    .execute();

test('asked of two replicas at once it is begun by one, and both tell the same from the first byte', async () => {
  const { db, a, b } = await twoReplicas();
  const answer = answering();
  const opened = await Promise.all([a, b, a, b, b].map(({ repeats }) => repeats.open(order(answer))));
  expect(opened.filter(({ isFirst }) => isFirst)).toHaveLength(1);
  expect(answer.starts()).toBe(1);
  answer.say('to be ');
  const texts = Promise.all(opened.map(({ recording }) => textOf(recording)));
  answer.say('or not');
  answer.end();
  expect(new Set(await texts)).toEqual(new Set(['to be or not']));
  expect(new Set(opened.map(({ recording }) => recording.requestId)).size).toBe(1);
  expect(await opened.at(-1)?.recording.head).toEqual(good);
  await expect.poll(() => runRows(db)).toEqual([]);
  for (const { repeats } of [a, b]) {
    const { recording, isFirst } = await repeats.open(order(answer));
    expect([await textOf(recording), isFirst]).toEqual(['to be or not', false]);
  }
});

test('who listens elsewhere hears each piece as it comes, and large ones whole', async () => {
  const { clock, a, b } = await twoReplicas();
  const answer = answering();
  await a.repeats.open(order(answer));
  const { recording } = await b.repeats.open(order(answer));
  const reader = recording.read();
  for (const word of ['to ', 'be ', 'or ']) {
    const heard = next(reader);
    // Longer than one question waits: it is asked again.
    await clock.advance(HUB_LIMITS.runWaitMs * 3);
    answer.say(word);
    expect(await heard).toBe(word);
  }
  const large = 'x'.repeat(HUB_LIMITS.runReplyBytesMax * 2 + 1);
  answer.say(large);
  answer.end();
  expect(await textOf(reader)).toBe(large);
});

test('a failure that was told elsewhere is told as it is, and then forgotten by all', async () => {
  const { db, a, b } = await twoReplicas();
  const refused = answering({ status: 503, headers: { 'retry-after': '10' } });
  await a.repeats.open(order(refused));
  const { recording } = await b.repeats.open(order(refused));
  refused.say('no device');
  refused.end();
  expect(await recording.head).toEqual({ status: 503, headers: { 'retry-after': '10' } });
  expect(await textOf(recording)).toBe('no device');
  await expect.poll(() => runRows(db)).toEqual([]);
  expect((await b.repeats.open(order(answering()))).isFirst).toBe(true);
});

test('a listener elsewhere keeps the answer going, and when it has gone the answer is cancelled', async () => {
  const { clock, a, b } = await twoReplicas();
  const answer = answering();
  const { recording } = await a.repeats.open(order(answer));
  const own = recording.read();
  const far = (await b.repeats.open(order(answer))).recording.read();
  own.close();
  const heard = next(far);
  await clock.advance(HUB_LIMITS.repeatGraceMs * 2);
  expect(answer.wasAborted()).toBe(false);
  answer.say('still');
  expect(await heard).toBe('still');
  far.close();
  await clock.advance(HUB_LIMITS.repeatGraceMs);
  expect(answer.wasAborted()).toBe(true);
});

test('the same name with another body is a conflict on every replica, while it runs and afterwards', async () => {
  const { db, a, b } = await twoReplicas();
  const answer = answering();
  const { recording } = await a.repeats.open(order(answer));
  for (const { repeats } of [a, b])
    expect(await codeOf(repeats.open(order(answer, 'n', 'something else')))).toBe('idempotency_conflict');
  answer.end();
  await textOf(recording);
  await expect.poll(() => runRows(db)).toEqual([]);
  for (const { repeats } of [a, b])
    expect(await codeOf(repeats.open(order(answer, 'n', 'something else')))).toBe('idempotency_conflict');
});

test('when its replica is lost the next that is asked goes on, as the same run', async () => {
  const { db, a, b } = await twoReplicas();
  const [before, after] = [answering(), answering()];
  await a.repeats.open(order(before));
  before.say('to be');
  a.die();
  const { recording, isFirst } = await b.repeats.open(order(after));
  expect(isFirst).toBe(false);
  const [began] = before.runs();
  expect(after.runs()).toEqual([{ ...began, epoch: 2, isResumed: true }]);
  expect(await runRows(db)).toMatchObject([{ owner: 'rep_bb', epoch: 2, request_id: began?.requestId }]);
  after.say('to be or not');
  after.end();
  expect(await textOf(recording)).toBe('to be or not');
});

test('asked of three at once after its replica was lost, one takes it over', async () => {
  const world = await createWorld(fakeClock());
  const lost = world.replica('rep_a');
  await lost.repeats.open(order(answering()));
  lost.die();
  const others = ['rep_bb', 'rep_ccc', 'rep_dddd'].map((id) => world.replica(id));
  const answer = answering();
  const opened = await Promise.all(others.map(({ repeats }) => repeats.open(order(answer))));
  expect(answer.starts()).toBe(1);
  answer.say('one');
  answer.end();
  const texts = await Promise.all(opened.map(({ recording }) => textOf(recording)));
  expect(texts).toEqual(['one', 'one', 'one']);
});

test('an owner that was paused and did not notice that another took over ends nothing', async () => {
  const { db, a, b, erased } = await twoReplicas();
  const [before, after] = [answering(), answering()];
  const { recording } = await a.repeats.open(order(before));
  before.say('to be');
  a.bus.setUp(false);
  const taken = await b.repeats.open(order(after));
  after.say('to be or not');
  after.end();
  expect(await textOf(taken.recording)).toBe('to be or not');
  await expect.poll(() => runRows(db)).toEqual([]);
  expect(erased).toHaveLength(1);
  const keptBefore = await db.selectFrom('kept_answers').select('sealed').execute();
  before.say(' something else');
  before.end();
  await textOf(recording);
  await a.repeats.stop();
  expect(erased).toHaveLength(1);
  expect(await db.selectFrom('kept_answers').select('sealed').execute()).toEqual(keptBefore);
});

test('a former owner is told when another has what it had, and its listeners are cut off', async () => {
  const { clock, a, b } = await twoReplicas();
  const [before, after] = [answering(), answering()];
  const reader = (await a.repeats.open(order(before))).recording.read();
  before.say('to be');
  expect(await next(reader)).toBe('to be');
  const adopted = Promise.withResolvers<void>();
  a.bus.setUp(false);
  await b.repeats.open({
    ...order(after),
    async start(run, making) {
      await adopted.promise;
      return after.start(run, making);
    },
  });
  a.bus.setUp(true);
  await clock.settle();
  // Until then it could still end what the other is about to read.
  const heard = next(reader);
  before.say(' or not');
  expect(await heard).toBe(' or not');
  adopted.resolve();
  await expect(reader.next()).rejects.toThrow('broke off');
  before.say(' to be');
  await expect(reader.next()).rejects.toThrow('broke off');
  // What makes it may be the other's by now, too.
  expect(before.wasAborted()).toBe(false);
  before.end();
});

test('what was left to others is told, and not ended', async () => {
  const { db, clock, a, b } = await twoReplicas();
  const [before, after] = [answering({ status: 503, headers: {} }), answering()];
  const { recording } = await a.repeats.open(order(before));
  await recording.head;
  before.leave();
  before.say('it goes on elsewhere');
  before.end();
  expect(await textOf(recording)).toBe('it goes on elsewhere');
  await clock.settle();
  expect(await runRows(db)).toMatchObject([{ owner: 'rep_a', epoch: 1 }]);
  await b.repeats.open(order(after));
  expect(after.runs()).toMatchObject([{ epoch: 2, isResumed: true }]);
});

test('without a bus an answer of another is refused for a moment, and gone on with once that one is lost', async () => {
  const { db, clock, a, b } = await twoReplicas();
  const answer = answering();
  await seen(db, 'rep_a', clock.now());
  await a.repeats.open(order(answer));
  b.bus.setUp(false);
  expect(await codeOf(b.repeats.open(order(answer)))).toBe('bus_down');
  expect(answer.starts()).toBe(1);
  await clock.advance(HUB_LIMITS.replicaLiveMs + 1);
  expect((await b.repeats.open(order(answer))).isFirst).toBe(false);
  expect(answer.starts()).toBe(2);
});

test('an answer that is continued is not begun where nothing is known of it', async () => {
  const { db, a, b } = await twoReplicas();
  const answer = answering();
  const continued = (requestId: string) => ({ ...order(answer), continues: requestId });
  expect(await codeOf(a.repeats.open(continued('req_x')))).toBe('invalid_request');
  expect(await runRows(db)).toEqual([]);
  const { recording } = await a.repeats.open(order(answer));
  const known = recording.requestId ?? '';
  for (const { repeats } of [a, b]) {
    expect(await codeOf(repeats.open(continued('req_x')))).toBe('invalid_request');
    expect((await repeats.open(continued(known))).isFirst).toBe(false);
  }
  answer.end();
  await textOf(recording);
  await expect.poll(() => runRows(db)).toEqual([]);
  expect(await codeOf(b.repeats.open(continued('req_x')))).toBe('invalid_request');
  expect(await textOf((await b.repeats.open(continued(known))).recording)).toBe('');
  expect(answer.starts()).toBe(1);
});

test('who does not come back says so to any replica, and the answer ends at once', async () => {
  const { db, clock, a, b } = await twoReplicas();
  const answer = answering();
  const { recording } = await a.repeats.open(order(answer));
  const name = { territory: 'ter_a', key: 'key_a', idempotencyKey: 'n' };
  expect(await b.repeats.cancel({ ...name, idempotencyKey: 'another' })).toBe(false);
  expect(await b.repeats.cancel(name)).toBe(true);
  await clock.settle();
  expect(answer.wasAborted()).toBe(true);
  await expect(textOf(recording)).rejects.toThrow('broke off');
  await expect.poll(() => runRows(db)).toEqual([]);
  expect(await a.repeats.cancel(name)).toBe(false);
});

test('who does not come back says so, too, when the replica that had it is gone', async () => {
  const { db, clock, a, b, erased } = await twoReplicas();
  await a.repeats.open(order(answering()));
  const [run] = await runRows(db);
  a.die();
  const cancelled = b.repeats.cancel({ territory: 'ter_a', key: 'key_a', idempotencyKey: 'n' });
  await clock.advance(HUB_LIMITS.runAskMs);
  expect(await cancelled).toBe(true);
  expect(await runRows(db)).toEqual([]);
  expect(erased).toEqual([run?.id]);
});

test('a replica that stops leaves what runs to another', async () => {
  const { db, a, b } = await twoReplicas();
  const [before, after] = [answering(), answering()];
  const { recording } = await a.repeats.open(order(before));
  const hung = textOf(recording);
  hung.catch(() => {});
  await a.repeats.stop();
  await expect(hung).rejects.toThrow('broke off');
  expect(await runRows(db)).toMatchObject([{ owner: 'rep_a', epoch: 1 }]);
  await b.repeats.open(order(after));
  expect(after.runs()).toMatchObject([{ epoch: 2, isResumed: true }]);
});

test('runs whose replica is gone are forgotten when nobody came back for a while, and no others', async () => {
  const { db, clock, a, b, erased } = await twoReplicas();
  const late = answering();
  await seen(db, 'rep_a', clock.now());
  await a.repeats.open(order(answering(), 'lost'));
  await a.repeats.open(order(late, 'found'));
  await b.repeats.open(order(answering(), 'own'));
  const expire = () => db.transaction().execute((transaction) => b.runs.expire(transaction));
  expect(await expire()).toEqual([]);
  a.die();
  await clock.advance(HUB_LIMITS.replicaLiveMs + 1);
  expect(await expire()).toEqual([]);
  await clock.advance(HUB_LIMITS.repeatGraceMs - 1);
  expect(await expire()).toEqual([]);
  await b.repeats.open(order(late, 'found'));
  await clock.advance(1);
  const [lost] = await expire();
  expect(erased).toEqual([lost?.id]);
  const left = await db.selectFrom('runs').select(['owner', 'epoch']).execute();
  expect(left.toSorted((one, other) => one.epoch - other.epoch)).toEqual([
    { owner: 'rep_bb', epoch: 1 },
    { owner: 'rep_bb', epoch: 2 },
  ]);
  // What no answer can take so long goes, whosever it is.
  await clock.advance(HUB_LIMITS.runMsMax);
  expect(await expire()).toHaveLength(2);
});

test('a row of a run tells neither the name nor the question, not even to who guesses them', async () => {
  const { db, a, b } = await twoReplicas();
  const asked = 'a question that can be guessed';
  await a.repeats.open(order(answering(), 'a name', asked));
  const [row] = await runRows(db);
  const texts = JSON.stringify({ ...row, fingerprint: hex(row?.fingerprint ?? fromHex('')) });
  for (const text of [asked, 'a name', createHash('sha256').update(asked).digest('hex')])
    expect(texts).not.toContain(text);
  expect((await b.repeats.open(order(answering(), 'a name', asked))).isFirst).toBe(false);
});
