/** What somebody who has the server can do to sealed messages: a member of the same bus without the key. */
import { codeOf, fromUtf8, utf8, type Crypto } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { silentLog } from '../log.ts';
import { createLocalBusHub, type LocalBusHub } from './local-bus.ts';
import type { Bus, BusMessage } from './port.ts';
import { createSealedBus, type SealedBus } from './sealed-bus.ts';

const PREFIX = 'iw.0a1b2c3d';
const key = nodeRandom.bytes(32);

interface World {
  readonly clock: FakeClock;
  readonly hub: LocalBusHub;
  readonly warnings: string[];
  connect(options?: { key?: Uint8Array; prefix?: string; crypto?: Crypto }): Promise<SealedBus>;
}

function createWorld(): World {
  const clock = createFakeClock(yieldToNode);
  const warnings: string[] = [];
  const log = {
    ...silentLog,
    warn: (fields: object, message: string) => void warnings.push(JSON.stringify(fields) + message),
  };
  const hub = createLocalBusHub({ clock, log });
  const deps = { key, prefix: PREFIX, crypto: nodeCrypto, random: nodeRandom, clock, log };
  return { clock, hub, warnings, connect: (options) => createSealedBus(hub.connect(), { ...deps, ...options }) };
}

/** Everything that goes over the server, as it is there. */
function tap({ hub }: World, pattern: string): { readonly bus: Bus; readonly seen: BusMessage[] } {
  const bus = hub.connect();
  const seen: BusMessage[] = [];
  bus.subscribe(`${PREFIX}.${pattern}`, (message) => seen.push(message));
  return { bus, seen };
}

function record(bus: Bus, pattern: string): string[] {
  const heard: string[] = [];
  bus.subscribe(pattern, ({ subject, bytes }) => heard.push(`${subject} ${fromUtf8(bytes)}`));
  return heard;
}

test('the server sees nothing of what is said', async () => {
  const world = createWorld();
  const [one, { seen }] = [await world.connect(), tap(world, 'dev.a')];
  for (let index = 0; index < 2; index++) one.publish('dev.a', utf8('the words of a prompt'));
  await world.clock.settle();
  expect(seen).toHaveLength(2);
  for (const { bytes } of seen) expect(Buffer.from(bytes).includes('words')).toBe(false);
  expect(seen[0]?.bytes.subarray(23)).not.toEqual(seen[1]?.bytes.subarray(23));
});

test('a message with any bit changed, cut short or made up is dropped and counted', async () => {
  const world = createWorld();
  const [one, two, { bus, seen }] = [await world.connect(), await world.connect(), tap(world, 'dev.b')];
  const heard = record(two, 'dev.a');
  one.publish('dev.b', utf8('x'));
  await world.clock.settle();
  const [{ bytes }] = seen as [BusMessage];
  const changed = Array.from(bytes, (_, at) => bytes.map((byte, index) => (index === at ? byte ^ 1 : byte)));
  const cut = Array.from(bytes, (_, length) => bytes.subarray(0, length));
  for (const forged of [...changed, ...cut, nodeRandom.bytes(100)]) bus.publish(`${PREFIX}.dev.a`, forged);
  await world.clock.settle();
  expect(heard).toEqual([]);
  expect(two.refused()).toBe(2 * bytes.length + 1);
});

test('a message is not taken for another subject, nor a second time, nor by who listens later', async () => {
  const world = createWorld();
  const [one, two, { bus, seen }] = [await world.connect(), await world.connect(), tap(world, 'dev.*')];
  const heard = ['dev.a', 'dev.b'].map((subject) => record(two, subject));
  one.publish('dev.a', utf8('1'));
  one.publish('dev.a', utf8('2'));
  await world.clock.settle();
  const late = record(two, 'dev.*');
  for (const { bytes } of seen.slice())
    for (const subject of ['dev.a', 'dev.b']) bus.publish(`${PREFIX}.${subject}`, bytes);
  await world.clock.settle();
  expect(heard).toEqual([['dev.a 1', 'dev.a 2'], []]);
  expect(late).toEqual([]);
  one.publish('dev.a', utf8('3'));
  await world.clock.settle();
  expect(late).toEqual(['dev.a 3']);
});

