/**
 * A device whose hub is behind something that ends TLS, and somebody in between who has every byte: the plain
 * handshake, and frames that it can neither read nor change.
 */
import { expect, test } from 'vitest';
import { LIMITS, decodeFrame, encodeFrame, type Channel, type Transport } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFixture, type Fixture } from '../node/testing/fixture.ts';

const TOKEN = 'open-sesame-4711';
const PROMPT = 'quodlibet zephyranthes';

/** What somebody in between makes of each frame; `at` counts the frames of one direction of one connection. */
interface Between {
  toHub(frame: Uint8Array, at: number): readonly Uint8Array[];
  toDevice(frame: Uint8Array, at: number): readonly Uint8Array[];
}

interface Watched extends Fixture {
  /** Every frame that went by, either way. */
  readonly seen: Uint8Array[];
}

async function setUp(act: Partial<Between> = {}, session = true): Promise<Watched> {
  const seen: Uint8Array[] = [];
  const between = (inner: Channel): Channel => {
    const counts = { toHub: 0, toDevice: 0 };
    const pass = (way: keyof Between, frame: Uint8Array): readonly Uint8Array[] => {
      seen.push(frame);
      return act[way]?.(frame, counts[way]++) ?? [frame];
    };
    return {
      ...inner,
      send: (frame) => pass('toHub', frame).forEach((each) => inner.send(each)),
      listen: ({ onFrame, onClose }) =>
        inner.listen({ onFrame: (frame) => pass('toDevice', frame).forEach(onFrame), onClose }),
    };
  };
  const wrap = (transport: Transport): Transport => ({
    dial: async (url, options) => between(await transport.dial(url, options)),
  });
  const made = await createFixture({ joinToken: TOKEN, session }, wrap);
  return { ...made, seen };
}

const changed = (frame: Uint8Array, fields: Record<string, unknown>): Uint8Array =>
  encodeFrame({ ...decodeFrame(frame), ...fields });
const flipped = (frame: Uint8Array, index = 3): Uint8Array => frame.map((byte, at) => (at === index ? byte ^ 4 : byte));
const holds = (frames: readonly Uint8Array[], text: string): boolean =>
  frames.some((frame) => Buffer.from(frame).includes(text));

test('what comes after the challenge is seen by the two ends alone', async () => {
  const { agent, clock, got, peer, seen, states } = await setUp();
  agent.start();
  await clock.advance(100);
  expect(states.at(-1)?.state).toBe('ready');
  expect(peer().device?.proof.joinToken).toBe(TOKEN);
  peer().send({ t: 'drain', reason: PROMPT });
  await clock.advance(LIMITS.heartbeatMs);
  expect(states.at(-1)?.state).toBe('draining');
  expect(got('heartbeat').length).toBeGreaterThan(1);
  expect(seen.slice(0, 2).map((frame) => decodeFrame(frame).t)).toEqual(['hello', 'challenge']);
  for (const frame of seen.slice(2)) expect(() => decodeFrame(frame)).toThrow(/CBOR/);
  for (const text of [TOKEN, PROMPT, 'kettle', 'heartbeat']) expect(holds(seen, text)).toBe(false);
});

test('a device that was not told to says nothing of it, and its frames are as they were', async () => {
  const { agent, clock, got, seen, states } = await setUp({}, false);
  agent.start();
  await clock.advance(100);
  expect(states.at(-1)?.state).toBe('ready');
  expect(got('hello')[0]).not.toHaveProperty('session');
  expect(holds(seen, TOKEN)).toBe(true);
});

test('a hub that does not know how to seal gets neither proof nor token', async () => {
  const { agent, clock, hub, seen } = await setUp();
  hub.behave({ seals: false });
  agent.start();
  await clock.advance(100);
  const message = expect.stringContaining('does not seal') as string;
  expect(await agent.ended).toMatchObject({ code: 'hub_untrusted', message });
  expect(seen.map((frame) => decodeFrame(frame).t)).toEqual(['hello', 'challenge']);
});

