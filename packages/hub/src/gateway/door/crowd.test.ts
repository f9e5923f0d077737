import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { createCrowd, type Crowd, type CrowdBounds, type Visitor } from './crowd.ts';

function setUp(bounds: Partial<CrowdBounds> = {}) {
  const clock = createFakeClock(async () => {});
  const told: { readonly fields: object; readonly text: string }[] = [];
  const log = { ...silentLog, warn: (fields: object, text: string) => void told.push({ fields, text }) };
  const dropped: string[] = [];
  const gone: string[] = [];
  const all = { perAddress: 4, strangers: 8, all: 12, ...bounds };
  const crowd = createCrowd({ clock, log, bounds: all, onDropped: (why) => void dropped.push(why) });
  const comes = (name: string, from?: string): Visitor => crowd.comes({ destroy: () => void gone.push(name) }, from);
  const many = (names: string, from?: string): Visitor[] => [...names].map((name) => comes(name, from));
  return { clock, told, dropped, gone, crowd, comes, many };
}

/** Somebody whose key worked, and who was answered. */
function rest(crowd: Crowd, visitor: Visitor): void {
  crowd.asks(visitor, visitor.from);
  crowd.stands(visitor, true);
  crowd.answered(visitor);
}

test('of one address the silent go first, then the idle, then the busy, each time the oldest', () => {
  const { crowd, many, gone, dropped } = setUp();
  const [a, b, c] = many('abcd', '192.0.2.7') as [Visitor, Visitor, Visitor, Visitor];
  crowd.asks(a, a.from);
  crowd.asks(b, b.from);
  crowd.answered(b);
  crowd.asks(c, c.from);
  many('e', '192.0.2.7');
  expect(gone).toEqual(['d']);
  many('f', '192.0.2.7').forEach((visitor) => crowd.asks(visitor, visitor.from));
  expect(gone).toEqual(['d', 'e']);
  many('g', '192.0.2.7').forEach((visitor) => crowd.asks(visitor, visitor.from));
  expect(gone).toEqual(['d', 'e', 'b']);
  many('h', '192.0.2.7');
  expect(gone).toEqual(['d', 'e', 'b', 'a']);
  // Others have nothing to do with it.
  many('wxyz', '192.0.2.8');
  expect(dropped).toEqual(['address', 'address', 'address', 'address']);
  expect(crowd.counts()).toEqual({ strangers: 8, known: 0 });
});

test('of all addresses together the same, and those that count to none', () => {
  const { many, gone, dropped, crowd } = setUp();
  many('abcdefgh');
  expect(gone).toEqual([]);
  many('ij', '192.0.2.7');
  expect(gone).toEqual(['a', 'b']);
  expect(dropped).toEqual(['strangers', 'strangers']);
  expect(crowd.counts()).toEqual({ strangers: 8, known: 0 });
});

test('who is known counts to no address and with no strangers, at work or resting, until it is known no longer', () => {
  const { crowd, many, gone } = setUp();
  const devices = many('abc', '192.0.2.7');
  for (const device of devices) {
    crowd.asks(device, device.from);
    crowd.stands(device, true);
  }
  const caller = many('d', '192.0.2.7')[0] as Visitor;
  rest(crowd, caller);
  many('efgh', '192.0.2.7');
  expect(gone).toEqual([]);
  expect(crowd.counts()).toEqual({ strangers: 4, known: 4 });
  crowd.asks(caller, caller.from);
  crowd.stands(caller, false);
  crowd.answered(caller);
  expect(crowd.counts()).toEqual({ strangers: 5, known: 3 });
  many('i', '192.0.2.7');
  expect(gone).toEqual(['e']);
});

test('when no more files can be opened the resting go after all strangers, and nobody who is at work', () => {
  const { crowd, comes, many, gone, dropped } = setUp({ strangers: 3, all: 4 });
  const [a, b, c] = many('ab').concat(many('c')) as [Visitor, Visitor, Visitor];
  for (const visitor of [a, b]) rest(crowd, visitor);
  crowd.asks(c, undefined);
  crowd.stands(c, true);
  // A busy stranger goes before somebody known who rests.
  const stranger = many('d')[0] as Visitor;
  crowd.asks(stranger, undefined);
  const e = many('e')[0] as Visitor;
  expect(gone).toEqual(['d']);
  const works = (visitor: Visitor): void => {
    crowd.asks(visitor, undefined);
    crowd.stands(visitor, true);
  };
  works(e);
  for (const name of 'fg') works(comes(name));
  // a and b rested for longest; of a house full of those who work a newcomer has no place.
  expect(gone).toEqual(['d', 'a', 'b']);
  expect(many('h')[0]?.isGone).toBe(true);
  expect(gone.at(-1)).toBe('h');
  expect(new Set(dropped)).toEqual(new Set(['files']));
  expect(crowd.counts()).toEqual({ strangers: 0, known: 4 });
});

