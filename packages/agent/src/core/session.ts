/**
 * The shell around `session-machine.ts`: it dials, signs, sets timers and parses frames, and decides nothing.
 *
 * Whatever comes back late from an older connection (a dial, a verification, a frame) belongs to that connection's
 * attempt and is dropped. Frames are parsed once, here; those who get them trust them to be well formed, not honest.
 */
import {
  IdlewildError,
  LIMITS,
  VERSIONS,
  asIdlewildError,
  checkHub,
  encodeFrame,
  parseToDevice,
  proveDevice,
  sealable,
  sessionKeys,
  type Clock,
  type Crypto,
  type DeviceProfile,
  type DeviceStatus,
  type KeptAttempt,
  type KeyPair,
  type Random,
  type SealableChannel,
  type Timer,
  type ToDevice,
  type ToHub,
  type Transport,
} from '@idlewild/protocol';
import { FROM_HUB_LIMITS } from './from-hub-limits.ts';
import { AGENT_LIMITS } from './limits.ts';
import { createPlaces, type Place, type Places } from './places.ts';
import { createRate, type Rate } from './rate.ts';
import {
  STOPPED,
  decideSession,
  type SessionEffect,
  type SessionEvent,
  type SessionState,
  type SessionTimer,
  type Welcome,
  type WorkMessage,
} from './session-machine.ts';

export interface HubAddress extends Place {
  /** The territory's Ed25519 key, 32 bytes. */
  readonly territory: Uint8Array;
  /** Where it was before, to be tried when the hub does not answer for long. */
  readonly before?: Place | undefined;
  /** Secret of an invite. Sent after the hub has proved itself, until the first welcome. */
  readonly joinToken?: string | undefined;
  /** Signed by the invite's own key, where a steward vouches for it; sent with the token. */
  readonly byInvite?: Uint8Array | undefined;
  /** Whether a hub of the territory has welcomed this device before; absent: if there is no join token. */
  readonly enrolled?: boolean | undefined;
}

export interface SessionPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  readonly transport: Transport;
}

export interface SessionOwner {
  readonly hub: HubAddress;
  readonly identity: KeyPair;
  readonly name: string;
  readonly profile: DeviceProfile;
  /** Signed statements. */
  readonly consent: Uint8Array;
  agreementKey(): Promise<Uint8Array>;
  status(): DeviceStatus;
  /** Whether its lender has it paused; a hub that has much to say then is left sooner. */
  isPaused?(): boolean;
  /** What the next session may resume. */
  attempts(): KeptAttempt[];
  onOpened(welcome: Welcome): void;
  /** In place of the welcome's. */
  onTicket(ticket: string): void;
  /** A hub of the territory welcomed the device at another place than before; called ahead of `onOpened`. */
  onMoved(place: Place): void;
  onMessage(message: WorkMessage): void;
  onLost(reason: string): void;
  onBackOff(error: IdlewildError, afterMs: number): void;
  /** Called once; no error when `stop` asked for it. */
  onEnded(error: IdlewildError | undefined): void;
}

export interface Session {
  start(): void;
  stop(reason: string): void;
  isOpen(): boolean;
  /** Sends over an open session; otherwise does nothing. Gives a channel up whose queue is over its bound. */
  send(message: ToHub): void;
  /** Queued and not yet taken by the network. */
  backlogBytes(): number;
  /** The status changed: a heartbeat goes out within this tick, one for all changes of it. */
  statusChanged(): void;
  /** A heartbeat goes out before anything that is sent from now on. */
  statusNow(): void;
}

const SESSION_SEED_BYTES = 32;

/** Where devices connect, below the hub's address. */
export const deviceUrlOf = (hubUrl: string): string => `${hubUrl.replace(/^http/, 'ws').replace(/\/+$/, '')}/device`;

