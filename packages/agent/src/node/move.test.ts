/** Claims about a device that is sent to another hub of its territory, over real sockets and from a real folder. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '@idlewild/protocol/node';
import { hex, type ToDevice, type ToHub } from '@idlewild/protocol';
import { createSimulatedEngineHost, simulatedAnswer } from '../testing/simulated-engine.ts';
import type { ScriptedPeer } from '../testing/scripted-hub.ts';
import { putModel } from './testing/fixture.ts';
import type { NodeAgentOptions } from './start-agent.ts';
import { CONSENT, SECRET, newFolder, serveHub, start, type RealHub } from './testing/real-hub.ts';
import { exampleAnswer, exampleWork } from '../testing/example-answer.ts';

/** On a busy machine. */
const SOON = { timeout: 15_000 };
const WORK = exampleWork({ tokensMax: 60 });
const tokensOf = (peer: ScriptedPeer | undefined): [number, number][] =>
  (peer?.got ?? [])
    .filter((message): message is Extract<ToHub, { t: 'answer.token' }> => message.t === 'answer.token')
    .map(({ i, id }) => [i, id]);

test('it goes on with its answer at the other hub, fetches blocks there, and begins there next time', async () => {
  const [old, other] = [await serveHub(), await serveHub()];
  for (const { hub } of [old, other]) hub.behave({ resumes: true });
  const cid = await putModel(old.store, 'weights');
  const second = await putModel(other.store, 'other weights');
  const data = await newFolder();
  const engineHost = createSimulatedEngineHost({ clock: systemClock, tokensPerSecond: 200 });
  const { agent, until } = await start({ data, name: 'kettle', invite: old.invite, consent: CONSENT, engineHost });
  await until((state) => state.state === 'ready');
  const [peer] = old.hub.peers;
  const model = { cid, name: 'small', bytes: 7 };
  peer?.send({ t: 'hold', models: [model], sources: ['/'] });
  await until((state) => state.models[0]?.state === 'warm');
  peer?.send(exampleAnswer(cid, { work: WORK, keep: true }));
  await expect.poll(() => tokensOf(peer).length, SOON).toBeGreaterThan(3);
  peer?.send({ t: 'move', afterMs: 0, reason: 'moved', url: other.url });
  await expect.poll(() => other.hub.peers[0]?.device?.proof.status.attempts?.[0]?.lease, SOON).toBe('att_1');
  const heard = tokensOf(peer);
  const there = other.hub.peers[0] as ScriptedPeer;
  there.send({ t: 'answer.resume', lease: 'att_1', epoch: 1, from: heard.length } satisfies ToDevice);
  await expect.poll(() => there.got.some(({ t }) => t === 'answer.finished'), SOON).toBe(true);
  expect([...heard, ...tokensOf(there)]).toEqual(simulatedAnswer(WORK).tokens.map((id, i) => [i, id]));

  there.send({ t: 'hold', models: [model, { cid: second, name: 'second', bytes: 13 }], sources: ['/'] });
  await until((state) => state.models.find((each) => each.cid === second)?.state === 'warm');
  await agent.stop();

  const again = await start({ data });
  await again.until((state) => state.state === 'ready');
  expect([old.hub.peers.length, other.hub.peers.length]).toEqual([1, 2]);
});

interface Moved {
  readonly old: RealHub;
  readonly other: RealHub;
  readonly data: string;
  /** Joins once more; returns where it came, and what it said of that. */
  again(told: Pick<NodeAgentOptions, 'url' | 'pin' | 'invite'>): Promise<{ at: RealHub; said: unknown[] }>;
}

/** A device that was sent from one to the other, and has stopped. */
async function createMoved(): Promise<Moved> {
  const [old, other] = [await serveHub(), await serveHub()];
  const data = await newFolder();
  const { agent, until } = await start({ data, name: 'kettle', invite: old.invite, consent: CONSENT });
  await until((state) => state.state === 'ready');
  old.hub.peers[0]?.send({ t: 'move', afterMs: 0, reason: 'moved', url: other.url });
  await expect.poll(() => other.hub.peers[0]?.device, SOON).toBeDefined();
  await until((state) => state.state === 'ready');
  await agent.stop();
  return {
    old,
    other,
    data,
    async again(told) {
      const before = old.hub.peers.length;
      const said: unknown[] = [];
      const device = await start({ data, ...told, onMoved: (hub) => said.push(hub) });
      await device.until((state) => state.state === 'ready');
      await device.agent.stop();
      return { at: old.hub.peers.length > before ? old : other, said };
    },
  };
}

test('the bare address that it was told first leads to where it is now, and it says so', async () => {
  const { old, other, again } = await createMoved();
  const said = [{ url: other.url, from: old.url }];
  expect(await again({ url: old.url })).toEqual({ at: other, said });
  expect(await again({ url: `${old.url}/` })).toEqual({ at: other, said });
  expect(await again({ url: other.url })).toEqual({ at: other, said: [] });
});

test('an invite to the old address is the word of the lender, and a hub there may enrol the device', async () => {
  const { old, other, again } = await createMoved();
  expect(await again({ invite: old.invite })).toEqual({ at: old, said: [] });
  expect(old.hub.peers[1]?.device?.proof.joinToken).toBe(Buffer.from(SECRET).toString('base64url'));
  expect((await again({})).at).toBe(old);
  expect(old.hub.peers[2]?.device?.proof.joinToken).toBeUndefined();
  expect((await again({ url: other.url })).at).toBe(other);
});

test('so is a pin; the place that it leaves is kept with the pin that belongs there', async () => {
  const { old, other, data } = await createMoved();
  const pin = new Uint8Array(32).fill(7);
  const settings = async (): Promise<unknown> => JSON.parse(await readFile(join(data, 'device.json'), 'utf8'));
  expect(await settings()).toMatchObject({ url: other.url, movedFrom: old.url, before: { url: old.url } });
  const { agent } = await start({ data, url: old.url, pin });
  expect(await settings()).toMatchObject({ url: old.url, pin: hex(pin), before: { url: other.url } });
  await agent.stop();
  const back = await start({ data, url: `${other.url}/` });
  expect(await settings()).toMatchObject({ before: { url: old.url, pin: hex(pin) } });
  expect(await settings()).not.toHaveProperty('pin');
  await back.until((state) => state.state === 'ready');
});
