/**
 * One device: an identity, a lender's consent and a disk, which outlive its processes; and its process, a real agent
 * over a simulated engine, which can die at any moment with everything in its memory.
 */
import type { Engine, EngineHost } from '@idlewild/engine';
import { createAgent, signConsent, type Agent } from '@idlewild/agent';
import { createMemoryModelFolders, createSimulatedEngineHost, type SimulatedEngineHost } from '@idlewild/agent/testing';
import {
  createMemoryBlobStore,
  idOfKey,
  joinTokenOf,
  type AnswerWork,
  type BlobSource,
  type BlobStore,
  type Clock,
  type Crypto,
  type ErrorCode,
  type KeyPair,
  type WorkKind,
} from '@idlewild/protocol';
import type { Chance } from '../chance.ts';
import type { Forbidden } from '../events.ts';
import { createLiar, type Liar, type OtherLease } from '../faults/lies.ts';
import { createLink, type Door, type Link, type LinkWatch } from './link.ts';
import { createScope, type Scope } from './scope.ts';
import type { TrustTraits } from '../callers/texts.ts';

export const HUB_URL = 'http://127.0.0.1:7860';

/** What an engine takes, over its model's files. */
export const MEMORY_PER_BYTE = 1.2;

/** What a device is; drawn from the seed. */
export interface DeviceTraits extends TrustTraits {
  readonly name: string;
  /** Its numeric class: devices of one class give the same tokens. */
  readonly family: number;
  readonly tokensPerSecond: number;
  /** What it says of its speed, over what it has. */
  readonly boast: number;
  readonly slots: number;
  readonly latencyMs: number;
  readonly jitterMs: number;
  readonly loadMs: number;
  /** What its lender lends. */
  readonly diskBytes: number;
  readonly memoryBytes: number;
  /** `answers`: lends as the hub wants. `nothing`: for other work only. `elsewhere`: for another territory only. */
  readonly lends: 'answers' | 'nothing' | 'elsewhere';
  /** Pins another territory than this hub's, and can only be turned away. */
  readonly stranger: boolean;
}

export interface SimDevice {
  readonly id: string;
  readonly traits: DeviceTraits;
  readonly identity: KeyPair;
  readonly link: Link;
  readonly liar: Liar;
  /** Starts a process; one that runs already goes on beside it, under the same identity. */
  start(how: { diskIsLost: boolean }): Promise<void>;
  /** Its processes are gone. With `silently` the power went, and no socket was closed. */
  die(silently: boolean): void;
  isRunning(): boolean;
  pause(reason: string): void;
  resume(reason: string): void;
  engines(): SimulatedEngineHost | undefined;
  /** Of its latest session. */
  ticket(): string | undefined;
  /** Answers that the agents of all its processes believe to be running. */
  answering(): number;
  /** Why work must not run here now, as its lender sees it. */
  forbids(): Forbidden | undefined;
}

export interface DeviceDeps {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly crypto: Crypto;
  readonly traits: DeviceTraits;
  readonly territory: Uint8Array;
  readonly elsewhere: Uint8Array;
  readonly inviteSecret: Uint8Array;
  readonly door: () => Door | undefined;
  readonly fetchBlob: (device: string, ticket: string, link: Link) => BlobSource['fetch'];
  readonly watch: (device: string) => LinkWatch;
  readonly otherLease: (device: string) => OtherLease | undefined;
  /** Whether the agent is told of the lender's pauses; a test breaks the world here. */
  readonly heedsLender: boolean;
  /** Its frames may be lost behind the hub's door, and then it is asked to tell them again. */
  readonly hasReplicas: boolean;
  readonly onRan: (device: string, work: AnswerWork, forbidden: Forbidden | undefined) => void;
  readonly onEnded: (device: string, code: ErrorCode) => void;
}

/** What engines of one family have in common. */
export const familyOf = (family: number): { fingerprint: string; salt: string } => ({
  fingerprint: `family-${family}`,
  salt: `salt-${family}`,
});

interface Life {
  readonly scope: Scope;
  readonly agent: Agent;
  readonly engineHost: SimulatedEngineHost;
}

