/**
 * Thousands of devices in one process, for storms and benches: each a real session and a real lane, with an engine that
 * is arithmetic. They sign what a device signs, beat, answer, keep what they said and take it up again elsewhere.
 *
 * Left out is what a storm does not need: folders, the shelf of models (what the hub wants held is said to be warm),
 * pauses and blobs. Tokens are those of `simulatedAnswer`, so that anybody can say what an answer must be. A device
 * takes 36 KB and one file descriptor, of which a process often has 20,000; connecting takes it half a millisecond of a
 * core, of which signing and verifying are half.
 */
import {
  IdlewildError,
  LIMITS,
  idOfKey,
  signStatement,
  utf8,
  type AgreementKey,
  type Crypto,
  type DeviceProfile,
  type DeviceStatus,
  type KeyPair,
  type Transport,
} from '@idlewild/protocol';
import { nodeRandom, systemClock } from '@idlewild/protocol/node';
import type { Engine } from '@idlewild/engine';
import { signConsent } from '../core/consent.ts';
import { createLane, type Lane } from '../core/lane/lane.ts';
import type { WarmModel } from '../core/lane/attempts.ts';
import { createSession, deviceUrlOf, type Session } from '../core/session.ts';
import type { WorkMessage } from '../core/session-machine.ts';
import { lightTransport } from './light-socket.ts';
import { simulatedAnswer, simulatedPromptTokens, simulatedText } from './simulated-engine.ts';
import { createThriftyCrypto } from './thrifty-crypto.ts';

export interface LightDevicesOptions {
  /** `http://127.0.0.1:port`. Several: device number i begins with number i, and dials the next one at each turn. */
  readonly urls: readonly string[];
  /** The territory's key. */
  readonly territory: Uint8Array;
  readonly count: number;
  /** Without it the devices have been enrolled before. */
  readonly joinToken?: string | undefined;
  /** The key of device number i is made of SHA-256 over `seed/i`: anybody can say who they are before they come. */
  readonly seed: string;
  /** CID of a model that is warm from the beginning; others are as soon as the hub wants them held. */
  readonly model?: string | undefined;
  /** Of each answer; 50. */
  readonly tokensPerSecond?: number | undefined;
  /** 4. */
  readonly slots?: number | undefined;
  onEvent?(event: LightEvent): void;
}

export type LightEvent = { readonly device: number } & (
  | { readonly t: 'opened' | 'lost' }
  | { readonly t: 'backOff'; readonly code: string; readonly afterMs: number }
  | { readonly t: 'ended'; readonly code: string | undefined }
);

export interface LightDevices {
  readonly ids: readonly string[];
  /** How many have an open session. */
  connected(): number;
  /** Answers that run, also those that nobody hears. */
  answering(): number;
  /** Ends all sessions; answers under way are given back. */
  stop(): void;
}

/** Devices made between two turns of the event loop, which are then some milliseconds long. */
const AT_ONCE = 64;

export async function startLightDevices(options: LightDevicesOptions): Promise<LightDevices> {
  const crypto = createThriftyCrypto(options.territory);
  const shared: Shared = { options, crypto, engine: scriptedEngine(options) };
  const agreement = await crypto.agreementKey(await crypto.sha256(utf8(options.seed)));
  const devices: LightDevice[] = [];
  while (devices.length < options.count) {
    const devicesMade = devices.length;
    const many = Math.min(AT_ONCE, options.count - devicesMade);
    devices.push(
      ...(await Promise.all(
        Array.from({ length: many }, (_, at) => createLightDevice(shared, devicesMade + at, agreement)),
      )),
    );
    await new Promise<void>((resolve) => {
      systemClock.after(0, resolve);
    });
  }
  for (const { session } of devices) session.start();
  return {
    ids: devices.map(({ id }) => id),
    connected: () => devices.reduce((sum, { session }) => sum + (session.isOpen() ? 1 : 0), 0),
    answering: () => devices.reduce((sum, { lane }) => sum + lane.running(), 0),
    stop() {
      for (const { session, lane } of devices) {
        session.stop('the device was stopped');
        lane.dropAll();
      }
    },
  };
}

interface Shared {
  readonly options: LightDevicesOptions;
  readonly crypto: Crypto;
  readonly engine: Engine;
}

interface LightDevice {
  readonly id: string;
  readonly session: Session;
  readonly lane: Lane;
}

const NUMERIC_CLASS = 'light';
const MEMORY_BYTES = 2 ** 33;

const PROFILE: DeviceProfile = {
  platform: 'light',
  arch: 'none',
  cores: 1,
  memoryBytes: MEMORY_BYTES,
  gflops: 1,
  agentVersion: '0.1.0',
  engineBuild: 'light-1',
  fingerprint: 'light',
  features: ['resume'],
  providers: [],
};

