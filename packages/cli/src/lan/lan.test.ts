/**
 * Claims about what is said and heard on a LAN, over real multicast on loopback and a port of the test's own. Where the
 * machine carries no multicast there, they are skipped.
 */
import { createSocket, type Socket } from 'node:dgram';
import { afterEach, expect, test } from 'vitest';
import { announce, keepAnnouncing, refuseUnreachable, type Announcement } from './announce.ts';
import { LAN_LIMITS } from './limits.ts';
import { openEar, type Ear } from './listen.ts';
import { txtOf, type AnnouncedHub } from './record.ts';

const LOOPBACK = '127.0.0.1';
const GROUP = '224.0.0.251';
const HUB: AnnouncedHub = {
  hub: `hub_${'b'.repeat(26)}`,
  territory: { id: `ter_${'a'.repeat(26)}`, name: 'home' },
  isEncrypted: false,
  version: '0.1.0',
};

const probe = await multicastPort();
if (probe === undefined) process.stderr.write('this machine has no multicast on loopback: skipping what needs it\n');
const lan = { interface: LOOPBACK, port: probe ?? 0 };
const isDeaf = probe === undefined;

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

/** A free port on which a datagram to the group comes back; `undefined` where none does. */
function multicastPort(): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: 'udp4', reuseAddr: true });
    const end = (port: number | undefined): void => {
      clearTimeout(timer);
      socket.close(() => resolve(port));
    };
    const timer = setTimeout(() => end(undefined), 2_000);
    socket.on('error', () => end(undefined));
    socket.on('message', () => end(socket.address().port));
    socket.bind(0, '0.0.0.0', () => {
      try {
        socket.addMembership(GROUP, LOOPBACK);
        socket.setMulticastInterface(LOOPBACK);
        socket.send('is anybody there?', socket.address().port, GROUP);
      } catch {
        // The system says no at once, which is an answer like silence.
        end(undefined);
      }
    });
  });
}

async function listening(): Promise<Ear> {
  const ear = await openEar(lan);
  open.push(ear);
  return ear;
}

async function announcing(hub: AnnouncedHub = HUB): Promise<Announcement> {
  const problems: Error[] = [];
  const options = { hub, host: LOOPBACK, port: 7_860, lan, onProblem: (error: Error) => problems.push(error) };
  const announcement = await announce(options);
  let isStopped = false;
  const stop = async (): Promise<void> => {
    if (isStopped) return;
    isStopped = true;
    await announcement.stop();
    expect(problems).toEqual([]);
  };
  open.push({ close: stop });
  return { ...announcement, stop };
}

/** Asks like a person who is not sure to be heard. */
async function heard(ear: Ear, passes: (names: string[]) => boolean): Promise<string[]> {
  const names = (): string[] => ear.hubs().map(({ name }) => name);
  const ask = (): boolean => {
    ear.ask();
    return passes(names());
  };
  await expect.poll(ask, { interval: 50 }).toBe(true);
  return names();
}

test.skipIf(isDeaf)('an announced hub is heard, with its address, and is gone when it says goodbye', async () => {
  const announcement = await announcing();
  const ear = await listening();
  await heard(ear, (names) => names.includes(announcement.name));
  expect(ear.hubs()).toEqual([
    {
      name: 'home bbbbbbbbbb',
      territory: HUB.territory,
      urls: ['http://127.0.0.1:7860'],
      isEncrypted: false,
      version: '0.1.0',
    },
  ]);
  await announcement.stop();
  await heard(ear, (names) => names.length === 0);
});

test.skipIf(isDeaf)(
  'a hub whose community is renamed is heard under the new name, and no more under the old',
  async () => {
    let name = 'home';
    const announcement = await keepAnnouncing(() => ({
      hub: { ...HUB, territory: { ...HUB.territory, name } },
      host: LOOPBACK,
      port: 7_860,
      lan,
      onProblem: (error) => expect.unreachable(error.message),
    }));
    open.push({ close: () => announcement.stop() });
    const ear = await listening();
    await heard(ear, (names) => names.includes('home bbbbbbbbbb'));
    name = 'City library';
    announcement.changed();
    expect(await heard(ear, (names) => names.includes('City library bbbbbbbbbb') && names.length === 1)).toHaveLength(
      1,
    );
  },
);

test.skipIf(isDeaf)('two hubs of one community are told apart', async () => {
  await announcing();
  await announcing({ ...HUB, hub: `hub_${'c'.repeat(26)}` });
  const ear = await listening();
  expect(await heard(ear, (names) => names.length === 2)).toEqual(['home bbbbbbbbbb', 'home cccccccccc']);
});

test('a hub that only its own machine can reach is not announced to others', async () => {
  for (const host of ['127.0.0.1', 'localhost', '::1']) {
    expect(() => refuseUnreachable(host, undefined)).toThrow(/--host 0\.0\.0\.0/);
    expect(() => refuseUnreachable(host, '192.168.1.5')).toThrow(/--host/);
  }
  expect(() => refuseUnreachable('0.0.0.0', undefined)).not.toThrow();
  await expect(openEar({ interface: '203.0.113.77', port: 0 })).rejects.toMatchObject({ code: 'usage' });
});

const TYPE = ['_idlewild', '_tcp', 'local'];
const PTR = 12;
const TXT = 16;
const SRV = 33;
const RESPONSE = 0x8400;

const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const dnsName = (labels: readonly string[]): Buffer =>
  Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0]),
  ]);

