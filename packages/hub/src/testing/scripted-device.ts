/**
 * A device for the hub's own tests: it joins over a memory channel as the protocol says, and then does exactly what a
 * test tells it. It has no engine and no opinions; the real agent is tested against the real hub in `sim/` and `test/`.
 */
import {
  DEVICE_FEATURES,
  checkHub,
  encodeFrame,
  numericClassOf,
  parseToDevice,
  proveDevice,
  signStatement,
  type AnswerWork,
  type CallPart,
  type Channel,
  type Clock,
  type Crypto,
  type DeviceFeature,
  type DeviceStatus,
  type Fields,
  type FinishReason,
  type KeyPair,
  type Logprobs,
  type Random,
  type ToDevice,
  type ToHub,
} from '@idlewild/protocol';
import { createMemoryChannelPair, type MemoryLink } from '@idlewild/protocol/testing';

export interface ScriptedDevice {
  readonly key: KeyPair;
  readonly link: MemoryLink;
  /** Everything the hub said after the handshake, oldest first. */
  readonly heard: ToDevice[];
  /** Called with each message as it comes. */
  onMessage: (message: ToDevice) => void;
  /** Resolves with the welcome, or rejects with the refusal's code, message, and what it said of a leaving. */
  readonly joined: Promise<Extract<ToDevice, { t: 'welcome' }>>;
  send(message: ToHub): void;
  sendRaw(frame: Uint8Array): void;
  /** A reason once the channel is closed. */
  closed(): string | undefined;
  setStatus(change: Partial<DeviceStatus>): void;
}

export interface ScriptedDeviceOptions {
  readonly accept: (channel: Channel) => void;
  readonly territory: Uint8Array;
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  readonly name?: string;
  readonly key?: KeyPair;
  /** Its X25519 key; one that nobody knows unless told otherwise. */
  readonly agreement?: KeyPair;
  readonly joinToken?: string;
  readonly status?: Partial<DeviceStatus>;
  /** What it says that it can do; everything unless told otherwise. */
  readonly features?: readonly DeviceFeature[];
  /** What its consent says besides or instead; it is of version 1 unless it says otherwise. */
  readonly consent?: Fields;
  /** What it says in place of what it would say, of its hello, its consent, its proof and each heartbeat. */
  readonly lie?: (what: 'hello' | 'consent' | 'proof' | 'heartbeat', honest: Fields) => Fields;
}

export const warmModel = (cid: string): DeviceStatus['models'][number] => ({
  cid,
  state: 'warm',
  fraction: 1,
  numericClass: 'class-a',
  tokensPerSecond: 100,
  prefillTokensPerSecond: 1_000,
});

