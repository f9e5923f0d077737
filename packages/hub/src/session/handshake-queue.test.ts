/** Claims about handshakes that come in thousands, on a clock that is stepped. */
import { createFakeClock, createSeededRandom, yieldToNode } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import { createHandshakeQueue, type HandshakeQueue } from './handshake-queue.ts';

function setUp() {
  const clock = createFakeClock(async () => {});
  const queue = createHandshakeQueue({ clock, random: createSeededRandom(1), log: silentLog });
  const done: string[] = [];
  const begin = (name: string, isOver = (): boolean => false): void =>
    queue.begin({ isOver, work: async () => void done.push(name) });
  return { clock, queue, done, begin };
}

test('a few go at once, and no more are begun than may be open', async () => {
  const { queue, done, begin } = setUp();
  for (let i = 0; i < HUB_LIMITS.handshakesBegunMax + 10; i++) begin(`h${i}`);
  for (let i = 0; i < 20; i++) await yieldToNode();
  expect(done).toHaveLength(HUB_LIMITS.handshakesBegunMax);
  queue.ended();
  await yieldToNode();
  expect(done).toHaveLength(HUB_LIMITS.handshakesBegunMax + 1);
});

test('what has begun goes before what has not, and what is over is left out', async () => {
  const { queue, done, begin } = setUp();
  const held = Promise.withResolvers<void>();
  for (let i = 0; i < HUB_LIMITS.handshakesAtOnce; i++) queue.begin({ isOver: () => false, work: () => held.promise });
  begin('new');
  begin('gone', () => true);
  queue.goOn({ isOver: () => false, work: async () => void done.push('second part') });
  held.resolve();
  await yieldToNode();
  expect(done).toEqual(['second part', 'new']);
});

/** Lets `count` handshakes wait, of which one is over in every `paceMs`. */
async function workOff(clock: ReturnType<typeof setUp>['clock'], queue: HandshakeQueue, count: number, paceMs: number) {
  for (let i = 0; i < count; i++) {
    await clock.advance(paceMs);
    queue.ended();
  }
}

test('who would wait too long is sent away, for longer the more are sent, at the pace that was measured', async () => {
  const { clock, queue, begin } = setUp();
  expect(queue.refusalMs(0)).toBeUndefined();
  // Before anything was measured.
  const count = HUB_LIMITS.handshakeWaitMsMax / HUB_LIMITS.handshakePaceMs;
  for (let i = 0; i < count; i++) {
    expect(queue.refusalMs(0)).toBeUndefined();
    begin(`h${i}`);
  }
  await yieldToNode();
  expect(queue.refusalMs(0)).toBeDefined();
  // Ten milliseconds each: what waits takes far longer than a handshake may.
  await workOff(clock, queue, 200, 10);
  const first = queue.refusalMs(0) ?? 0;
  expect(first).toBeGreaterThan(HUB_LIMITS.handshakeWaitMsMax);
  for (let i = 0; i < 500; i++) queue.refusalMs(0);
  expect(queue.refusalMs(0) ?? 0).toBeGreaterThan(first);
  expect(queue.refusalMs(0)).toBeLessThanOrEqual(HUB_LIMITS.joinWaitMsMax);
});

test('who has just connected is counted, and who then says nothing is not for long', async () => {
  const { clock, queue } = setUp();
  const count = HUB_LIMITS.handshakeWaitMsMax / HUB_LIMITS.handshakePaceMs;
  for (let open = 0; open < count; open++) expect(queue.refusalMs(open)).toBeUndefined();
  expect(queue.refusalMs(count)).toBeDefined();
  expect(queue.refusalMs(count - 1)).toBeUndefined();
  await clock.advance(2 * HUB_LIMITS.handshakeHelloMs);
  expect(queue.refusalMs(count)).toBeUndefined();
});
