/** What the local bus alone can do: be as bad as a network, the same way each time. */
import { fromUtf8, utf8 } from '@idlewild/protocol';
import { createFakeClock, createSeededRandom, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { silentLog } from '../log.ts';
import { createLocalBus, createLocalBusHub, type BusFaults, type LocalBusHub } from './local-bus.ts';
import type { Bus } from './port.ts';

const newClock = (): FakeClock => createFakeClock(yieldToNode);

function createWorld(faults: BusFaults): { readonly clock: FakeClock; readonly hub: LocalBusHub } {
  const clock = newClock();
  return { clock, hub: createLocalBusHub({ clock, log: silentLog, random: createSeededRandom(3), faults }) };
}

function record(bus: Bus, pattern: string): string[] {
  const heard: string[] = [];
  bus.subscribe(pattern, ({ bytes }) => heard.push(fromUtf8(bytes)));
  return heard;
}

const numbers = Array.from({ length: 100 }, (_, index) => String(index));

test('a replica that is alone hears itself within the same turn of the event loop', async () => {
  const bus = createLocalBus({ clock: newClock(), log: silentLog });
  const heard = record(bus, 'dev.a');
  bus.publish('dev.a', utf8('x'));
  await Promise.resolve();
  expect(heard).toEqual(['x']);
});

test('a share of messages vanishes, the same ones each time', async () => {
  const run = async (): Promise<string[]> => {
    const { clock, hub } = createWorld({ dropRate: 0.3 });
    const [one, two] = [hub.connect(), hub.connect()];
    const heard = record(two, 'dev.a');
    for (const text of numbers) one.publish('dev.a', utf8(text));
    await clock.settle();
    return heard;
  };
  const heard = await run();
  expect(heard.length).toBeGreaterThan(50);
  expect(heard.length).toBeLessThan(90);
  expect(await run()).toEqual(heard);
});

test('delays differ and keep the order of each sender, also when they end', async () => {
  const faults: BusFaults = { delayMsMax: 100 };
  const { clock, hub } = createWorld(faults);
  const [one, two] = [hub.connect(), hub.connect()];
  const heard = record(two, 'dev.a');
  for (const text of numbers.slice(0, 50)) one.publish('dev.a', utf8(text));
  faults.delayMsMax = 0;
  for (const text of numbers.slice(50)) one.publish('dev.a', utf8(text));
  await clock.settle();
  expect(heard).toEqual([]);
  await clock.advance(100);
  expect(heard).toEqual(numbers);
});

test('a member that is cut off hears nothing, and nobody is told', async () => {
  const faults: BusFaults = { isCut: (from, to) => (from === 2) !== (to === 2) };
  const { clock, hub } = createWorld(faults);
  const [one, two, cut] = [hub.connect(), hub.connect(), hub.connect()];
  const heard = [two, cut].map((bus) => record(bus, 'all.news'));
  cut.subscribe('dev.cut', ({ respond }) => respond(utf8('here')));
  const told: boolean[] = [];
  cut.onChange((isUp) => told.push(isUp));
  one.publish('all.news', utf8('1'));
  const asked = one.request('dev.cut', utf8('?'), { timeoutMs: 50 });
  const refused = asked.catch((error: unknown) => error);
  await clock.advance(50);
  expect(await refused).toMatchObject({ code: 'bus_timeout' });
  expect(heard).toEqual([['1'], []]);
  delete faults.isCut;
  one.publish('all.news', utf8('2'));
  await clock.settle();
  expect(heard).toEqual([['1', '2'], ['2']]);
  expect(told).toEqual([]);
});

test('one member can lose the bus alone', async () => {
  const { clock, hub } = createWorld({});
  const [one, two] = [hub.connect(), hub.connect()];
  const heard = record(two, 'all.news');
  two.setUp(false);
  one.publish('all.news', utf8('1'));
  await clock.settle();
  two.setUp(true);
  one.publish('all.news', utf8('2'));
  await clock.settle();
  expect(heard).toEqual(['2']);
  expect(one.isUp()).toBe(true);
});
