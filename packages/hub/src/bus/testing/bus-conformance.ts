/** What every bus must do, as tests that each implementation runs. */
import { codeOf, concat, fromUtf8, utf8 } from '@idlewild/protocol';
import { afterEach, expect, test } from 'vitest';
import type { Bus, BusMessage } from '../port.ts';

export interface BusUnderTest {
  /** Another member of the same bus. */
  connect(): Promise<Bus>;
  /** The longest payload that it carries. */
  readonly bytesMax: number;
  /** Takes the bus away from everybody, and gives it back. */
  down(): Promise<void>;
  up(): Promise<void>;
}

export function testBus(name: string, create: () => Promise<BusUnderTest | undefined>): void {
  const open: Bus[] = [];
  const check = (claim: string, act: (bus: BusUnderTest, connect: () => Promise<Bus>) => Promise<void>): void => {
    test(`${name}: ${claim}`, async ({ skip }) => {
      const bus = await create();
      if (bus === undefined) return skip();
      expect.hasAssertions();
      await act(bus, async () => {
        const member = await bus.connect();
        open.push(member);
        return member;
      });
    });
  };
  afterEach(async () => {
    for (const bus of open.splice(0)) await bus.close();
  });

  check('what is published reaches all who listen, the publisher too, and nobody else', async (_, connect) => {
    const [one, two, three] = [await connect(), await connect(), await connect()];
    const heard = [one, two].map((bus) => record(bus, 'all.news'));
    const other = record(three, 'all.other');
    await settled(one, two, three);
    one.publish('all.news', utf8('hello'));
    await settled(one, two, three);
    expect(heard).toEqual([['all.news hello'], ['all.news hello']]);
    expect(other).toEqual([]);
  });

  check('a last word * stands for any one word', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    const heard = record(two, 'rep.a.*');
    await settled(two);
    for (const subject of ['rep.a.one', 'rep.b.one', 'rep.a.two', 'rep.a', 'rep.a.one.more']) {
      one.publish(subject, utf8('x'));
    }
    await settled(one, two);
    expect(heard).toEqual(['rep.a.one x', 'rep.a.two x']);
  });

  check('ten thousand messages of one sender come in order, whatever they are sent to', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    const heard: string[] = [];
    for (const pattern of ['dev.a', 'dev.b', 'all.*']) {
      two.subscribe(pattern, ({ bytes }) => heard.push(fromUtf8(bytes)));
    }
    await settled(two);
    const sent = Array.from({ length: 10_000 }, (_unused, index) => String(index));
    sent.forEach((text, index) => one.publish(['dev.a', 'dev.b', 'all.c'][index % 3] ?? '', utf8(text)));
    await settled(one, two);
    expect(heard).toEqual(sent);
  });

  check('what is published is heard after the publisher has gone on, never within', async (_, connect) => {
    const one = await connect();
    const heard = record(one, 'all.news');
    one.publish('all.news', utf8('x'));
    expect(heard).toEqual([]);
    await settled(one);
    expect(heard).toEqual(['all.news x']);
  });

  check('payloads come whole, up to the longest, and so do answers', async ({ bytesMax }, connect) => {
    const [one, two] = [await connect(), await connect()];
    const long = patterned(Math.min(bytesMax, 3 * 1_048_576));
    const heard: Uint8Array[] = [];
    two.subscribe('dev.a', (message) => {
      heard.push(message.bytes);
      message.respond(concat([message.bytes.subarray(1), Uint8Array.of(7)]));
    });
    await settled(two);
    one.publish('dev.a', long);
    const answer = await one.request('dev.a', long, { timeoutMs: 10_000 });
    expect(heard.map((bytes) => Buffer.from(bytes).equals(long))).toEqual([true, true]);
    expect(Buffer.from(answer).equals(concat([long.subarray(1), Uint8Array.of(7)]))).toBe(true);
  });

  check('empty payloads are payloads', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    two.subscribe('dev.a', ({ bytes, respond }) => respond(bytes));
    await settled(two);
    expect(await one.request('dev.a', new Uint8Array(), { timeoutMs: 5_000 })).toHaveLength(0);
  });

  check('a request has the first answer, and each its own', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    const echo = ({ bytes, respond }: BusMessage): void => {
      respond(bytes);
      respond(utf8('again'));
    };
    two.subscribe('dev.a', echo);
    await settled(two);
    const asked = Array.from({ length: 100 }, (_unused, index) => `question ${index}`);
    const answers = asked.map((text) => one.request('dev.a', utf8(text), { timeoutMs: 5_000 }));
    expect((await Promise.all(answers)).map(fromUtf8)).toEqual(asked);
  });

  check('a request that nobody listens to fails at once', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    two.subscribe('dev.b', ({ respond }) => respond(utf8('not mine')));
    await settled(two);
    const asked = one.request('dev.a', utf8('x'), { timeoutMs: 3_600_000 });
    await expect(asked).rejects.toMatchObject({ code: 'bus_no_responder' });
  });

  check('a request that nobody answers fails after its time', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    const heard = record(two, 'dev.a');
    await settled(two);
    const asked = one.request('dev.a', utf8('x'), { timeoutMs: 20 });
    await expect(asked).rejects.toMatchObject({ code: 'bus_timeout' });
    expect(heard).toEqual(['dev.a x']);
  });

  check('who has stopped listening hears nothing more, and others still do', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    const stopped: string[] = [];
    const subscription = two.subscribe('dev.a', ({ bytes }) => stopped.push(fromUtf8(bytes)));
    const heard = record(two, 'dev.a');
    await settled(two);
    one.publish('dev.a', utf8('1'));
    await settled(one, two);
    subscription.stop();
    subscription.stop();
    await settled(two);
    one.publish('dev.a', utf8('2'));
    await settled(one, two);
    expect(stopped).toEqual(['1']);
    expect(heard).toEqual(['dev.a 1', 'dev.a 2']);
  });

  check('a handler that throws keeps nothing from anybody', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    two.subscribe('dev.a', () => {
      throw new Error('on purpose');
    });
    const heard = record(two, 'dev.a');
    await settled(two);
    one.publish('dev.a', utf8('1'));
    one.publish('dev.a', utf8('2'));
    await settled(one, two);
    expect(heard).toEqual(['dev.a 1', 'dev.a 2']);
  });

  check('what is not a subject is refused', async (_, connect) => {
    const one = await connect();
    for (const subject of ['', 'a b', 'a\r\nPUB b 0', 'a..b', '.a', 'a.*', '>', 'a.>']) {
      expect(() => one.publish(subject, utf8('x'))).toThrow(/names nothing/);
    }
    for (const pattern of ['', 'a.*.b', '>', 'a.>', 'a b']) {
      expect(() => one.subscribe(pattern, () => undefined)).toThrow(/names nothing/);
    }
  });

  check('after close it is down, hears nothing and asks nothing', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    const heard = record(one, 'dev.a');
    await settled(one);
    const waiting = one.request('dev.a', utf8('x'), { timeoutMs: 60_000 });
    const failure = failureOf(waiting);
    await settled(one, two);
    await one.close();
    expect(await failure).toBe('bus_down');
    expect(one.isUp()).toBe(false);
    one.publish('dev.a', utf8('x'));
    two.publish('dev.a', utf8('x'));
    await settled(two);
    expect(heard).toEqual(['dev.a x']);
    const asked = one.request('dev.a', utf8('x'), { timeoutMs: 60_000 });
    await expect(asked).rejects.toMatchObject({ code: 'bus_down' });
    one.subscribe('dev.b', () => undefined).stop();
    await one.close();
  });

  check('what was published before close arrives', async (_, connect) => {
    const [one, two] = [await connect(), await connect()];
    const heard = record(two, 'dev.a');
    await settled(two);
    for (let index = 0; index < 3; index++) one.publish('dev.a', utf8(String(index)));
    await one.close();
    await settled(two);
    expect(heard).toEqual(['dev.a 0', 'dev.a 1', 'dev.a 2']);
  });

  check('it can be closed during an outage, and does not come back', async (bus, connect) => {
    const [one, two] = [await connect(), await connect()];
    const told: boolean[] = [];
    one.onChange((isUp) => told.push(isUp));
    await settled(one, two);
    await bus.down();
    await until(one, false);
    await one.close();
    await bus.up();
    await until(two, true);
    await settled(two);
    expect(told).toEqual([false]);
    expect([one.isUp(), two.isUp()]).toEqual([false, true]);
  });

  check('an outage is told, loses what is published meanwhile, and ends by itself', async (bus, connect) => {
    const [one, two] = [await connect(), await connect()];
    const told: boolean[] = [];
    one.onChange((isUp) => told.push(isUp));
    const silent: boolean[] = [];
    two.onChange((isUp) => silent.push(isUp)).stop();
    const heard = record(two, 'dev.*');
    await settled(two);
    const waiting = one.request('dev.a', utf8('before'), { timeoutMs: 3_600_000 });
    const failure = failureOf(waiting);
    await settled(one, two);
    await bus.down();
    await until(one, false);
    await until(two, false);
    expect(await failure).toBe('bus_down');
    one.publish('dev.a', utf8('lost'));
    const asked = one.request('dev.a', utf8('lost'), { timeoutMs: 60_000 });
    await expect(asked).rejects.toMatchObject({ code: 'bus_down' });
    const late = record(two, 'all.late');
    const stopped = two.subscribe('all.stopped', () => late.push('stopped'));
    stopped.stop();
    await bus.up();
    await until(one, true);
    await until(two, true);
    await settled(one, two);
    one.publish('dev.a', utf8('after'));
    one.publish('all.late', utf8('after'));
    one.publish('all.stopped', utf8('after'));
    await settled(one, two);
    expect(heard).toEqual(['dev.a before', 'dev.a after']);
    expect(late).toEqual(['all.late after']);
    expect(told).toEqual([false, true]);
    expect(silent).toEqual([]);
  });
}

