/** The scripted hub behind real sockets on loopback, and real devices in folders of their own. For tests only. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CID } from 'multiformats/cid';
import { onTestFinished } from 'vitest';
import { WebSocketServer, type WebSocket } from 'ws';
import { createMemoryBlobStore, encodeInvite, type BlobStore, type Channel } from '@idlewild/protocol';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import type { AgentState } from '../../core/agent.ts';
import { createScriptedHub, type ScriptedHub } from '../../testing/scripted-hub.ts';
import { createSimulatedEngineHost } from '../../testing/simulated-engine.ts';
import type { LentDevice } from '../lent-device.ts';
import { startNodeAgent, type NodeAgentOptions } from '../start-agent.ts';
import { PROFILE } from './fixture.ts';

export const CONSENT = { kinds: ['answers'], presence: 'ignore' } as const;
export const SECRET = new Uint8Array(32).fill(4);

export interface RealHub {
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
export async function serveHub(): Promise<RealHub> {
  const hub = await createScriptedHub(systemClock, nodeCrypto);
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  const server = createServer((request, response) => {
    const isAllowed = request.headers.authorization === 'Bearer ticket';
    store.get(CID.parse(request.url?.replace('/blobs/', '') ?? '')).then(
      (block) => {
        if (block === undefined || !isAllowed) response.writeHead(isAllowed ? 404 : 401).end();
        else response.end(block);
      },
      (error: unknown) => response.destroy(error as Error),
    );
  });
  const sockets = new WebSocketServer({ server, path: '/device' });
  sockets.on('connection', (socket) => hub.accept('real', channelOf(socket)));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        for (const client of sockets.clients) client.terminate();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { hub, url, store, invite: encodeInvite({ url, secret: SECRET, territory: hub.territory.publicKey }) };
}

export interface Device {
  readonly agent: LentDevice;
  until(what: (state: AgentState) => boolean): Promise<AgentState>;
}

export async function start(
  options: Omit<NodeAgentOptions, 'log' | 'onState'>,
  tokensPerSecond = 5_000,
): Promise<Device> {
  const waiting = new Set<(state: AgentState) => void>();
  const agent = await startNodeAgent({
    machine: PROFILE,
    engineHost: createSimulatedEngineHost({ clock: systemClock, tokensPerSecond }),
    log: () => undefined,
    onState: (state) => {
      for (const tell of waiting) tell(state);
    },
    ...options,
  });
  onTestFinished(() => agent.stop());
  return {
    agent,
    until: (what) =>
      new Promise((resolve) => {
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

export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'idlewild-device-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