test('listeners of one process that both match each hear a message, and neither twice', async () => {
  const world = createWorld();
  const [one, two, { bus, seen }] = [await world.connect(), await world.connect(), tap(world, 'dev.*')];
  const heard = ['dev.a', 'dev.*'].map((pattern) => record(two, pattern));
  one.publish('dev.a', utf8('1'));
  await world.clock.settle();
  const [{ subject, bytes }] = seen as [BusMessage];
  bus.publish(subject, bytes);
  await world.clock.settle();
  expect(heard).toEqual([['dev.a 1'], ['dev.a 1']]);
  expect(two.refused()).toBe(2);
});

test('a message that was held back for more than a minute is refused, also by a replica that is new', async () => {
  const world = createWorld();
  const [one, { bus, seen }] = [await world.connect(), tap(world, 'dev.a')];
  one.publish('dev.a', utf8('old'));
  await world.clock.advance(30_000);
  one.publish('dev.a', utf8('newer'));
  await world.clock.advance(40_000);
  const heard = record(await world.connect(), 'dev.a');
  for (const { subject, bytes } of seen.slice()) bus.publish(subject, bytes);
  await world.clock.settle();
  expect(heard).toEqual(['dev.a newer']);
});

test('hubs with other keys or other prefixes do not hear each other', async () => {
  const world = createWorld();
  const one = await world.connect();
  const otherKey = await world.connect({ key: nodeRandom.bytes(32) });
  const otherPrefix = await world.connect({ prefix: 'iw.ffffffff' });
  const heard = [record(otherKey, 'all.*'), record(otherPrefix, 'all.*')];
  one.publish('all.news', utf8('x'));
  await world.clock.settle();
  expect(heard).toEqual([[], []]);
  expect([otherKey.refused(), otherPrefix.refused()]).toEqual([1, 0]);
});

test('an answer counts only from a replica of this hub, and only for the question that it was given to', async () => {
  const world = createWorld();
  const [one, two, { bus }] = [await world.connect(), await world.connect(), tap(world, 'dev.none')];
  const answers = [utf8('yes')];
  const questions: Uint8Array[] = [];
  bus.subscribe(`${PREFIX}.dev.a`, ({ bytes, respond }) => {
    questions.push(bytes);
    const answer = answers.shift();
    if (answer !== undefined) respond(answer);
  });
  const forged = one.request('dev.a', utf8('1'), { timeoutMs: 1_000 });
  await expect(forged).rejects.toMatchObject({ code: 'bus_timeout' });

  const held = one.request('dev.a', utf8('2'), { timeoutMs: 1_000 });
  await world.clock.settle();
  const hears = two.subscribe('dev.a', ({ bytes, respond }) => respond(bytes));
  answers.push(await bus.request(`${PREFIX}.dev.a`, questions[1] as Uint8Array, { timeoutMs: 1_000 }));
  hears.stop();
  const moved = one.request('dev.a', utf8('3'), { timeoutMs: 1_000 });
  await expect(moved).rejects.toMatchObject({ code: 'bus_timeout' });
  expect(one.refused()).toBe(2);
  const late = held.catch(codeOf);
  await world.clock.advance(1_000);
  expect(await late).toBe('bus_timeout');
});

const long = (fill: number): Uint8Array => new Uint8Array(1_200_000).fill(fill);

