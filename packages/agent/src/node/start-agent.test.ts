import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import {
  decodeInvite,
  deviceByInviteSchema,
  encodeInvite,
  inviteKey,
  inviteToken,
  joinTokenOf,
  openStatement,
  type ToHub,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createScriptedSignals } from '../testing/scripted-signals.ts';
import { simulatedAnswer } from '../testing/simulated-engine.ts';
import { putModel } from './testing/fixture.ts';
import { CONSENT, SECRET, newFolder, serveHub, start } from './testing/real-hub.ts';
import { exampleAnswer, exampleWork } from '../testing/example-answer.ts';

test('a device joins over a real socket, fetches a model over HTTP onto the disk, and answers', async () => {
  const { hub, invite, store } = await serveHub();
  const cid = await putModel(store, 'weights');
  const data = await newFolder();
  const { agent, until } = await start({ data, name: 'kettle', invite, consent: CONSENT });
  await until((state) => state.state === 'ready');
  const [peer] = hub.peers;
  expect(peer?.device?.proof.joinToken).toBe(Buffer.from(SECRET).toString('base64url'));
  peer?.send({ t: 'hold', models: [{ cid, name: 'small', bytes: 7 }], sources: ['/'] });
  await until((state) => state.models[0]?.state === 'warm');
  const linked = join(data, 'models', cid, 'model.onnx');
  expect(await readFile(linked, 'utf8')).toBe('weights');
  expect((await stat(linked)).nlink).toBe(2);

  const work = exampleWork({ tokensMax: 20 });
  peer?.send(exampleAnswer(cid, { work }));
  await until((state) => state.answering === 1);
  await until((state) => state.answering === 0);
  await agent.stop();
  const tokens = (peer?.got ?? []).filter(
    (message): message is Extract<ToHub, { t: 'answer.token' }> => message.t === 'answer.token',
  );
  expect(tokens.map(({ id }) => id)).toEqual(simulatedAnswer(work).tokens);
  expect(peer?.got.filter(({ t }) => t === 'answer.finished')).toHaveLength(1);
});

test('a folder is held by one device at a time, and the next start needs neither invite nor name', async () => {
  const { hub, invite } = await serveHub();
  const data = await newFolder();
  const first = await start({ data, name: 'kettle', invite, consent: CONSENT });
  await first.until((state) => state.state === 'ready');
  await expect(start({ data })).rejects.toMatchObject({ code: 'data_locked' });
  await first.agent.stop();
  const second = await start({ data });
  const state = await second.until((each) => each.state === 'ready');
  expect(state).toMatchObject({ name: 'kettle', deviceId: first.agent.deviceId });
  expect(hub.peers.map((peer) => peer.device?.proof.joinToken !== undefined)).toEqual([true, false]);
  expect(hub.peers[1]?.device?.consent.kinds).toEqual(['answers']);
});

test('to an invite of a hub behind a balancer a pin may be added, and both are kept', async () => {
  const { hub, url } = await serveHub();
  const invite = encodeInvite({ url, secret: SECRET, territory: hub.territory.publicKey, session: true });
  const data = await newFolder();
  await start({ data, name: 'kettle', invite, url, pin: new Uint8Array(32).fill(7), consent: CONSENT });
  const kept: unknown = JSON.parse(await readFile(join(data, 'device.json'), 'utf8'));
  expect(kept).toMatchObject({ url, session: true, pin: '07'.repeat(32) });
});

test('of an invite that is vouched for the hub sees no secret, and gets the word of its key', async () => {
  const { hub, invite } = await serveHub();
  const { secret, ...place } = decodeInvite(invite);
  const vouched = encodeInvite({ ...place, secret, vouched: true });
  const { until } = await start({ data: await newFolder(), name: 'kettle', invite: vouched, consent: CONSENT });
  await until((state) => state.state === 'ready');
  const proof = hub.peers[0]?.device?.proof;
  expect(proof?.joinToken).toBe(await inviteToken(secret, nodeCrypto));
  expect(proof?.joinToken).not.toBe(joinTokenOf(secret));
  const { publicKey } = await inviteKey(secret, nodeCrypto);
  const { byInvite = new Uint8Array() } = proof ?? {};
  const opened = await openStatement('device-by-invite', byInvite, deviceByInviteSchema, nodeCrypto, publicKey);
  expect(opened.statement).toMatchObject({ territory: place.territory, device: hub.peers[0]?.device?.consent.device });
});

test('what is missing for a start is said', async () => {
  const { invite } = await serveHub();
  const data = await newFolder();
  await expect(start({ data, name: 'kettle' })).rejects.toMatchObject({ code: 'usage' });
  const broken = start({ data, name: 'kettle', invite: 'iwj1.broken' });
  await expect(broken).rejects.toMatchObject({ code: 'join_token_invalid' });
  await expect(start({ data, invite, consent: CONSENT })).rejects.toMatchObject({ code: 'usage' });
  await expect(start({ data, name: 'kettle', invite })).rejects.toMatchObject({ code: 'usage' });
});

test('a hub that refuses for good ends the device and frees its folder', async () => {
  const { hub, invite } = await serveHub();
  hub.behave({ insteadOfWelcome: { t: 'refused', code: 'join_token_invalid', message: 'used up' } });
  const data = await newFolder();
  const { agent } = await start({ data, name: 'kettle', invite, consent: CONSENT });
  expect(await agent.ended).toMatchObject({ code: 'join_token_invalid', message: 'used up' });
  await agent.stop();
  hub.behave({ insteadOfWelcome: undefined });
  const again = await start({ data, invite });
  expect(await again.until((state) => state.state === 'ready')).toMatchObject({ name: 'kettle' });
});

test('a device that respects presence goes by its machine, says what it sees, and lets go of it', async () => {
  const { invite } = await serveHub();
  const source = createScriptedSignals({ inputIdleMs: 3_600_000, otherCpu: 0 });
  const { agent, until } = await start({
    data: await newFolder(),
    name: 'kettle',
    invite,
    consent: { ...CONSENT, presence: 'respect' },
    openSignals: () => Promise.resolve(source),
  });
  await until((state) => state.state === 'ready');
  source.touch();
  expect(agent.state()).toMatchObject({ state: 'paused', pauses: [{ name: 'input' }] });
  source.say({ inputIdleMs: 40_000 });
  const readings = source.readings();
  await vi.waitUntil(() => source.readings() > readings, { timeout: 30_000 });
  expect(await agent.control.status()).toMatchObject({
    pauses: [{ name: 'input', text: 'somebody used this machine 40 s ago; it works again in 2 min' }],
    signals: { headless: false, read: { otherCpu: 'as the script says' }, unknown: expect.arrayContaining(['camera']) },
  });
  await agent.stop();
  expect(source.isClosed()).toBe(true);
});
