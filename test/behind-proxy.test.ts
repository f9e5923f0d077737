/**
 * Claims about a hub behind something that ends TLS: devices prove that hub all the same, and who holds the TLS key in
 * between reads and changes nothing of what the two say.
 */
import { join } from 'node:path';
import { createClient } from '@idlewild/client';
import { decodeFrame, decodeInvite, encodeFrame, encodeInvite, joinTokenOf } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { hear, LONG, untilReady } from './answers.ts';
import { until } from './processes/child.ts';
import {
  fetchTrusting,
  passingOn,
  startBalancer,
  startImpostor,
  type Balancer,
  type Change,
  type Impostor,
} from './tls.ts';
import { createWorld, type DeviceProcess, type HubProcess, type World } from './world.ts';

let world: World;
let balancer: Balancer;
let hub: HubProcess;
/** Where the certificate lies that the balancer has, and whoever pretends to be it. */
let certificates: string;
const devices = new Map<string, DeviceProcess>();

const trusting = (): NodeJS.ProcessEnv => ({ ...process.env, NODE_EXTRA_CA_CERTS: join(certificates, 'tls.crt') });

beforeAll(async () => {
  world = await createWorld();
  certificates = join(world.folder, 'elsewhere');
  // Only for its certificate.
  const maker = await world.startHub({ data: certificates, host: '127.1' });
  await maker.stop();
  balancer = await startBalancer(certificates);
  hub = await world.startHub({ publicUrl: balancer.url });
  balancer.point(hub.port);
  await world.publish(hub);
  await Promise.all(
    ['ada', 'bea'].map(async (name) => {
      devices.set(name, await world.startDevice(hub, name, { env: trusting() }));
    }),
  );
});
afterAll(async () => {
  balancer.close();
  await world.end();
});

async function between(change: Change): Promise<Impostor> {
  const server = await startImpostor(certificates, passingOn(hub.url, change));
  onTestFinished(() => server.close());
  return server;
}

test('two devices join through it, fetch the model and answer, and callers reach the hub through it', async () => {
  const invite = decodeInvite((await hub.client.invites.create({ uses: 1, expiresInSeconds: 60 })).token);
  expect(invite).toMatchObject({ url: balancer.url, session: true });
  expect(invite.pin).toBeUndefined();
  await untilReady(hub.client, 2);
  const caller = createClient({ hub: balancer.url, key: hub.key, fetch: fetchTrusting(certificates) });
  const [one, two] = await Promise.all([hear(caller), hear(caller)]);
  expect(one.text.length).toBeGreaterThan(100);
  expect(two.text).toBe(one.text);
  expect([one, two].map(({ end }) => end.idlewild.failovers)).toEqual([0, 0]);
  // Each device has a channel through it, at least one connection for blocks, and the caller has one.
  expect(balancer.carried()).toBeGreaterThanOrEqual(5);
});

test('who ends TLS sees the two first frames and not a word of the rest', async () => {
  const seen: Buffer[] = [];
  const server = await between((message) => (seen.push(message), message));
  const given = decodeInvite((await hub.client.invites.create({ uses: 1, expiresInSeconds: 600 })).token);
  await Promise.all([...devices.values()].map((device) => device.stop()));
  const kept = await world.startDevice(hub, 'ada', { env: trusting(), url: server.url });
  devices.set('ada', kept);
  await world.startDevice(hub, 'cyd', {
    env: trusting(),
    invite: encodeInvite({ ...given, url: server.url }),
    atOnce: true,
  });
  await until(async () => (await hub.client.devices.list()).some(({ name }) => name === 'cyd'), 'cyd joining');
  const mark = 'quodlibet zephyranthes';
  const { text } = await hear(hub.client, { ...LONG, prompt: `MENENIUS:\nThe ${mark} said,` });
  const said = Buffer.concat(seen);
  expect(said.length).toBeGreaterThan(20_000);
  for (const word of [mark, joinTokenOf(given.secret), text.slice(100, 110), 'answer', 'heartbeat', 'ticket']) {
    expect([word, said.includes(word)]).toEqual([word, false]);
  }
  const kinds = seen.flatMap((frame) => {
    try {
      return [decodeFrame(new Uint8Array(frame)).t];
    } catch {
      return [];
    }
  });
  expect(kinds.toSorted()).toEqual(['challenge', 'challenge', 'hello', 'hello']);
});

test('a bit that is changed in mid-answer costs the channel, and no wrong token', async () => {
  await Promise.all([...devices.values()].map((device) => device.stop()));
  let left = Number.POSITIVE_INFINITY;
  const server = await between((message, towards) => {
    if (towards === 'hub') left -= 1;
    return left === 0 && towards === 'hub' ? message.map((byte, at) => (at === 9 ? byte ^ 1 : byte)) : message;
  });
  await world.startDevice(hub, 'ada', { env: trusting(), url: server.url });
  const whole = await hear(hub.client);
  const heard = await hear(hub.client, LONG, (count) => {
    if (count === 30) left = 10;
  });
  expect(heard.text).toBe(whole.text);
  expect(left).toBeLessThan(0);
  expect(hub.log()).toContain('a frame was not sealed by the other end');
});

test('who puts a key of its own into the handshake gets neither proof nor token', async () => {
  const own = await nodeCrypto.agreementKey(nodeRandom.bytes(32));
  const server = await between((message, towards) => {
    const frame = decodeFrame(new Uint8Array(message));
    return towards === 'hub' && frame.t === 'hello' ? encodeFrame({ ...frame, session: own.publicKey }) : message;
  });
  const given = decodeInvite((await hub.client.invites.create({ uses: 1, expiresInSeconds: 600 })).token);
  const invite = encodeInvite({ ...given, url: server.url });
  const device = await world.startDevice(hub, 'dee', { env: trusting(), invite, atOnce: true });
  const line = await device.line((each) => 'ended' in each, 'the new device ending');
  expect(line).toMatchObject({ ended: { code: 'hub_untrusted' } });
  expect(server.heard.map((frame) => decodeFrame(new Uint8Array(frame)).t)).toEqual(['hello']);
});