/** One dial and what came of it. */
interface Connection {
  readonly place: Place;
  readonly abort: AbortController;
  channel?: SealableChannel;
  /** The X25519 key for this session, from hello to the check. */
  sessionKey?: KeyPair;
  hello?: Uint8Array;
  challenge?: Uint8Array;
  closed: boolean;
}

/** What the functions below share. */
interface Shell {
  readonly ports: SessionPorts;
  readonly owner: SessionOwner;
  readonly places: Places;
  readonly timers: Map<SessionTimer, Timer>;
  /** What hubs may send, over all connections: a new one does not begin anew. */
  readonly pace: Rate;
  /** Events whose turn has not come. */
  readonly events: { readonly from: Connection | undefined; readonly event: SessionEvent }[];
  state: SessionState;
  connection: Connection | undefined;
  /** Whether a hub of this territory has ever welcomed this device. */
  enrolled: boolean;
  /** Sent until the first welcome. */
  joinToken: string | undefined;
  stepping: boolean;
}

export function createSession(ports: SessionPorts, owner: SessionOwner): Session {
  const shell: Shell = {
    ports,
    owner,
    places: createPlaces(owner.hub, owner.hub.before),
    timers: new Map(),
    pace: createRate(ports.clock, FROM_HUB_LIMITS.bytesPerSecond, FROM_HUB_LIMITS.burstMs),
    events: [],
    state: STOPPED,
    connection: undefined,
    enrolled: owner.hub.enrolled ?? owner.hub.joinToken === undefined,
    joinToken: owner.hub.joinToken,
    stepping: false,
  };
  return {
    start: () => step(shell, { e: 'start' }),
    stop: (reason) => step(shell, { e: 'stop', reason }),
    isOpen: () => shell.state.phase === 'open',
    send: (message) => {
      if (shell.state.phase === 'open') transmit(shell, message);
    },
    backlogBytes: () => shell.connection?.channel?.bufferedBytes() ?? 0,
    statusChanged: () => step(shell, { e: 'changed' }),
    statusNow: () => step(shell, { e: 'urgent' }),
  };
}

/**
 * Decides on an event and acts. What happens meanwhile waits its turn, so that all effects of one step belong to one
 * state; an event `from` a connection that another has replaced is dropped.
 */
function step(shell: Shell, event: SessionEvent, from?: Connection): void {
  shell.events.push({ from, event });
  if (shell.stepping) return;
  shell.stepping = true;
  const { clock, random } = shell.ports;
  try {
    for (let next = shell.events.shift(); next !== undefined; next = shell.events.shift()) {
      if (next.from !== undefined && next.from !== shell.connection) continue;
      const { enrolled, places } = shell;
      const facts = { nowMs: clock.monotonic(), jitter: random.unit(), enrolled, trial: places.isTrial() };
      const decided = decideSession(shell.state, next.event, facts);
      shell.state = decided.state;
      for (const effect of decided.effects) act(shell, effect);
    }
  } finally {
    shell.stepping = false;
  }
}

/** For `catch`: what was thrown ends the attempt of `own`. */
const failing =
  (shell: Shell, own: Connection, attempted: string) =>
  (thrown: unknown): void =>
    step(shell, { e: 'failed', error: asIdlewildError(thrown, attempted) }, own);

function act(shell: Shell, effect: SessionEffect): void {
  const { owner } = shell;
  switch (effect.do) {
    case 'dial':
      return dial(shell);
    case 'hello':
      return hello(shell);
    case 'check':
      return check(shell, effect.proof);
    case 'prove':
      return prove(shell);
    case 'hangUp':
      return hangUp(shell, effect.reason);
    case 'send':
      return transmit(shell, effect.message);
    case 'beat':
      return transmit(shell, { t: 'heartbeat', n: effect.n, status: statusOf(shell) });
    case 'arm':
      return arm(shell, effect.timer, effect.afterMs);
    case 'disarm':
      return disarm(shell);
    case 'opened':
      shell.enrolled = true;
      shell.joinToken = undefined;
      return opened(shell, effect.welcome);
    case 'place':
      return place(shell, effect.move);
    case 'ticket':
      return owner.onTicket(effect.ticket);
    case 'deliver':
      return owner.onMessage(effect.message);
    case 'lost':
      return owner.onLost(effect.reason);
    case 'backOff':
      return owner.onBackOff(effect.error, effect.afterMs);
    case 'ended':
      return owner.onEnded(effect.error);
  }
}