export async function joinScriptedDevice(options: ScriptedDeviceOptions): Promise<ScriptedDevice> {
  const { clock, random, crypto, territory } = options;
  const key = options.key ?? (await crypto.signingKey(random.bytes(32)));
  const { near, far, link } = createMemoryChannelPair(clock, () => 0);
  let status: DeviceStatus = {
    state: 'ready',
    pauseReasons: [],
    slots: 4,
    active: 0,
    models: [],
    roundTripMs: 1,
    ...options.status,
  };
  const heard: ToDevice[] = [];
  let closedWith: string | undefined;
  let welcome: (message: Extract<ToDevice, { t: 'welcome' }>) => void = () => {};
  let refuse: (error: Error) => void = () => {};
  const joined = new Promise<Extract<ToDevice, { t: 'welcome' }>>((resolve, reject) => {
    welcome = resolve;
    refuse = reject;
  });
  joined.catch(() => {});
  const { lie = (_what, honest) => honest } = options;
  const send = (message: ToHub): void => near.send(encodeFrame(message));
  const hello = encodeFrame(
    lie('hello', {
      t: 'hello',
      versions: [1],
      device: key.publicKey,
      territory,
      nonce: random.bytes(32),
    } satisfies ToHub) as unknown as ToHub,
  );

  async function prove(challenge: Extract<ToDevice, { t: 'challenge' }>, frame: Uint8Array): Promise<void> {
    await checkHub({ proof: challenge.proof, hello, territory, binding: near.binding, nowMs: clock.now() }, crypto);
    const nowMs = clock.now();
    const agreement = options.agreement ?? (await crypto.agreementKey(random.bytes(32)));
    const agreementKey = await signStatement(
      'agreement-key',
      { v: 1, device: key.publicKey, key: agreement.publicKey, issuedAtMs: nowMs, expiresAtMs: nowMs + 86_400_000 },
      key,
      crypto,
    );
    const consent = await signStatement(
      'consent',
      lie('consent', {
        v: 1,
        device: key.publicKey,
        territories: [territory],
        kinds: ['answers'],
        presence: 'ignore',
        issuedAtMs: nowMs,
        ...options.consent,
      }),
      key,
      crypto,
    );
    const profile = {
      platform: 'test',
      arch: 'test',
      cores: 1,
      memoryBytes: 1,
      gflops: 1,
      agentVersion: 'test',
      engineBuild: 'test',
      fingerprint: await numericClassOf(
        { model: '', engineBuild: '', provider: '', fingerprint: '', precision: '' },
        crypto,
      ),
      providers: [],
      features: [...(options.features ?? DEVICE_FEATURES)],
    };
    const { joinToken } = options;
    const said = lie('proof', {
      challenge: frame,
      name: options.name ?? 'scripted',
      agreementKey,
      consent,
      profile,
      status,
      ...(joinToken === undefined ? {} : { joinToken }),
    });
    const proof = await proveDevice(said as unknown as Parameters<typeof proveDevice>[0], key, crypto);
    send({ t: 'prove', proof });
  }

  const device: ScriptedDevice = {
    key,
    link,
    heard,
    joined,
    onMessage: () => {},
    send,
    sendRaw: (frame) => near.send(frame),
    closed: () => closedWith,
    setStatus(change) {
      status = { ...status, ...change };
      near.send(encodeFrame(lie('heartbeat', { t: 'heartbeat', n: 1, status }) as unknown as ToHub));
    },
  };
  near.listen({
    onFrame(frame) {
      const message = parseToDevice(frame);
      if (message.t === '?') return;
      if (message.t === 'challenge') return void prove(message, frame).catch(refuse);
      if (message.t === 'welcome') return welcome(message);
      if (message.t === 'refused') {
        const { code, left } = message;
        return refuse(Object.assign(new Error(message.message), { code, left }));
      }
      heard.push(message);
      device.onMessage(message);
    },
    onClose(reason) {
      closedWith = reason;
      refuse(new Error(`closed before it was welcome: ${reason}`));
    },
  });
  options.accept(far);
  near.send(hello);
  return device;
}

/** One token as a device may be told to send it. */
export type ScriptedToken = string | { readonly s: string; readonly calls?: CallPart[]; readonly lp?: Logprobs };

export interface Script {
  readonly tokens: readonly ScriptedToken[];
  readonly finish?: FinishReason;
  /** What is held back until the end. */
  readonly rest?: { readonly s?: string; readonly calls?: CallPart[] };
  readonly cachedTokens?: number;
}

/** Answers every order with `texts`, one token each, then finishes; its receipts are honest. */
export function answerWith(
  device: ScriptedDevice,
  texts: readonly ScriptedToken[],
  crypto: Crypto,
  digest: (ids: readonly number[]) => Promise<Uint8Array>,
): void {
  answerAs(device, () => ({ tokens: texts }), crypto, digest);
}

/** Answers each order with what `script` makes of its work. */
export function answerAs(
  device: ScriptedDevice,
  script: (work: AnswerWork) => Script,
  crypto: Crypto,
  digest: (ids: readonly number[]) => Promise<Uint8Array>,
): void {
  device.onMessage = (message) => {
    if (message.t !== 'answer') return;
    void (async () => {
      const { lease, epoch, model, work } = message;
      const { tokens, finish = 'stop', rest = {}, cachedTokens } = script(work);
      const from = work.tokens.length;
      const cached = cachedTokens === undefined ? {} : { cachedTokens };
      device.send({ t: 'answer.started', lease, epoch, promptTokens: 7, ...cached });
      tokens.slice(from).forEach((token, k) => {
        const said = typeof token === 'string' ? { s: token } : token;
        device.send({ t: 'answer.token', lease, epoch, i: from + k, id: from + k, ...said });
      });
      const ids = tokens.map((_, i) => i).slice(from);
      const receipt = await signStatement(
        'receipt',
        {
          v: 1,
          device: device.key.publicKey,
          lease,
          epoch,
          model,
          numericClass: 'class-a',
          promptTokens: 7,
          firstToken: from,
          tokens: ids.length,
          tokensDigest: await digest(ids),
          prefillMs: 1,
          decodeMs: 1,
        },
        device.key,
        crypto,
      );
      const end = { promptTokens: 7, answerTokens: tokens.length, receipt };
      device.send({ t: 'answer.finished', lease, epoch, finish, s: '', ...rest, ...end });
    })();
  };
}
