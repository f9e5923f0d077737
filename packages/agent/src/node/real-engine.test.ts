import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { encodeManifest, storeFile, type AnswerWork, type BlobStore, type ToHub } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createNodeEngineHost } from '@idlewild/engine/node';
import { prepareModelFolder } from '@idlewild/engine/testing';
import { CONSENT, newFolder, serveHub, start } from './testing/real-hub.ts';

async function publish(store: BlobStore, folder: string): Promise<{ cid: string; bytes: number }> {
  const { graph, contextTokens, fileBytes } = prepareModelFolder({ folder, from: 'jacobean' });
  const files = await Promise.all(
    Object.keys(fileBytes).map(async (path) => {
      const { root, bytes } = await storeFile(store, () => createReadStream(join(folder, path)), nodeCrypto);
      return { path, file: root, bytes };
    }),
  );
  const manifest = await encodeManifest(
    { v: 1, kind: 'decoder', graph, files, tensors: [], contextTokens, vocabularyTokens: 1_024, layers: 1, card: {} },
    nodeCrypto,
  );
  await store.put(manifest.cid, manifest.bytes);
  return { cid: manifest.cid.toString(), bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
}

const work = (tokens: number[] = []): AnswerWork => ({
  prompt: { kind: 'text', text: 'ROMEO:' },
  sampling: { seed: 7, temperature: 0.8 },
  choice: 0,
  stop: [],
  tokens,
  tokensMax: 200,
});

test('a real engine that is killed in mid-answer costs one attempt; the next goes on bit for bit', async () => {
  const { hub, invite, store } = await serveHub();
  const { cid, bytes } = await publish(store, await newFolder());
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
    peer?.send({ t: 'answer', lease, epoch: 1, model: cid, work: work(tokens), deadlineMs: 30_000 });
    await until((state) => state.answering === 1);
  };
  /** At the hub, where it comes after all tokens: the device is done when they are on their way. */
  const told = async (lease: string, kind: 'answer.finished' | 'answer.failed'): Promise<void> => {
    const isTold = (message: ToHub): boolean => message.t === kind && message.lease === lease;
    while (peer?.got.some((message) => message.t !== '?' && isTold(message)) !== true)
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
  };
  const isWarm = (): Promise<unknown> => until((state) => state.models[0]?.state === 'warm');
  peer?.send({ t: 'hold', models: [{ cid, name: 'jacobean', bytes }], sources: [] });
  await isWarm();
  await ask('whole', []);
  await told('whole', 'answer.finished');
  await ask('killed', []);
  while (tokensOf('killed').length < 5)
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
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
