import { expect, test } from 'vitest';
import { LIMITS, checkAgreementKey, encodeFrame, type ToDevice } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFixture, putModel } from '../node/testing/fixture.ts';
import { AGENT_LIMITS } from './limits.ts';

const raw = (fields: Record<string, unknown> & { t: string }): Uint8Array => encodeFrame(fields);

test('a device says hello, verifies the hub, proves itself and is ready', async () => {
  const { agent, clock, got, hub, identity, peer, states } = await createFixture({ joinToken: 'secret' });
  agent.start();
  await clock.advance(100);
  expect(peer().url).toBe('ws://hub/device');
  expect(got('hello')[0]?.device).toEqual(identity.publicKey);
  expect(got('hello')[0]?.territory).toEqual(hub.territory.publicKey);
  expect(peer().device?.proof).toMatchObject({
    name: 'kettle',
    joinToken: 'secret',
    status: { state: 'ready', slots: 0 },
  });
  expect(peer().device?.consent.kinds).toEqual(['answers']);
  expect(states.at(-1)).toMatchObject({
    deviceId: agent.deviceId,
    name: 'kettle',
    state: 'ready',
    pauseReasons: [],
    answering: 0,
  });
});

test('the join token is sent once enrolled no more', async () => {
  const { agent, clock, hub, peer } = await createFixture({ joinToken: 'secret' });
  agent.start();
  await clock.advance(100);
  peer().link?.cut('a test');
  await clock.advance(LIMITS.reconnectMsMax);
  expect(hub.peers).toHaveLength(2);
  expect(peer().device?.proof.joinToken).toBeUndefined();
});

test('a hub of another territory gets no proof and no token, and a device that was never enrolled stops', async () => {
  const { agent, clock, got, hub, states } = await createFixture({ joinToken: 'secret' });
  hub.behave({ signer: await nodeCrypto.signingKey(new Uint8Array(32).fill(9)) });
  agent.start();
  await clock.advance(100);
  expect(got('prove')).toEqual([]);
  expect((await agent.ended)?.code).toBe('hub_untrusted');
  expect(states.at(-1)).toMatchObject({ state: 'offline', problem: { code: 'hub_untrusted' } });
});

test('an enrolled device does not give up for a hub that cannot prove itself', async () => {
  const { agent, clock, got, hub, peer } = await createFixture();
  hub.behave({ insteadOfChallenge: { t: 'refused', code: 'device_revoked', message: 'says who?' } });
  agent.start();
  await clock.advance(10_000);
  expect(hub.peers.length).toBeGreaterThan(2);
  hub.behave({ insteadOfChallenge: undefined });
  await clock.advance(LIMITS.reconnectMsMax + 100);
  expect(peer().device).toBeDefined();
  expect(got('heartbeat').length).toBeGreaterThan(0);
});

test.each(['device_revoked', 'join_token_invalid', 'hub_untrusted', 'version_unsupported'] as const)(
  'a refusal with %s is final',
  async (code) => {
    const { agent, clock, hub } = await createFixture();
    hub.behave({ insteadOfWelcome: { t: 'refused', code, message: 'no' } });
    agent.start();
    await clock.advance(60_000);
    expect(await agent.ended).toMatchObject({ code, message: 'no' });
    expect(hub.peers).toHaveLength(1);
  },
);

test('any other refusal is tried again, ever more slowly', async () => {
  const { agent, clock, hub } = await createFixture();
  hub.behave({ insteadOfWelcome: { t: 'refused', code: 'hub_stopping', message: 'later' } });
  agent.start();
  await clock.advance(60_000);
  // At least half as many as with the whole longest delay each time, far fewer than with the shortest.
  expect(hub.peers.length).toBeGreaterThan(20);
  expect(hub.peers.length).toBeLessThan(120);
});

test('a hub that is unreachable is dialled until it is there', async () => {
  const { agent, clock, hub, states, peer } = await createFixture();
  hub.behave({ unreachable: true });
  agent.start();
  await clock.advance(20_000);
  expect(states.at(-1)).toMatchObject({ state: 'offline', problem: { code: 'hub_unreachable' } });
  hub.behave({ unreachable: false });
  await clock.advance(LIMITS.reconnectMsMax + 100);
  expect(peer().device).toBeDefined();
  expect(states.at(-1)?.state).toBe('ready');
});

test('a hub that is silent in the handshake is given up at its deadline', async () => {
  const { agent, clock, hub, peer } = await createFixture();
  hub.behave({ insteadOfChallenge: { t: 'unsupported', kind: 'hello' } });
  agent.start();
  await clock.advance(LIMITS.handshakeMs - 50);
  expect(hub.peers).toHaveLength(1);
  expect(peer().closed).toBeUndefined();
  await clock.advance(100);
  expect(peer().closed).toContain('handshake');
});

test('dropped as superseded ends the device with the reason; dropped otherwise does not', async () => {
  const { agent, clock, hub, peer } = await createFixture();
  agent.start();
  await clock.advance(100);
  peer().send({ t: 'dropped', code: 'hub_stopping', message: 'restarting' });
  await clock.advance(LIMITS.reconnectMsMax + 100);
  expect(hub.peers).toHaveLength(2);
  await clock.advance(AGENT_LIMITS.ownEchoMs);
  peer().send({ t: 'dropped', code: 'superseded', message: 'another process' });
  await clock.advance(60_000);
  expect((await agent.ended)?.code).toBe('superseded');
  expect(hub.peers).toHaveLength(2);
});