function record(labels: readonly string[], type: number, value: Buffer): Buffer {
  const ttl = Buffer.from([0, 0, 0, 120]);
  return Buffer.concat([dnsName(labels), u16(type), u16(1), ttl, u16(value.length), value]);
}

const strings = (texts: readonly string[]): Buffer =>
  Buffer.concat(texts.map((text) => Buffer.concat([Buffer.from([Buffer.byteLength(text)]), Buffer.from(text)])));

function answerOf(records: readonly Buffer[], count = records.length): Buffer {
  return Buffer.concat([u16(0), u16(RESPONSE), u16(0), u16(count), u16(0), u16(0), ...records]);
}

function hubRecords(label: string, texts: readonly string[]): Buffer[] {
  const instance = [label, ...TYPE];
  const srv = Buffer.concat([u16(0), u16(0), u16(7_860), dnsName(['evil', 'local'])]);
  return [record(TYPE, PTR, dnsName(instance)), record(instance, SRV, srv), record(instance, TXT, strings(texts))];
}

const goodTexts = (name: string): string[] =>
  Object.entries(txtOf({ ...HUB, territory: { ...HUB.territory, name } })).map(([key, value]) => `${key}=${value}`);

async function stranger(): Promise<(message: Buffer) => Promise<void>> {
  const socket: Socket = createSocket({ type: 'udp4', reuseAddr: true });
  await new Promise<void>((resolve) => {
    socket.bind(0, '0.0.0.0', resolve);
  });
  socket.setMulticastInterface(LOOPBACK);
  open.push({ close: () => new Promise((resolve) => socket.close(() => resolve())) });
  return (message) =>
    new Promise((resolve, reject) => {
      socket.send(message, lan.port, GROUP, (error) => (error === null ? resolve() : reject(error)));
    });
}

test.skipIf(isDeaf)('what a hostile neighbour sends does no harm, and the honest hub is still heard', async () => {
  const ear = await listening();
  const send = await stranger();
  const control = '\u001b[2J\u0007home\u202e';
  await send(answerOf(hubRecords('\u001b[31mred', ['v=1', `territory=${control}`, ...goodTexts('x').slice(2)])));
  // 10 kB in one datagram is more than multicast DNS allows; what is allowed is cut when it is read.
  await send(answerOf(hubRecords('big', [...goodTexts('big'), ...Array<string>(40).fill(`k=${'x'.repeat(250)}`)])));
  await send(answerOf(hubRecords('full', [...goodTexts('full'), ...Array<string>(30).fill(`k=${'x'.repeat(250)}`)])));
  await send(answerOf(hubRecords('empty', ['', '=', 'v', '__proto__=1', 'constructor='])));
  await send(answerOf(hubRecords('lies', goodTexts('lies')), 65_535));
  await send(answerOf([Buffer.from('_idlewild')], 3));
  await send(Buffer.from('_idlewild'));
  await send(Buffer.concat([answerOf([], 1), Buffer.from([0xc0, 0x0c]), Buffer.from('_idlewild')]));
  const announcement = await announcing();
  const names = await heard(ear, (all) => all.includes(announcement.name) && all.includes('full'));
  expect(names).toEqual(expect.arrayContaining(['[31mred', 'full', announcement.name]));
  expect(names).not.toContain('big');
  expect(names).not.toContain('lies');
  expect(JSON.stringify(ear.hubs())).not.toMatch(/\\u00|\p{Cc}|\p{Cf}/u);
});

test.skipIf(isDeaf)('ten thousand answers end in a list that a person can read', async () => {
  const ear = await listening();
  const send = await stranger();
  const before = process.cpuUsage();
  for (let first = 0; first < 10_000; first += 20) {
    const labels = Array.from({ length: 20 }, (_, index) => `hub ${first + index}`);
    await send(answerOf(labels.flatMap((label) => hubRecords(label, goodTexts(label)))));
  }
  await expect.poll(() => ear.hubs().length).toBe(LAN_LIMITS.hubsMax);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1_000).toBeLessThan(15_000);
});

test.skipIf(isDeaf)('an announcer that is flooded with questions answers a few of them a second', async () => {
  const send = await stranger();
  const announcement = await announcing();
  let answers = 0;
  const ear = createSocket({ type: 'udp4', reuseAddr: true });
  await new Promise<void>((resolve) => {
    ear.bind(lan.port, '0.0.0.0', resolve);
  });
  open.push({ close: () => new Promise((resolve) => ear.close(() => resolve())) });
  ear.addMembership(GROUP, LOOPBACK);
  ear.on('message', (message) => {
    if (((message[2] ?? 0) & 0x80) !== 0) answers++;
  });
  const question = Buffer.concat([dnsName(TYPE), u16(PTR), u16(1)]);
  const query = (count: number): Buffer =>
    Buffer.concat([u16(0), u16(0), u16(count), u16(0), u16(0), u16(0), ...Array<Buffer>(count).fill(question)]);
  const startedMs = performance.now();
  for (let sent = 0; sent < 300; sent++) await send(query(sent % 2 === 0 ? 1 : 200));
  await expect.poll(() => answers).toBeGreaterThan(0);
  await announcement.stop();
  const seconds = Math.ceil((performance.now() - startedMs) / 1_000) + 1;
  expect(answers).toBeLessThanOrEqual(LAN_LIMITS.queriesPerSecondMax * seconds + 2);
});
