import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { ToHub } from '@idlewild/protocol';
import { createNodeEngineHost } from '@idlewild/engine/node';
import { longWork, publishJacobean } from './testing/publish.ts';
import { CONSENT, newFolder, serveHub, start } from './testing/real-hub.ts';

test('a real engine that is killed in mid-answer costs one attempt; the next goes on bit for bit', async () => {
  const { hub, invite, store } = await serveHub();
  const { cid, bytes } = await publishJacobean(store, await newFolder());
  const processes: number[] = [];
  const engineHost = createNodeEngineHost({
    log: (message) => processes.push(Number(/process (\d+)/.exec(message)?.[1])),
  });
  const { until } = await start({ data: await newFolder(), name: 'kettle', invite, consent: CONSENT, engineHost });
  await until((state) => state.state === 'ready');
  const [peer] = hub.peers;
  const tokensOf = (lease: string): number[] =>
    (peer?.got ?? [])
      .filter(
        (message): message is Extract<ToHub, { t: 'answer.token' }> =>
          message.t === 'answer.token' && message.lease === lease,
      )
      .map(({ id }) => id);
  const ask = async (lease: string, tokens: number[]): Promise<void> => {
    peer?.send({ t: 'answer', lease, epoch: 1, model: cid, work: longWork(tokens), deadlineMs: 30_000 });
    await until((state) => state.answering === 1);
  };
  /** At the hub, where it comes after all tokens: the device is done when they are on their way. */
  const told = async (lease: string, kind: 'answer.finished' | 'answer.failed'): Promise<void> => {
    const isTold = (message: ToHub): boolean => message.t === kind && message.lease === lease;
    while (peer?.got.some((message) => message.t !== '?' && isTold(message)) !== true) await pause(5);
  };
  const isWarm = (): Promise<unknown> => until((state) => state.models[0]?.state === 'warm');
  peer?.send({ t: 'hold', models: [{ cid, name: 'jacobean', bytes }], sources: [] });
  await isWarm();
  await ask('whole', []);
  await told('whole', 'answer.finished');
  await ask('killed', []);
  while (tokensOf('killed').length < 5) await pause(5);
  process.kill(processes[0] as number, 'SIGKILL');
  await told('killed', 'answer.failed');
  await until((state) => state.answering === 0);
  await isWarm();
  const sent = tokensOf('killed');
  await ask('rest', sent);
  await told('rest', 'answer.finished');
  expect(peer?.got.filter(({ t }) => t === 'answer.failed')).toMatchObject([
    { lease: 'killed', code: 'engine_failed' },
  ]);
  expect(tokensOf('whole')).toHaveLength(200);
  expect(sent.length).toBeLessThan(200);
  expect([...sent, ...tokensOf('rest')]).toEqual(tokensOf('whole'));
  expect(hub.peers).toHaveLength(1);
});