test('behind a balancer a connection counts to whom it asks for, each time', () => {
  const { crowd, many, gone } = setUp();
  const lines = many('abcdefg');
  lines.slice(0, 4).forEach((line) => crowd.asks(line, '192.0.2.7'));
  expect(gone).toEqual([]);
  crowd.asks(lines[4] as Visitor, '192.0.2.7');
  expect(gone).toEqual(['a']);
  // b is answered, and is used for somebody else then.
  crowd.answered(lines[1] as Visitor);
  crowd.asks(lines[1] as Visitor, '192.0.2.8');
  crowd.asks(lines[5] as Visitor, '192.0.2.7');
  expect(gone).toEqual(['a']);
  crowd.asks(lines[6] as Visitor, '192.0.2.7');
  expect(gone).toEqual(['a', 'c']);
});

test('a stranger who takes too long with what it asked is let go, and who is known is not', async () => {
  const { crowd, many, gone, clock, dropped } = setUp();
  const [a, b, c] = many('abc') as [Visitor, Visitor, Visitor];
  for (const visitor of [a, b, c]) crowd.asks(visitor, undefined);
  crowd.stands(a, true);
  crowd.answered(c);
  await clock.advance(HUB_LIMITS.strangerBusyMsMax + HUB_LIMITS.crowdLookMs);
  expect(gone).toEqual(['b']);
  expect(dropped).toEqual(['slow']);
  crowd.stop();
});

test('who asks for ever more before anything is answered is let go, known or not', () => {
  const { crowd, many, gone, dropped } = setUp();
  const lines = many('ab') as [Visitor, Visitor];
  crowd.stands(lines[0], true);
  for (const line of lines) {
    for (let count = 0; count < 3 * HUB_LIMITS.pipelinedMax; count++) {
      crowd.asks(line, undefined);
      if (count % 2 === 0) crowd.answered(line);
    }
  }
  expect(gone).toEqual(['a', 'b']);
  expect(dropped).toEqual(['pipelined', 'pipelined']);
  expect(crowd.counts()).toEqual({ strangers: 0, known: 0 });
});

test('who left is forgotten once, whatever is said of it afterwards', () => {
  const { crowd, many, gone } = setUp();
  const [a] = many('abcd', '192.0.2.7') as [Visitor];
  crowd.leaves(a);
  crowd.leaves(a);
  crowd.asks(a, '192.0.2.7');
  crowd.stands(a, true);
  crowd.answered(a);
  expect(crowd.counts()).toEqual({ strangers: 3, known: 0 });
  many('e', '192.0.2.7');
  expect(gone).toEqual([]);
});

test('a flood is told of once a minute, with how many there were', async () => {
  const { many, told, clock } = setUp();
  for (let round = 0; round < 100; round++) many('abcd', '192.0.2.7');
  expect(told).toEqual([{ fields: { closed: 1, address: '192.0.2.7' }, text: expect.stringContaining('one address') }]);
  await clock.advance(HUB_LIMITS.crowdToldMs);
  many('e', '192.0.2.7');
  expect(told.map(({ fields }) => fields)).toEqual([
    { closed: 1, address: '192.0.2.7' },
    { closed: 396, address: '192.0.2.7' },
  ]);
});

test('ten thousand who come and go leave nothing behind', () => {
  const { crowd, comes } = setUp({ perAddress: 100, strangers: 1_000, all: 20_000 });
  const visitors: Visitor[] = [];
  for (let index = 0; index < 10_000; index++) visitors.push(comes('x', `192.0.2.${index % 250}`));
  expect(crowd.counts().strangers).toBe(1_000);
  visitors.forEach((visitor) => crowd.leaves(visitor));
  expect(crowd.counts()).toEqual({ strangers: 0, known: 0 });
});