export async function createDevice(deps: DeviceDeps): Promise<SimDevice> {
  const { clock, chance, crypto, traits, elsewhere, territory } = deps;
  const identity = await crypto.signingKey(chance.bytes(32));
  const id = await idOfKey('dev', identity.publicKey, crypto);
  const link = createLink({ clock, chance, ...traits, door: deps.door, watch: deps.watch(id) });
  const liar = createLiar(chance, () => deps.otherLease(id), deps.hasReplicas);
  const pauses = new Set<string>();
  const pinned = traits.stranger ? elsewhere : territory;
  const { classes, causes, refused } = traits;
  const kinds: WorkKind[] = traits.lends === 'nothing' ? ['jobs'] : ['answers'];
  const territories = [traits.lends === 'elsewhere' ? elsewhere : pinned];
  const consent = await signConsent(
    { territories, kinds, presence: 'ignore', classes, causes, refused },
    identity,
    clock,
    crypto,
  );
  let lives: Life[] = [];
  let disk = { store: newStore(deps), folders: createMemoryModelFolders() };
  let enrolled = false;
  let latest: string | undefined;

  const forbids = (): Forbidden | undefined => {
    if (traits.stranger || traits.lends === 'elsewhere') return 'territory';
    if (traits.lends === 'nothing') return 'consent';
    return pauses.size > 0 ? 'paused' : undefined;
  };

  async function createLife(): Promise<Life> {
    const scope = createScope(clock);
    const engineHost = createSimulatedEngineHost({ ...traits, ...familyOf(traits.family), clock: scope });
    const agent = await createAgent({
      clock: scope,
      random: chance,
      crypto,
      ...disk,
      identity,
      consent,
      name: traits.name,
      transport: link.transportFor({ isLive: scope.isLive, utter: liar.utter }),
      engineHost: watchedHost(engineHost, traits, (work) => deps.onRan(id, work, forbids())),
      sources(_base, ticket) {
        latest = ticket;
        return { name: 'hub', fetch: deps.fetchBlob(id, ticket, link) };
      },
      profile: {
        platform: 'simulated',
        arch: 'none',
        cores: 2,
        memoryBytes: 2 ** 31,
        gflops: 10,
        agentVersion: '0.1.0',
        engineBuild: 'simulated-1',
        fingerprint: familyOf(traits.family).fingerprint,
        providers: [],
        // What is sealed may ask for any of these; here nobody does.
        features: ['form', 'tools', 'logprobs', 'bias'],
      },
      hub: { url: HUB_URL, territory: pinned, joinToken: enrolled ? undefined : joinTokenOf(deps.inviteSecret) },
      limits: { threads: 1, slotsMax: traits.slots, memoryBytesMax: traits.memoryBytes },
      log: () => {},
      onEnrolled: () => {
        enrolled = true;
      },
    });
    return { scope, agent, engineHost };
  }

  async function start({ diskIsLost }: { diskIsLost: boolean }): Promise<void> {
    if (diskIsLost) disk = { store: newStore(deps), folders: createMemoryModelFolders() };
    const life = await createLife();
    lives.push(life);
    void life.agent.ended.then((error) => {
      if (!life.scope.isLive()) return;
      life.scope.abandon();
      lives = lives.filter((other) => other !== life);
      if (error !== undefined) deps.onEnded(id, error.code);
    });
    if (deps.heedsLender) for (const reason of pauses) life.agent.pause(reason);
    life.agent.start();
  }

  return {
    id,
    traits,
    identity,
    link,
    liar,
    start,
    forbids,
    die(silently) {
      for (const life of lives) life.scope.abandon();
      lives = [];
      if (!silently) link.cut('the process of the device ended');
    },
    isRunning: () => lives.length > 0,
    pause(reason) {
      pauses.add(reason);
      if (deps.heedsLender) for (const life of lives) life.agent.pause(reason);
    },
    resume(reason) {
      pauses.delete(reason);
      for (const life of lives) life.agent.resume(reason);
    },
    ticket: () => latest,
    engines: () => lives.at(-1)?.engineHost,
    answering: () => lives.reduce((sum, { agent }) => sum + agent.state().answering, 0),
  };
}

const newStore = ({ crypto, traits }: DeviceDeps): BlobStore =>
  createMemoryBlobStore({ crypto, quotaBytes: traits.diskBytes });

/** A host whose engines tell when they begin an answer, and may boast of their speed. */
function watchedHost(
  host: SimulatedEngineHost,
  { boast }: DeviceTraits,
  onRan: (work: AnswerWork) => void,
): EngineHost {
  return {
    async load(model, limits, signal) {
      const engine = await host.load(model, limits, signal);
      return {
        ...engine,
        tokensPerSecond: engine.tokensPerSecond * boast,
        memoryBytes: Math.ceil(MEMORY_PER_BYTE * Object.values(model.fileBytes).reduce((sum, bytes) => sum + bytes, 0)),
        answer(work, listen) {
          onRan(work);
          return engine.answer(work, listen);
        },
      } satisfies Engine;
    },
  };
}
