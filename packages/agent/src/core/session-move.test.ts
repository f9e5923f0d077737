/** Claims about devices that are sent elsewhere, told to wait, or superseded by themselves. */
import { expect, test } from 'vitest';
import { IdlewildError, LIMITS } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFixture, putModel, type Fixture } from '../node/testing/fixture.ts';
import { AGENT_LIMITS } from './limits.ts';
import type { Place } from './places.ts';
import { exampleAnswer, exampleWork } from '../testing/example-answer.ts';

const HANDSHAKE_MS = 100;
const FRAME_MS = 5;
const PIN = new Uint8Array(32).fill(4);

interface World extends Fixture {
  readonly dials: { readonly url: string; readonly pin: Uint8Array | undefined; readonly atMs: number }[];
  readonly dead: Set<string>;
  readonly moved: Place[];
}

async function createWorld(url = 'https://old', before?: Place): Promise<World> {
  const dials: World['dials'] = [];
  const dead = new Set<string>();
  const moved: Place[] = [];
  const territory = await nodeCrypto.signingKey(new Uint8Array(32).fill(8));
  const fixture = await createFixture(
    { hub: { url, territory: territory.publicKey, before }, onMoved: (place) => moved.push(place) },
    (transport) => ({
      async dial(to, options) {
        dials.push({ url: to, pin: options.spkiPin, atMs: fixture.clock.monotonic() });
        if (dead.has(to)) throw new IdlewildError('hub_unreachable', `nobody is at ${to}`);
        const channel = await transport.dial(to, options);
        // The answer to a dial takes as long as a frame: what was sent with it is here as soon as somebody listens.
        await new Promise<void>((resolve) => void fixture.clock.after(FRAME_MS, resolve));
        return channel;
      },
    }),
  );
  fixture.agent.start();
  await fixture.clock.advance(HANDSHAKE_MS);
  return { ...fixture, dials, dead, moved };
}
const urls = ({ dials }: World): string[] => dials.map(({ url }) => url);
const [OLD, NEW] = ['wss://old/device', 'wss://new/device'];

test('at its time a device that is sent away closes its channel and dials at once', async () => {
  const world = await createWorld();
  const { clock, dials, hub, peer } = world;
  peer().send({ t: 'move', afterMs: 2_000, reason: 'stopping' });
  await clock.advance(1_900);
  expect(peer().closed).toBeUndefined();
  const beforeMs = clock.monotonic();
  await clock.advance(HANDSHAKE_MS + 100);
  expect(hub.peers[0]?.closed).toContain('connect anew');
  expect(peer().device).toBeDefined();
  expect(urls(world)).toEqual([OLD, OLD]);
  expect((dials[1]?.atMs ?? 0) - beforeMs).toBeLessThanOrEqual(110);
  await clock.advance(60_000);
  expect(hub.peers).toHaveLength(2);
});

test('one whose channel closes before that time comes back as from any lost channel', async () => {
  const { clock, hub, peer } = await createWorld();
  peer().send({ t: 'move', afterMs: 30_000, reason: 'stopping' });
  await clock.advance(50);
  peer().link?.cut('it is gone');
  await clock.advance(LIMITS.reconnectMsMin + HANDSHAKE_MS);
  expect(hub.peers).toHaveLength(2);
  await clock.advance(60_000);
  expect(hub.peers).toHaveLength(2);
});

test('an answer under way is not disturbed by the move', async () => {
  const { agent, clock, got, hub, peer, startWith, store } = await createFixture();
  hub.behave({ resumes: true });
  const model = await putModel(store, 'weights');
  await startWith(model);
  const work = exampleWork({ tokensMax: 60 });
  peer().send(exampleAnswer(model, { work, keep: true }));
  await clock.advance(200);
  const heard = got('answer.token').length;
  peer().send({ t: 'move', afterMs: 0, reason: 'stopping' });
  await clock.advance(HANDSHAKE_MS);
  expect(hub.peers).toHaveLength(2);
  expect(agent.state().answering).toBe(1);
  peer().send({ t: 'answer.resume', lease: 'att_1', epoch: 1, from: heard });
  await clock.advance(2_000);
  expect(got('answer.token').map(({ i }) => i)).toEqual(Array.from({ length: 60 - heard }, (_, at) => heard + at));
  expect(got('answer.finished')).toHaveLength(1);
});