test('of a message that lost a part nothing is heard, and the next is heard whole', async () => {
  const world = createWorld();
  const { bus, seen } = tap(world, 'dev.a');
  const [one, reader] = [await world.connect(), await world.connect()];
  const heard: Uint8Array[] = [];
  one.publish('dev.a', long(1));
  one.publish('dev.a', long(2));
  await world.clock.settle();
  expect(seen).toHaveLength(6);
  reader.subscribe('dev.a', ({ bytes }) => heard.push(bytes));
  for (const index of [0, 2, 3, 4, 5]) bus.publish(`${PREFIX}.dev.a`, (seen[index] as BusMessage).bytes);
  await world.clock.settle();
  expect(heard.map((bytes) => Buffer.from(bytes).equals(long(2)))).toEqual([true]);
  expect(reader.refused()).toBe(1);
});

test('parts whose rest does not come are forgotten after ten seconds', async () => {
  const world = createWorld();
  const { bus, seen } = tap(world, 'dev.a');
  const [one, reader] = [await world.connect(), await world.connect()];
  const heard: Uint8Array[] = [];
  one.publish('dev.a', long(1));
  await world.clock.settle();
  reader.subscribe('dev.a', ({ bytes }) => heard.push(bytes));
  const pass = (index: number): void => bus.publish(`${PREFIX}.dev.a`, (seen[index] as BusMessage).bytes);
  pass(0);
  pass(1);
  await world.clock.settle();
  expect(world.clock.nextInMs()).toBe(10_000);
  await world.clock.advance(10_000);
  expect(world.clock.nextInMs()).toBeUndefined();
  pass(2);
  await world.clock.settle();
  expect(heard).toEqual([]);
  expect(reader.refused()).toBe(1);
});

test('where keys take time, everything still comes in order, and close waits for what was published', async () => {
  const world = createWorld();
  const random = createSeededRandom(7);
  const slowly = async <Result>(act: () => Result): Promise<Awaited<Result>> => {
    for (let turns = random.unit() * 4; turns > 0; turns--) await Promise.resolve();
    return await act();
  };
  const crypto: Crypto = {
    ...nodeCrypto,
    seal: (...given) => slowly(() => nodeCrypto.seal(...given)),
    open: (...given) => slowly(() => nodeCrypto.open(...given)),
    hkdf: (...given) => slowly(() => nodeCrypto.hkdf(...given)),
  };
  const [one, two] = [await world.connect({ crypto }), await world.connect({ crypto })];
  const heard = record(two, 'dev.*');
  two.subscribe('all.echo', ({ bytes, respond }) => respond(bytes));
  const sent = Array.from({ length: 200 }, (_, index) => `dev.${index % 3} ${index}`);
  for (const text of sent) one.publish(text.split(' ')[0] as string, utf8(text.split(' ')[1] as string));
  const answer = await one.request('all.echo', long(3), { timeoutMs: 1_000 });
  expect(Buffer.from(answer).equals(long(3))).toBe(true);
  expect(heard).toEqual(sent);
  one.publish('dev.0', utf8('last'));
  await one.close();
  await world.clock.settle();
  expect(heard.at(-1)).toBe('dev.0 last');
});

test('refusals are in the log once a minute, with their reasons', async () => {
  const world = createWorld();
  const [one, { bus }] = [await world.connect(), tap(world, 'dev.none')];
  record(one, 'dev.a');
  const forge = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index++) bus.publish(`${PREFIX}.dev.a`, utf8('x'));
    await world.clock.settle();
  };
  await forge(10);
  expect(world.warnings).toHaveLength(1);
  await world.clock.advance(60_000);
  await forge(10);
  expect(world.warnings).toHaveLength(2);
  expect(world.warnings[1]).toContain('"unknown":11');
});

test('what is longer than the bus carries is refused to who publishes it', async () => {
  const one = await createWorld().connect();
  const tooLong = new Uint8Array(4_194_305);
  expect(() => one.publish('dev.a', tooLong)).toThrow(/4194305 bytes/);
  await expect(one.request('dev.a', tooLong, { timeoutMs: 1 })).rejects.toMatchObject({ code: 'frame_too_large' });
});