/** Watched from the start: a rejection that nobody awaits yet would end the process. */
const failureOf = (asked: Promise<unknown>): Promise<string | undefined> => asked.then(() => undefined, codeOf);

function record(bus: Bus, pattern: string): string[] {
  const heard: string[] = [];
  bus.subscribe(pattern, ({ subject, bytes }) => heard.push(`${subject} ${fromUtf8(bytes)}`));
  return heard;
}

/**
 * Resolves when all that these members asked of the bus so far has happened: one asks itself, and so learns that what
 * was before is done; then each asks the others, and so learns that what was sent to them has come.
 */
async function settled(...members: readonly Bus[]): Promise<void> {
  for (const from of members) {
    for (const to of members) {
      const ear = to.subscribe('settle.here', ({ respond }) => respond(new Uint8Array()));
      // The one that listens has told the server so before it hears itself.
      await to.request('settle.here', new Uint8Array(), { timeoutMs: 10_000 });
      await from.request('settle.here', new Uint8Array(), { timeoutMs: 10_000 });
      ear.stop();
    }
  }
}

function until(bus: Bus, wanted: boolean): Promise<void> {
  if (bus.isUp() === wanted) return Promise.resolve();
  return new Promise((resolve) => {
    const listening = bus.onChange((isUp) => {
      if (isUp !== wanted) return;
      listening.stop();
      resolve();
    });
  });
}

/** So that parts in the wrong order would show. */
function patterned(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 13)) & 255;
  return bytes;
}