function arm(shell: Shell, timer: SessionTimer, afterMs: number): void {
  shell.timers.get(timer)?.cancel();
  shell.timers.set(
    timer,
    shell.ports.clock.after(afterMs, () => step(shell, { e: 'timer', timer })),
  );
}

function disarm(shell: Shell): void {
  for (const timer of shell.timers.values()) timer.cancel();
  shell.timers.clear();
}

function statusOf({ state, owner }: Shell): DeviceStatus {
  const roundTripMs = state.phase === 'open' ? state.roundTripMs : undefined;
  return roundTripMs === undefined ? owner.status() : { ...owner.status(), roundTripMs };
}

function opened({ owner, places }: Shell, welcome: Welcome): void {
  const moved = places.settle();
  if (moved !== undefined) owner.onMoved(moved);
  owner.onOpened(welcome);
}

/** It came over a channel to a hub that has proved itself: place and pin are as good as those of an invite. */
function place(shell: Shell, { url = '', pin, session }: Extract<ToDevice, { t: 'move' }>): void {
  const why = shell.places.tell({ url, spkiPin: pin, session });
  if (why === undefined) return;
  const error = new IdlewildError('frame_invalid', `the hub names ${url} as its address: ${why}`);
  step(shell, { e: 'failed', error }, shell.connection);
}

function dial(shell: Shell): void {
  const { url, spkiPin, session } = shell.places.next(shell.ports.clock.monotonic());
  const own: Connection = { place: { url, spkiPin, session }, abort: new AbortController(), closed: false };
  shell.connection = own;
  shell.ports.transport
    .dial(deviceUrlOf(url), { spkiPin, signal: own.abort.signal })
    .then((dialled) => {
      if (shell.connection !== own) return dialled.close('no longer wanted');
      const channel = sealable(dialled, shell.ports.crypto);
      own.channel = channel;
      // First of all, for a hub that refuses at once has said so already, and may be heard within `listen`.
      step(shell, { e: 'dialled' }, own);
      channel.listen({
        onFrame: (frame) => onFrame(shell, own, frame),
        onClose(reason) {
          own.closed = true;
          step(shell, { e: 'closed', reason }, own);
        },
      });
    })
    .catch(failing(shell, own, `dialling ${url}`));
}

function hangUp(shell: Shell, reason: string): void {
  const old = shell.connection;
  shell.connection = undefined;
  old?.abort.abort();
  if (old?.channel !== undefined && !old.closed) old.channel.close(reason);
}

function onFrame(shell: Shell, own: Connection, frame: Uint8Array): void {
  if (shell.connection !== own) return;
  try {
    const isOpen = shell.state.phase === 'open';
    // Before it is read: what it says is not worth the reading.
    if (isOpen) checkPace(shell, frame.length);
    const bytesMax = isOpen ? LIMITS.frameBytesMax : LIMITS.handshakeFrameBytesMax;
    const message = parseToDevice(frame, bytesMax);
    // The first one is what gets verified; a second one is out of order anyway.
    if (message.t === 'challenge') own.challenge ??= frame.slice();
    step(shell, { e: 'message', message }, own);
  } catch (thrown) {
    failing(shell, own, 'reading a frame of the hub')(thrown);
  }
}

/** Throws `disconnected` for a hub that sends so much that its device would be busy with reading it. */
function checkPace({ pace, owner }: Shell, bytes: number): void {
  const weight = owner.isPaused?.() === true ? FROM_HUB_LIMITS.pausedWeight : 1;
  if (pace.takeMs(weight * (bytes + FROM_HUB_LIMITS.frameBytes)) === 0) return;
  throw new IdlewildError('disconnected', 'the hub sends more than a device reads; it is left for a while');
}

