/** One real agent on a fake clock against a scripted hub, with a model of a few bytes in its store. For tests only. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  createMemoryBlobStore,
  type BlobStore,
  type Consent,
  type DeviceProfile,
  type KeyPair,
  type ToHub,
  type Transport,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { EngineHost } from '@idlewild/engine';
import { createFakeClock, createSeededRandom, storeTinyModel, type FakeClock } from '@idlewild/protocol/testing';
import { createAgent, type Agent, type AgentOptions, type AgentState } from '../../core/agent.ts';
import { signConsent } from '../../core/consent.ts';
import { createMemoryModelFolders } from '../../core/model-folders.ts';
import { createScriptedHub, type ScriptedHub, type ScriptedPeer } from '../../testing/scripted-hub.ts';
import {
  createSimulatedEngineHost,
  type SimulatedEngineHost,
  type SimulatedEngineOptions,
} from '../../testing/simulated-engine.ts';

export const PROFILE: DeviceProfile = {
  platform: 'simulated',
  arch: 'none',
  cores: 2,
  memoryBytes: 2 ** 31,
  gflops: 10,
  agentVersion: '0.1.0',
  engineBuild: 'simulated-1',
  fingerprint: 'plain',
  providers: [{ name: 'simulated', works: true }],
};

export interface Fixture {
  readonly clock: FakeClock;
  readonly hub: ScriptedHub;
  readonly agent: Agent;
  readonly identity: KeyPair;
  readonly engineHost: SimulatedEngineHost;
  readonly store: BlobStore;
  readonly states: AgentState[];
  readonly logged: string[];
  /** The newest connection. */
  peer(): ScriptedPeer;
  /** What the newest connection has got of one kind. */
  got<Kind extends ToHub['t']>(kind: Kind): Extract<ToHub, { t: Kind }>[];
  /** Starts the agent and lets it load `models`; resolves when they are warm. */
  startWith(...models: readonly string[]): Promise<void>;
}

/** A model whose one file holds `text`; its manifest's CID. */
export const putModel = (store: BlobStore, text: string, contextTokens = 4_096): Promise<string> =>
  storeTinyModel(store, text, { crypto: nodeCrypto, contextTokens });

export async function createFixture(
  change: Partial<AgentOptions> & {
    consents?: Partial<Consent>;
    engine?: Partial<SimulatedEngineOptions>;
    joinToken?: string;
    session?: boolean;
    /** Between the agent and its engines. */
    wrapHost?: (host: EngineHost) => EngineHost;
  } = {},
  wrap: (transport: Transport) => Transport = (transport) => transport,
): Promise<Fixture> {
  const clock = createFakeClock(() => nextTurn());
  const random = createSeededRandom(1);
  const hub = await createScriptedHub(clock, nodeCrypto);
  const identity = await nodeCrypto.signingKey(random.bytes(32));
  const { consents, engine, joinToken, session, wrapHost = (host) => host, ...options } = change;
  const engineHost = createSimulatedEngineHost({ clock, tokensPerSecond: 100, ...engine });
  const store = options.store ?? createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  const states: AgentState[] = [];
  const logged: string[] = [];
  const consent = await signConsent(
    { territories: [hub.territory.publicKey], kinds: ['answers'], presence: 'ignore', ...consents },
    identity,
    clock,
    nodeCrypto,
  );
  const agent = await createAgent({
    clock,
    random,
    crypto: nodeCrypto,
    transport: wrap(hub.transport),
    store,
    engineHost: wrapHost(engineHost),
    folders: createMemoryModelFolders(),
    identity,
    consent,
    sources: () => ({ name: 'nothing', fetch: async () => undefined }),
    profile: PROFILE,
    name: 'kettle',
    hub: { url: 'http://hub', territory: hub.territory.publicKey, joinToken, session },
    limits: { threads: 1, slotsMax: 2, memoryBytesMax: 2 ** 30 },
    log: (_level, message) => logged.push(message),
    onState: (state) => states.push(state),
    ...options,
  });
  const peer = (): ScriptedPeer => hub.peers.at(-1) as ScriptedPeer;
  return {
    clock,
    hub,
    agent,
    identity,
    engineHost,
    store,
    states,
    logged,
    peer,
    got: <Kind extends ToHub['t']>(kind: Kind) =>
      peer().got.filter((message) => message.t === kind) as unknown as Extract<ToHub, { t: Kind }>[],
    async startWith(...models) {
      agent.start();
      await clock.advance(100);
      peer().send({ t: 'hold', models: models.map((cid) => ({ cid, name: 'small', bytes: 1 })), sources: [] });
      await clock.advance(1_000);
    },
  };
}
