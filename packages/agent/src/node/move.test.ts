/** Claims about a device that is sent to another hub of its territory, over real sockets and from a real folder. */
import { expect, test } from 'vitest';
import { systemClock } from '@idlewild/protocol/node';
import type { ToDevice, ToHub } from '@idlewild/protocol';
import { createSimulatedEngineHost, simulatedAnswer } from '../testing/simulated-engine.ts';
import type { ScriptedPeer } from '../testing/scripted-hub.ts';
import { putModel } from './testing/fixture.ts';
import { CONSENT, newFolder, serveHub, start } from './testing/real-hub.ts';

/** On a busy machine. */
const SOON = { timeout: 15_000 };
const WORK = {
  prompt: { kind: 'text' as const, text: 'Hello' },
  sampling: { seed: 3 },
  choice: 0,
  stop: [],
  tokens: [],
  tokensMax: 60,
};
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
  peer?.send({ t: 'answer', lease: 'att_1', epoch: 1, model: cid, work: WORK, keep: true, deadlineMs: 10_000 });
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

  for (const invite of [undefined, old.invite, other.invite]) {
    const before = other.hub.peers.length;
    const again = await start({ data, ...(invite === undefined ? {} : { invite }) });
    await again.until((state) => state.state === 'ready');
    expect(other.hub.peers).toHaveLength(before + 1);
    await again.agent.stop();
  }
  expect(old.hub.peers).toHaveLength(1);
  const back = await start({ data, url: `${old.url}/` });
  await back.until((state) => state.state === 'ready');
  expect(old.hub.peers).toHaveLength(2);
});
