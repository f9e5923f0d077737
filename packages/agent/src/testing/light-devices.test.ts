/** Claims about devices by the thousand: to a hub each is a device like any other. */
import { expect, onTestFinished, test } from 'vitest';
import type { ToHub } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { serveHub, type RealHub } from '../node/testing/real-hub.ts';
import { startLightDevices, type LightDevices, type LightDevicesOptions, type LightEvent } from './light-devices.ts';
import type { ScriptedPeer } from './scripted-hub.ts';
import { simulatedAnswer } from './simulated-engine.ts';
import { exampleAnswer, exampleWork } from './example-answer.ts';

const MODEL = 'bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua';
/** On a busy machine. */
const SOON = { timeout: 15_000 };
const WORK = exampleWork({ tokensMax: 40 });

async function startOn(
  { hub, url }: RealHub,
  change: Partial<LightDevicesOptions> = {},
): Promise<{ devices: LightDevices; events: LightEvent[] }> {
  const events: LightEvent[] = [];
  const devices = await startLightDevices({
    urls: [url],
    territory: hub.territory.publicKey,
    count: 40,
    seed: 'test',
    model: MODEL,
    tokensPerSecond: 400,
    onEvent: (event) => events.push(event),
    ...change,
  });
  onTestFinished(() => devices.stop());
  return { devices, events };
}

const welcomed = ({ hub }: RealHub): ScriptedPeer[] => hub.peers.filter(({ closed }) => closed === undefined);
const tokensOf = (peer: ScriptedPeer): [number, number][] =>
  peer.got
    .filter((message): message is Extract<ToHub, { t: 'answer.token' }> => message.t === 'answer.token')
    .map(({ i, id }) => [i, id]);

test('they prove themselves with keys of their own, and have the same ones again', async () => {
  const served = await serveHub();
  const { devices } = await startOn(served, { joinToken: 'secret' });
  await expect.poll(() => devices.connected(), SOON).toBe(40);
  expect(new Set(devices.ids).size).toBe(40);
  const { hub } = served;
  expect(hub.peers[7]?.device?.proof).toMatchObject({
    joinToken: 'secret',
    status: { state: 'ready', models: [{ cid: MODEL, state: 'warm' }] },
  });
  expect(hub.peers[7]?.device?.proof.profile.features).toContain('resume');
  devices.stop();
  await expect.poll(() => welcomed(served).length, SOON).toBe(0);
  const again = await startOn(served);
  expect(again.devices.ids).toEqual(devices.ids);
});

test('an answer that loses its channel is taken up on the next one', async () => {
  const served = await serveHub();
  served.hub.behave({ resumes: true });
  const { devices, events } = await startOn(served, { count: 1, tokensPerSecond: 40 });
  await expect.poll(() => devices.connected(), SOON).toBe(1);
  const [first] = served.hub.peers;
  first?.send(exampleAnswer(MODEL, { work: WORK, keep: true }));
  await expect.poll(() => tokensOf(first as ScriptedPeer).length, SOON).toBeGreaterThan(2);
  first?.channel.close('a test');
  await expect.poll(() => served.hub.peers[1]?.device, SOON).toBeDefined();
  const heard = tokensOf(first as ScriptedPeer);
  const second = served.hub.peers[1] as ScriptedPeer;
  expect(second.device?.proof.status.attempts).toMatchObject([{ lease: 'att_1', epoch: 1 }]);
  second.send({ t: 'answer.resume', lease: 'att_1', epoch: 1, from: heard.length });
  await expect.poll(() => second.got.some(({ t }) => t === 'answer.finished'), SOON).toBe(true);
  expect([...heard, ...tokensOf(second)]).toEqual(simulatedAnswer(WORK).tokens.map((id, i) => [i, id]));
  expect(events.map(({ t }) => t)).toEqual(['opened', 'lost', 'backOff', 'opened']);
});

test('they are spread over several addresses, and go to the next one when theirs is gone', async () => {
  const [one, other] = [await serveHub(), await serveHub()];
  const { devices } = await startOn(one, { urls: [one.url, other.url] });
  await expect.poll(() => devices.connected(), SOON).toBe(40);
  expect([welcomed(one).length, welcomed(other).length]).toEqual([20, 20]);
  one.hub.behave({ insteadOfChallenge: { t: 'refused', code: 'hub_stopping', message: 'bye', retryAfterMs: 10 } });
  for (const peer of welcomed(one)) peer.send({ t: 'dropped', code: 'hub_stopping', message: 'bye', retryAfterMs: 0 });
  await expect.poll(() => welcomed(other).length, SOON).toBe(40);
  await expect.poll(() => devices.connected(), SOON).toBe(40);
});

test('a hub of another territory is not believed', async () => {
  const served = await serveHub();
  const stranger = await nodeCrypto.signingKey(new Uint8Array(32).fill(9));
  served.hub.behave({ signer: stranger });
  const { events } = await startOn(served, { count: 1 });
  await expect.poll(() => events.at(0), SOON).toMatchObject({ t: 'backOff', code: 'hub_untrusted' });
});