test('heartbeats go out as often as the hub asks, with the round trip measured', async () => {
  const { agent, clock, got, hub } = await createFixture();
  hub.behave({ heartbeatMs: 1_000 });
  agent.start();
  await clock.advance(100);
  await clock.advance(5_000);
  const beats = got('heartbeat');
  expect(beats.map((beat) => beat.n)).toEqual(beats.map((_, index) => index));
  expect(beats.length).toBeGreaterThanOrEqual(5);
  expect(beats.at(-1)?.status.roundTripMs).toBeCloseTo(10);
});

test('a heartbeat interval from a lying hub is kept within bounds', async () => {
  const { agent, clock, got, hub } = await createFixture();
  hub.behave({ heartbeatMs: 1 });
  agent.start();
  await clock.advance(1_000);
  expect(got('heartbeat').length).toBeLessThanOrEqual(1_000 / AGENT_LIMITS.heartbeatMsMin + 2);
});

test('a silent channel is given up after heartbeatLostMs and another one dialled', async () => {
  const { agent, clock, hub, states } = await createFixture();
  agent.start();
  await clock.advance(100);
  hub.peers[0]?.link?.setSilent(true);
  await clock.advance(LIMITS.heartbeatLostMs - 200);
  expect(hub.peers).toHaveLength(1);
  await clock.advance(LIMITS.reconnectMsMin + 400);
  expect(hub.peers).toHaveLength(2);
  expect(states.map((state) => state.state)).toContain('offline');
  expect(states.at(-1)?.state).toBe('ready');
});

test('several changes in one tick are one heartbeat', async () => {
  const { agent, clock, got } = await createFixture();
  agent.start();
  await clock.advance(100);
  const before = got('heartbeat').length;
  agent.pause('lunch');
  agent.pause('battery');
  agent.resume('lunch');
  await clock.advance(50);
  expect(got('heartbeat')).toHaveLength(before + 1);
  expect(got('heartbeat').at(-1)?.status).toMatchObject({ state: 'paused', pauseReasons: ['battery'] });
});

const GARBAGE: readonly [string, Uint8Array][] = [
  ['bytes that are no CBOR', Uint8Array.of(255, 0, 1)],
  ['an empty frame', new Uint8Array()],
  ['an oversized frame', new Uint8Array(LIMITS.frameBytesMax + 1)],
  ['a known kind of a wrong shape', raw({ t: 'answer', lease: 7 })],
  ['a critical field that it does not know', raw({ t: 'heartbeat.ack', n: 0, '!must': 1 })],
  ['a critical field in an unknown kind', raw({ t: 'new.kind', '!must': 1 })],
  ['a challenge out of order', raw({ t: 'challenge', proof: new Uint8Array(3) } satisfies ToDevice)],
  [
    'a second welcome',
    raw({ t: 'welcome', device: 'd', session: 's', ticket: 't', heartbeatMs: 1 } satisfies ToDevice),
  ],
];
test.each(GARBAGE)('%s ends the channel, and the device comes back', async (_what, frame) => {
  const { agent, clock, hub, peer, states } = await createFixture();
  agent.start();
  await clock.advance(100);
  peer().sendRaw(frame);
  await clock.advance(50);
  expect(hub.peers[0]?.closed).toBeDefined();
  await clock.advance(LIMITS.reconnectMsMax + 100);
  expect(hub.peers.length).toBeGreaterThan(1);
  expect(states.at(-1)?.state).toBe('ready');
});

test('before the welcome frames are held to the smaller bound, and work is out of order', async () => {
  const { agent, clock, hub } = await createFixture();
  hub.behave({ insteadOfChallenge: { t: 'drain', reason: 'x' } });
  agent.start();
  await clock.advance(20);
  expect(hub.peers[0]?.closed).toContain('out of order');
  hub.behave({
    insteadOfChallenge: { t: 'refused', code: 'internal', message: 'x'.repeat(LIMITS.handshakeFrameBytesMax) },
  });
  await clock.advance(LIMITS.reconnectMsMax);
  expect(hub.peers[1]?.closed).toContain('over the limit');
});

test('a kind that it does not know is answered with unsupported and changes nothing', async () => {
  const { agent, clock, got, peer } = await createFixture();
  agent.start();
  await clock.advance(100);
  peer().sendRaw(raw({ t: 'dance' }));
  await clock.advance(50);
  expect(got('unsupported')).toEqual([{ t: 'unsupported', kind: 'dance' }]);
  expect(agent.state().state).toBe('ready');
});

test('the next agreement key is announced before the old one ends', async () => {
  const { agent, clock, got, identity, peer } = await createFixture();
  agent.start();
  await clock.advance(100);
  const first = peer().device?.agreementKey;
  await clock.advance(LIMITS.agreementKeyMs - AGENT_LIMITS.agreementLeadMs + 100);
  const [announced] = got('agreement');
  const next = await checkAgreementKey(
    { key: announced?.key as Uint8Array, device: identity.publicKey, nowMs: clock.now() },
    nodeCrypto,
  );
  expect(next.key).not.toEqual(first?.key);
  expect(clock.now()).toBeLessThan(first?.expiresAtMs as number);
});

test('a device that is stopped says goodbye and leaves no timer behind', async () => {
  const { agent, clock, peer, startWith, store } = await createFixture();
  await startWith(await putModel(store, 'weights'));
  const stopped = agent.stop();
  await clock.advance(10);
  await stopped;
  expect(await agent.ended).toBeUndefined();
  await clock.advance(10);
  expect(peer().closed).toBe('the device was stopped');
  expect(clock.nextInMs()).toBeUndefined();
});
