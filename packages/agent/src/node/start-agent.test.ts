import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CID } from 'multiformats/cid';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocketServer, type WebSocket } from 'ws';
import {
  createMemoryBlobStore, encodeInvite, type BlobStore, type Channel, type ToHub,
} from '@idlewild/protocol';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import type { Agent, AgentState } from '../core/agent.ts';
import { PROFILE, putModel } from './testing/fixture.ts';
import { createScriptedHub, type ScriptedHub } from '../testing/scripted-hub.ts';
import { createSimulatedEngineHost, simulatedAnswer } from '../testing/simulated-engine.ts';
import { startNodeAgent, type NodeAgentOptions } from './start-agent.ts';

const CONSENT = { kinds: ['answers'], presence: 'ignore' } as const;
const SECRET = new Uint8Array(32).fill(4);

interface RealHub {
  readonly hub: ScriptedHub;
  readonly url: string;
  readonly store: BlobStore;
  readonly invite: string;
}

const channelOf = (socket: WebSocket): Channel => ({
  binding: { kind: 'loopback' },
  send: (frame) => socket.send(frame),
  bufferedBytes: () => socket.bufferedAmount,
  close: (reason) => socket.close(1_000, reason),
  listen({ onFrame, onClose }) {
    socket.on('message', (message: Buffer) => onFrame(new Uint8Array(message)));
    socket.on('close', (_code, reason) => onClose(reason.toString()));
  },
});

/** The scripted hub behind real sockets: frames at /device, blocks at /blobs. */
async function serveHub(): Promise<RealHub> {
  const hub = await createScriptedHub(systemClock, nodeCrypto);
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  const server = createServer((request, response) => {
    const isAllowed = request.headers.authorization === 'Bearer ticket';
    store.get(CID.parse(request.url?.replace('/blobs/', '') ?? '')).then((block) => {
      if (block === undefined || !isAllowed) response.writeHead(isAllowed ? 404 : 401).end();
      else response.end(block);
    }, (error: unknown) => response.destroy(error as Error));
  });
  const sockets = new WebSocketServer({ server, path: '/device' });
  sockets.on('connection', (socket) => hub.accept('real', channelOf(socket)));
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  onTestFinished(() => new Promise<void>((resolve) => {
    for (const client of sockets.clients) client.terminate();
    server.close(() => resolve());
    server.closeAllConnections();
  }));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { hub, url, store, invite: encodeInvite({ url, secret: SECRET, territory: hub.territory.publicKey }) };
}

interface Device { readonly agent: Agent; until(what: (state: AgentState) => boolean): Promise<AgentState> }

async function start(options: Omit<NodeAgentOptions, 'log' | 'onState'>): Promise<Device> {
  const waiting = new Set<(state: AgentState) => void>();
  const agent = await startNodeAgent({
    machine: PROFILE, engineHost: createSimulatedEngineHost({ clock: systemClock, tokensPerSecond: 5_000 }),
    log: () => undefined, onState: (state) => { for (const tell of waiting) tell(state); }, ...options,
  });
  onTestFinished(() => agent.stop());
  return {
    agent,
    until: (what) => new Promise((resolve) => {
      const look = (state: AgentState): void => {
        if (!what(state)) return;
        waiting.delete(look);
        resolve(state);
      };
      waiting.add(look);
      look(agent.state());
    }),
  };
}

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'idlewild-device-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

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

  const work = {
    prompt: { kind: 'text' as const, text: 'Hello' }, sampling: { seed: 3 }, choice: 0, stop: [], tokens: [],
    tokensMax: 20,
  };
  peer?.send({ t: 'answer', lease: 'att_1', epoch: 1, model: cid, work, deadlineMs: 10_000 });
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