async function createLightDevice(shared: Shared, index: number, agreement: KeyPair): Promise<LightDevice> {
  const { crypto, options } = shared;
  const { territory, joinToken, seed, slots = 4, urls, onEvent } = options;
  const identity = await crypto.signingKey(await crypto.sha256(utf8(`${seed}/${index}`)));
  const consent = await signConsent(
    { territories: [territory], kinds: ['answers'], presence: 'ignore' },
    identity,
    systemClock,
    crypto,
  );
  const agreementKey = await signAgreement(agreement, identity, crypto);
  const warm = new Map<string, WarmModel>();
  const warmUp = (cid: string): void => {
    warm.set(cid, { engine: shared.engine, numericClass: NUMERIC_CLASS });
  };
  if (options.model !== undefined) warmUp(options.model);
  const lane = createLane({
    clock: systemClock,
    crypto,
    identity,
    slotsMax: slots,
    oneModelAtOnce: false,
    refusal: () => undefined,
    warm: (cid) => warm.get(cid) ?? notWarm(cid),
    send: (message) => session.send(message),
    backlogBytes: () => session.backlogBytes(),
    onChanged: () => undefined,
  });
  const transport = transportTo(urls, index);
  const session: Session = createSession(
    { clock: systemClock, random: nodeRandom, crypto, transport },
    {
      hub: { url: urls[0] as string, territory, joinToken },
      identity,
      name: `light-${index}`,
      profile: PROFILE,
      consent,
      agreementKey: async () => agreementKey,
      status: () => statusOf({ lane, warm, slots }),
      attempts: () => lane.attempts(),
      onTicket: () => undefined,
      onOpened(welcome) {
        lane.joined(welcome.resumes === true);
        onEvent?.({ device: index, t: 'opened' });
      },
      onMoved: () => undefined,
      onMessage(message) {
        if (message.t !== 'hold') return onMessage(lane, message);
        for (const { cid } of message.models) warmUp(cid);
        session.statusChanged();
      },
      onLost() {
        lane.parted();
        onEvent?.({ device: index, t: 'lost' });
      },
      onBackOff: ({ code }, afterMs) => onEvent?.({ device: index, t: 'backOff', code, afterMs }),
      onEnded(error) {
        lane.dropAll();
        onEvent?.({ device: index, t: 'ended', code: error?.code });
      },
    },
  );
  return { id: await idOfKey('dev', identity.publicKey, crypto), session, lane };
}

/** In turn over all addresses, as a balancer would; what a hub has sent the device to is dialled as it is. */
function transportTo(urls: readonly string[], index: number): Transport {
  const known = urls.map(deviceUrlOf);
  let dials = index;
  return {
    dial: (url, how) => lightTransport.dial(url === known[0] ? (known[dials++ % known.length] as string) : url, how),
  };
}

function signAgreement({ publicKey: key }: KeyPair, identity: KeyPair, crypto: Crypto): Promise<Uint8Array> {
  const issuedAtMs = systemClock.now();
  const expiresAtMs = issuedAtMs + LIMITS.agreementKeyMs;
  const statement: AgreementKey = { v: 1, device: identity.publicKey, key, issuedAtMs, expiresAtMs };
  return signStatement('agreement-key', statement, identity, crypto);
}

interface Work {
  readonly lane: Lane;
  readonly warm: ReadonlyMap<string, WarmModel>;
  readonly slots: number;
}

function statusOf({ lane, warm, slots }: Work): DeviceStatus {
  const active = lane.running();
  return {
    state: active >= slots ? 'busy' : 'ready',
    pauseReasons: [],
    slots,
    active,
    models: [...warm].map(([cid, { engine, numericClass }]) => ({
      cid,
      state: 'warm',
      fraction: 1,
      numericClass,
      tokensPerSecond: engine.tokensPerSecond,
      prefillTokensPerSecond: engine.prefillTokensPerSecond,
      sharedCost: 0,
      memoryBytes: 1,
    })),
    lent: { memoryBytes: MEMORY_BYTES, diskBytes: MEMORY_BYTES, uploadBytesPerSecond: 0 },
  };
}

function onMessage(lane: Lane, message: WorkMessage): void {
  switch (message.t) {
    case 'answer':
    case 'embed':
      return lane.offer(message);
    case 'cancel':
      return lane.cancel(message.lease, message.epoch);
    case 'answer.resume':
      return lane.resume(message);
    case 'answer.kept':
      return lane.kept(message.lease, message.epoch);
    default:
  }
}

const notWarm = (cid: string): IdlewildError => new IdlewildError('model_not_ready', `${cid} is not on this device`);

/** One for all devices: a stream knows nothing of the others. */
function scriptedEngine({ tokensPerSecond = 50 }: LightDevicesOptions): Engine {
  const stepMs = 1_000 / tokensPerSecond;
  return {
    engineBuild: PROFILE.engineBuild,
    provider: 'cpu',
    fingerprint: PROFILE.fingerprint,
    contextTokens: 4_096,
    memoryBytes: 1,
    slots: Number.MAX_SAFE_INTEGER,
    tokensPerSecond,
    prefillTokensPerSecond: 100 * tokensPerSecond,
    sharedCost: 0,
    answer(work, listen) {
      const { tokens, finish } = simulatedAnswer(work);
      const promptTokens = simulatedPromptTokens(work);
      const beganMs = systemClock.monotonic();
      const first = work.tokens.length;
      let next = first;
      let started = false;
      let cancelled = false;
      const step = (): void => {
        if (!started) listen({ t: 'started', promptTokens });
        started = true;
        // As many as are due: a process with thousands of devices is late now and then.
        const due = first + Math.floor((systemClock.monotonic() - beganMs) / stepMs);
        while (!cancelled && next < Math.min(due, tokens.length)) {
          const id = tokens[next] as number;
          listen({ t: 'token', i: next++, id, s: simulatedText(id) });
        }
        if (cancelled) return;
        if (next < tokens.length) {
          const atMs = beganMs + (next + 1 - first) * stepMs;
          timer = systemClock.after(Math.ceil(atMs - systemClock.monotonic()), step);
          return;
        }
        const decodeMs = systemClock.monotonic() - beganMs;
        listen({ t: 'finished', finish, s: '', promptTokens, answerTokens: next, prefillMs: 0, decodeMs });
      };
      let timer = systemClock.after(Math.ceil(stepMs), step);
      return {
        cancel() {
          cancelled = true;
          timer.cancel();
        },
      };
    },
    close: async () => undefined,
    onDeath: () => undefined,
  };
}