function hello(shell: Shell): void {
  const { connection: own } = shell;
  if (own?.channel === undefined) return;
  if (own.place.session !== true) return sendHello(shell, own);
  const { random, crypto } = shell.ports;
  Promise.resolve(crypto.agreementKey(random.bytes(SESSION_SEED_BYTES)))
    .then((key) => {
      own.sessionKey = key;
      if (shell.connection === own) sendHello(shell, own);
    })
    .catch(failing(shell, own, 'making a key for the session'));
}

function sendHello({ owner: { identity, hub }, ports: { random } }: Shell, own: Connection): void {
  own.hello = encodeFrame({
    t: 'hello',
    versions: [...VERSIONS],
    device: identity.publicKey,
    territory: hub.territory,
    nonce: random.bytes(32),
    ...(own.sessionKey === undefined ? {} : { session: own.sessionKey.publicKey }),
  } satisfies ToHub);
  own.channel?.send(own.hello);
}

function check(shell: Shell, proof: Uint8Array): void {
  const { connection: own } = shell;
  if (own?.channel === undefined) return;
  verify(shell, own, proof)
    .then(() => {
      if (shell.connection === own) shell.places.proved();
      step(shell, { e: 'checked' }, own);
    })
    .catch(failing(shell, own, 'verifying the hub'));
}

/** Throws unless the hub has proved itself; afterwards the channel is sealed where this device wants it to be. */
async function verify({ ports, owner: { hub } }: Shell, own: Connection, proof: Uint8Array): Promise<void> {
  const { channel, hello, challenge, sessionKey } = own;
  if (channel === undefined || hello === undefined || challenge === undefined) throw new Error('nobody was greeted');
  const { clock, crypto } = ports;
  const input = { proof, hello, territory: hub.territory, nowMs: clock.now() };
  const { binding } = await checkHub(
    { ...input, binding: sessionKey === undefined ? channel.binding : 'session' },
    crypto,
  );
  if (sessionKey === undefined || binding.kind !== 'session') return;
  const ends = { end: 'device', ownKey: sessionKey.privateKey, peerKey: binding.key } as const;
  channel.seal(await sessionKeys({ ...ends, hello, challenge }, crypto));
  // Whoever gets hold of this process later opens nothing of what went before.
  delete own.sessionKey;
}

function prove(shell: Shell): void {
  const {
    connection: own,
    owner,
    ports: { crypto },
  } = shell;
  if (own?.challenge === undefined) return;
  const { challenge } = own;
  const { name, consent, profile } = owner;
  const { byInvite } = owner.hub;
  const joinToken =
    shell.joinToken === undefined
      ? {}
      : { joinToken: shell.joinToken, ...(byInvite === undefined ? {} : { byInvite }) };
  owner
    .agreementKey()
    .then((agreementKey) =>
      proveDevice(
        { challenge, name, agreementKey, consent, profile, status: statusToProve(owner), ...joinToken },
        owner.identity,
        crypto,
      ),
    )
    .then((proof) => {
      if (shell.connection === own) transmit(shell, { t: 'prove', proof });
    })
    .catch(failing(shell, own, 'proving this device'));
}

function statusToProve(owner: SessionOwner): DeviceStatus {
  const attempts = owner.attempts();
  return attempts.length === 0 ? owner.status() : { ...owner.status(), attempts };
}

function transmit(shell: Shell, message: ToHub): void {
  const own = shell.connection;
  if (own?.channel === undefined) return;
  own.channel.send(encodeFrame(message));
  const waiting = own.channel.bufferedBytes();
  if (waiting <= AGENT_LIMITS.bufferedBytesMax) return;
  const error = new IdlewildError('disconnected', `the hub does not read: ${waiting} bytes wait for it`);
  step(shell, { e: 'failed', error }, own);
}
