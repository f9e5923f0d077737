import { expect, test } from 'vitest';
import { fromUtf8, utf8 } from '../bytes.ts';
import type { Channel } from '../ports.ts';
import { createFakeClock, type FakeClock } from './fake-clock.ts';
import { createMemoryChannelPair, createMemoryTransport } from './memory-transport.ts';
import { createSeededRandom } from './seeded-random.ts';
import { yieldToNode } from './yield-to-node.ts';

const newClock = (): FakeClock => createFakeClock(yieldToNode);

function record(channel: Channel): string[] {
  const seen: string[] = [];
  channel.listen({
    onFrame: (frame) => seen.push(fromUtf8(frame)),
    onClose: (reason) => seen.push(`closed: ${reason}`),
  });
  return seen;
}

test('frames arrive after the delay, whole and in order, however the delay jumps about', async () => {
  const clock = newClock();
  const random = createSeededRandom(5);
  const { near, far } = createMemoryChannelPair(clock, () => random.unit() * 100);
  const seen = record(far);
  const sent = Array.from({ length: 50 }, (_, index) => `frame ${index}`);
  for (const text of sent) near.send(utf8(text));
  expect(seen).toEqual([]);
  await clock.advance(100);
  expect(seen).toEqual(sent);
});

test('what the sender does to its bytes afterwards does not reach the other end', async () => {
  const clock = newClock();
  const { near, far } = createMemoryChannelPair(clock, () => 1);
  const seen = record(far);
  const bytes = utf8('before');
  near.send(bytes);
  bytes.fill(0);
  await clock.advance(1);
  expect(seen).toEqual(['before']);
});

test('frames that arrive before anybody listens wait', async () => {
  const clock = newClock();
  const { near, far } = createMemoryChannelPair(clock, () => 0);
  near.send(utf8('early'));
  await clock.advance(1);
  expect(record(far)).toEqual(['early']);
});

test('a close comes behind the frames sent before it, and each end hears of it once', async () => {
  const clock = newClock();
  const { near, far, link } = createMemoryChannelPair(clock, () => 5);
  const [left, right] = [record(near), record(far)];
  near.send(utf8('last words'));
  near.close('done');
  near.close('done again');
  near.send(utf8('never'));
  expect(left).toEqual(['closed: done']);
  await clock.advance(5);
  expect(right).toEqual(['last words', 'closed: done']);
  far.send(utf8('never'));
  link.cut('too late');
  await clock.advance(5);
  expect([left.length, right.length]).toEqual([1, 2]);
});

test('a cut is heard at both ends at once; frames on the way are lost', async () => {
  const clock = newClock();
  const { near, far, link } = createMemoryChannelPair(clock, () => 5);
  const [left, right] = [record(near), record(far)];
  near.send(utf8('lost'));
  link.cut('pulled');
  await clock.advance(10);
  expect([left, right]).toEqual([['closed: pulled'], ['closed: pulled']]);
});

test('who listens only after the channel was closed hears of it all the same', () => {
  const { near, link } = createMemoryChannelPair(newClock(), () => 5);
  link.cut('pulled');
  expect(record(near)).toEqual(['closed: pulled']);
});

test('in a partition nothing arrives, not even a close, and neither end is told', async () => {
  const clock = newClock();
  const { near, far, link } = createMemoryChannelPair(clock, () => 5);
  const [left, right] = [record(near), record(far)];
  near.send(utf8('on the way'));
  link.setSilent(true);
  near.send(utf8('swallowed'));
  far.close('unheard');
  await clock.advance(10);
  expect([left, right]).toEqual([[], ['closed: unheard']]);
  link.setSilent(false);
  near.send(utf8('to nobody'));
  await clock.advance(10);
  expect([left, right]).toEqual([[], ['closed: unheard']]);
});

test('dialling reaches whoever accepts the address, and nobody else', async () => {
  const clock = newClock();
  const accepted: string[][] = [];
  const transport = createMemoryTransport(
    clock,
    () => 1,
    (url, channel) => {
      if (url !== 'ws://hub') return false;
      accepted.push(record(channel));
      return true;
    },
  );
  const signal = new AbortController().signal;
  const channel = await transport.dial('ws://hub', { signal });
  channel.send(utf8('hello'));
  await clock.advance(1);
  expect(accepted).toEqual([['hello']]);
  await expect(transport.dial('ws://nobody', { signal })).rejects.toMatchObject({ code: 'hub_unreachable' });
  const aborted = AbortSignal.abort(new Error('gave up'));
  await expect(transport.dial('ws://hub', { signal: aborted })).rejects.toThrow('gave up');
});