test('another address is kept once a hub of the territory has welcomed the device there', async () => {
  const world = await createWorld();
  const { clock, dials, moved, peer } = world;
  peer().send({ t: 'move', afterMs: 0, reason: 'moved', url: 'https://new', pin: PIN });
  await clock.advance(HANDSHAKE_MS);
  expect(urls(world)).toEqual([OLD, NEW]);
  expect(dials[1]?.pin).toEqual(PIN);
  expect(moved).toEqual([{ url: 'https://new', spkiPin: PIN, session: undefined }]);
  expect(peer().device?.proof.joinToken).toBeUndefined();
  peer().link?.cut('a test');
  await clock.advance(LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(urls(world)).toEqual([OLD, NEW, NEW]);
  expect(moved).toHaveLength(1);
});

test('an address where nobody is costs some dials and not the way back', async () => {
  const world = await createWorld();
  const { clock, dead, moved, peer, states } = world;
  dead.add(NEW);
  peer().send({ t: 'move', afterMs: 0, reason: 'moved', url: 'https://new' });
  await clock.advance(LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(urls(world)).toEqual([OLD, NEW, OLD]);
  expect(states.at(-1)?.state).toBe('ready');
  expect(moved).toEqual([]);
  peer().link?.cut('a test');
  await clock.advance(LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(urls(world)).toEqual([OLD, NEW, OLD, OLD]);
});

test('both are dialled in turn for as long as neither answers', async () => {
  const world = await createWorld();
  const { clock, dead, hub, moved, peer } = world;
  dead.add(NEW).add(OLD);
  peer().send({ t: 'move', afterMs: 0, reason: 'moved', url: 'https://new' });
  await clock.advance(30_000);
  const tried = urls(world).slice(1);
  expect(tried.length).toBeGreaterThan(8);
  expect(tried).toEqual(tried.map((_, at) => (at % 2 === 0 ? NEW : OLD)));
  dead.delete(NEW);
  await clock.advance(2 * LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(hub.peers.at(-1)?.device).toBeDefined();
  expect(moved).toHaveLength(1);
});

test('where no hub answers for long the place before is tried in turn, with its pin, and kept', async () => {
  const world = await createWorld('https://new', { url: 'https://old', spkiPin: PIN });
  const { clock, dead, dials, hub, moved, peer } = world;
  dead.add(NEW).add(OLD);
  peer().link?.cut('a test');
  await clock.advance(AGENT_LIMITS.homeSilentMs);
  expect(urls(world)).not.toContain(OLD);
  await clock.advance(20_000);
  const tried = urls(world).slice(urls(world).indexOf(OLD));
  expect(tried.length).toBeGreaterThan(4);
  expect(tried).toEqual(tried.map((_, at) => (at % 2 === 0 ? OLD : NEW)));
  expect(dials.find(({ url }) => url === OLD)?.pin).toEqual(PIN);
  // Only a hub that has the key of the territory is gone to.
  hub.behave({ signer: await nodeCrypto.signingKey(new Uint8Array(32).fill(9)) });
  dead.delete(OLD);
  await clock.advance(2 * LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(hub.peers.length).toBeGreaterThan(1);
  expect(peer().device).toBeUndefined();
  expect(moved).toEqual([]);
  hub.behave({ signer: hub.territory });
  await clock.advance(2 * LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(peer().device).toBeDefined();
  expect(moved).toEqual([{ url: 'https://old', spkiPin: PIN }]);
});

test('what is tried is the other way round once it has gone back, and a hub that answers is not left', async () => {
  const world = await createWorld('https://new', { url: 'https://old' });
  const { clock, dead, hub, moved, peer } = world;
  hub.behave({ insteadOfWelcome: { t: 'refused', code: 'too_busy', message: 'later', retryAfterMs: 1_000 } });
  peer().link?.cut('a test');
  await clock.advance(2 * AGENT_LIMITS.homeSilentMs);
  expect(urls(world)).not.toContain(OLD);
  hub.behave({ insteadOfWelcome: undefined });
  for (const gone of [NEW, OLD]) {
    await clock.advance(LIMITS.reconnectMsMax + HANDSHAKE_MS);
    dead.clear();
    dead.add(gone);
    peer().link?.cut('a test');
    await clock.advance(AGENT_LIMITS.homeSilentMs + 3 * LIMITS.reconnectMsMax);
  }
  expect(moved.map(({ url }) => url)).toEqual(['https://old', 'https://new']);
});

test('a place before that is protected less is not tried', async () => {
  const world = await createWorld('https://new', { url: 'http://127.0.0.1:7860' });
  const { clock, dead, peer } = world;
  dead.add(NEW);
  peer().link?.cut('a test');
  await clock.advance(AGENT_LIMITS.homeSilentMs + 30_000);
  expect(new Set(urls(world))).toEqual(new Set([NEW]));
});

test('a hub there that is of another territory, or does not know the device, does not end it', async () => {
  for (const refusal of ['join_token_invalid', 'device_revoked', 'hub_untrusted'] as const) {
    const world = await createWorld();
    const { clock, hub, moved, peer, states } = world;
    const stranger = await nodeCrypto.signingKey(new Uint8Array(32).fill(9));
    if (refusal === 'hub_untrusted') hub.behave({ signer: stranger });
    else hub.behave({ insteadOfWelcome: { t: 'refused', code: refusal, message: 'who are you?' } });
    peer().send({ t: 'move', afterMs: 0, reason: 'moved', url: 'https://new' });
    await clock.advance(50);
    expect(urls(world)).toEqual([OLD, NEW]);
    hub.behave({ signer: hub.territory, insteadOfWelcome: undefined });
    await clock.advance(LIMITS.reconnectMsMax + HANDSHAKE_MS);
    expect(urls(world)).toEqual([OLD, NEW, OLD]);
    expect(states.at(-1)?.state).toBe('ready');
    expect(moved).toEqual([]);
  }
});

test.each([
  'http://127.0.0.1:22',
  'ftp://new',
  'new',
  'https://',
  'https://new/somewhere?x',
  'https://old@new',
  'https://new\\old',
  'https://new\u001b[2J',
  'https://\u202enew',
])('from a hub with TLS a device is not sent to %s', async (url) => {
  const world = await createWorld();
  const { clock, hub, moved, peer } = world;
  peer().send({ t: 'move', afterMs: 0, reason: 'moved', url });
  await clock.advance(LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(hub.peers[0]?.closed).toContain(url);
  expect(urls(world)).toEqual([OLD, OLD]);
  expect(moved).toEqual([]);
});

test('a device whose hub is on the internet is not sent into the network that it stands in', async () => {
  const world = await createWorld('https://hub.example.org');
  const { clock, hub, moved, peer, logged } = world;
  peer().send({ t: 'move', afterMs: 0, reason: 'moved', url: 'https://192.168.0.1' });
  await clock.advance(LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(urls(world)).toEqual(Array(2).fill('wss://hub.example.org/device'));
  expect(hub.peers[0]?.closed).toMatch(/192\.168\.0\.1 is of a local network/);
  expect(logged.some((line) => line.includes('192.168.0.1 is of a local network'))).toBe(true);
  expect(moved).toEqual([]);
  const near = await createWorld('https://192.168.0.9');
  near.peer().send({ t: 'move', afterMs: 0, reason: 'moved', url: 'https://192.168.0.1' });
  await near.clock.advance(LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(near.moved.map(({ url }) => url)).toEqual(['https://192.168.0.1']);
});

test.each([
  ['refused', 'too_busy', 'insteadOfChallenge'],
  ['refused', 'hub_stopping', 'insteadOfChallenge'],
  ['refused', 'too_busy', 'greeting'],
  ['dropped', 'hub_stopping', undefined],
] as const)('a device that is %s with %s (%s) comes back when it is told to', async (t, code, when) => {
  const { clock, dials, hub, peer } = await createWorld();
  const message = { t, code, message: 'later', retryAfterMs: 8_000 };
  if (when === undefined) peer().send(message);
  else {
    hub.behave({ [when]: message });
    peer().link?.cut('a test');
    await clock.advance(LIMITS.reconnectMsMax);
    hub.behave({ [when]: undefined });
    expect(dials).toHaveLength(2);
  }
  const from = dials.length;
  await clock.advance(2_500);
  expect(dials).toHaveLength(from);
  await clock.advance(8_000);
  expect(dials).toHaveLength(from + 1);
  expect(hub.peers.at(-1)?.device).toBeDefined();
});

test('nobody sends a device away for good by telling it to wait, and a final word is no wish to wait', async () => {
  const { agent, clock, dials, peer } = await createWorld();
  peer().send({ t: 'dropped', code: 'hub_stopping', message: 'later', retryAfterMs: 600_000 });
  await clock.advance(1.25 * AGENT_LIMITS.retryAfterMsMax + HANDSHAKE_MS);
  expect(dials).toHaveLength(2);
  peer().send({ t: 'dropped', code: 'device_revoked', message: 'no', retryAfterMs: 1 });
  await clock.advance(10_000);
  expect((await agent.ended)?.code).toBe('device_revoked');
});

test('a device is not ended by an older connection of its own that a replica let in late', async () => {
  const { agent, clock, hub, peer, states } = await createWorld();
  // The first replica stands still: the device hears nothing, gives it up, and comes to another one.
  hub.peers[0]?.link?.setSilent(true);
  await clock.advance(LIMITS.heartbeatLostMs + LIMITS.reconnectMsMin + HANDSHAKE_MS);
  expect(hub.peers).toHaveLength(2);
  await clock.advance(30_000);
  peer().send({ t: 'dropped', code: 'superseded', message: 'the same identity connected again' });
  await clock.advance(LIMITS.reconnectMsMax + HANDSHAKE_MS);
  expect(hub.peers).toHaveLength(3);
  expect(states.at(-1)?.state).toBe('ready');
  await clock.advance(AGENT_LIMITS.ownEchoMs + 1_000);
  peer().send({ t: 'dropped', code: 'superseded', message: 'another process' });
  await clock.advance(1_000);
  expect((await agent.ended)?.code).toBe('superseded');
});

test('of two processes with one key one ends, however often they have reconnected', async () => {
  const { agent, clock, hub, peer } = await createWorld();
  peer().link?.cut('a test');
  await clock.advance(LIMITS.reconnectMsMax);
  for (let times = 0; times <= AGENT_LIMITS.ownEchoesMax; times++) {
    expect(agent.state().state).toBe('ready');
    peer().send({ t: 'dropped', code: 'superseded', message: 'another process' });
    await clock.advance(20_000);
  }
  expect((await agent.ended)?.code).toBe('superseded');
  expect(hub.peers).toHaveLength(2 + AGENT_LIMITS.ownEchoesMax);
});