const own = await nodeCrypto.agreementKey(new Uint8Array(32).fill(3));
const relays: [string, Partial<Between>][] = [
  [
    'puts its own key into hello',
    { toHub: (frame, at) => [at === 0 ? changed(frame, { session: own.publicKey }) : frame] },
  ],
  ['takes the key out of hello', { toHub: (frame, at) => [at === 0 ? changed(frame, { session: undefined }) : frame] }],
  ['changes the challenge', { toDevice: (frame, at) => [at === 0 ? flipped(frame, frame.length - 1) : frame] }],
];
test.each(relays)('a relay that %s gets neither proof nor token', async (_, act) => {
  const { agent, clock, got, seen } = await setUp(act);
  agent.start();
  await clock.advance(60_000);
  expect(got('prove')).toEqual([]);
  expect(holds(seen, TOKEN)).toBe(false);
  expect(await agent.ended).toMatchObject({ code: 'hub_untrusted' });
});

test('a handshake that was recorded convinces nobody a second time', async () => {
  const recorded: Uint8Array[] = [];
  let connection = 0;
  const { agent, clock, got, hub, logged, peer } = await setUp({
    toHub(frame, at) {
      if (at === 0) connection += 1;
      return [frame];
    },
    toDevice(frame, at) {
      if (connection === 1) recorded.push(frame);
      return connection === 2 ? recorded.slice(at, at + 1) : [frame];
    },
  });
  agent.start();
  await clock.advance(100);
  expect(recorded.length).toBeGreaterThan(2);
  peer().link?.cut('a test');
  await clock.advance(2 * LIMITS.reconnectMsMax);
  expect(hub.peers.map(({ device }) => device !== undefined)).toEqual([true, false, true]);
  expect(hub.peers[1]?.got.map(({ t }) => t)).toEqual(['hello']);
  expect(logged.join()).toContain('another handshake');
  expect(got('heartbeat').length).toBeGreaterThan(0);
});

const kept = new Map<string, Uint8Array>();
const keep = (name: string, frame: Uint8Array): Uint8Array[] => (kept.set(name, frame), []);
const take = (name: string): Uint8Array => kept.get(name) as Uint8Array;
const attacks: [string, Partial<Between>][] = [
  ['changes a frame to the device', { toDevice: (frame, at) => [at === 3 ? flipped(frame) : frame] }],
  ['changes a frame to the hub', { toHub: (frame, at) => [at === 3 ? flipped(frame) : frame] }],
  ['drops a frame to the device', { toDevice: (frame, at) => (at === 3 ? [] : [frame]) }],
  ['drops a frame to the hub', { toHub: (frame, at) => (at === 3 ? [] : [frame]) }],
  ['repeats a frame', { toDevice: (frame, at) => (at === 3 ? [frame, frame] : [frame]) }],
  [
    'swaps two frames',
    { toDevice: (frame, at) => (at === 3 ? keep('late', frame) : at === 4 ? [frame, take('late')] : [frame]) },
  ],
  [
    "sends the device's own frames back to it",
    { toHub: (frame) => (kept.set('own', frame), [frame]), toDevice: (frame, at) => [at === 3 ? take('own') : frame] },
  ],
  [
    'adds a frame of its own',
    { toDevice: (frame, at) => (at === 3 ? [encodeFrame({ t: 'drain', reason: 'because' }), frame] : [frame]) },
  ],
];
test.each(attacks)('who %s ends that channel and nothing more: the device comes back', async (_, act) => {
  let connection = 0;
  const once = (way: keyof Between) => (frame: Uint8Array, at: number) => {
    if (at === 0 && way === 'toHub') connection += 1;
    return connection === 1 ? (act[way]?.(frame, at) ?? [frame]) : [frame];
  };
  const { agent, clock, got, hub, states } = await setUp({ toHub: once('toHub'), toDevice: once('toDevice') });
  agent.start();
  await clock.advance(100);
  await clock.advance(8 * LIMITS.heartbeatMs);
  expect(hub.peers).toHaveLength(2);
  expect(hub.peers[0]?.closed).toBeDefined();
  expect(states.at(-1)?.state).toBe('ready');
  expect(states.map(({ state }) => state)).not.toContain('draining');
  expect(got('heartbeat').length).toBeGreaterThan(1);
});
