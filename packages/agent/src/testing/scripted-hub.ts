/**
 * The hub's end of a session for tests of agents: it speaks the real handshake and afterwards says whatever a test
 * makes it say, true or not. It decides nothing by itself but to acknowledge heartbeats, and goodbyes.
 */
import {
  checkDevice,
  encodeFrame,
  parseToHub,
  proveHub,
  sealable,
  sessionKeys,
  signLeft,
  signStatement,
  type Channel,
  type ChannelBinding,
  type CheckedDevice,
  type Clock,
  type Crypto,
  type KeyPair,
  type ToDevice,
  type ToHub,
  type Transport,
  type UnknownMessage,
} from '@idlewild/protocol';
import { createMemoryTransport, type MemoryLink } from '@idlewild/protocol/testing';

export interface ScriptedHub {
  readonly transport: Transport;
  readonly territory: KeyPair;
  /** One for each connection that was dialled, newest last. */
  readonly peers: readonly ScriptedPeer[];
  /** Takes a connection that came another way than through `transport`. */
  accept(url: string, channel: Channel): void;
  /** What newly dialled connections meet. */
  behave(how: Partial<Behaviour>): void;
}

export interface Behaviour {
  /** Nobody answers. */
  unreachable: boolean;
  acknowledges: boolean;
  /** Whether it signs for a device that leaves. */
  signsLeft: boolean;
  /** Sent before the device has said anything. */
  greeting: ToDevice | undefined;
  /** Sent in place of the challenge, or of the welcome. */
  insteadOfChallenge: ToDevice | undefined;
  insteadOfWelcome: ToDevice | undefined;
  /** Whether it seals a session when a device asks for it. */
  seals: boolean;
  /** Who signs the hub's certificate. */
  signer: KeyPair;
  heartbeatMs: number;
  /** Said in the welcome; absent: nothing is said of it. */
  resumes: boolean | undefined;
}

export interface ScriptedPeer {
  readonly channel: Channel;
  /** Only of connections in memory. */
  readonly link: MemoryLink | undefined;
  readonly url: string;
  /** All that came, parsed. */
  readonly got: readonly (ToHub | UnknownMessage)[];
  readonly device: CheckedDevice | undefined;
  readonly closed: string | undefined;
  send(message: ToDevice): void;
  sendRaw(frame: Uint8Array): void;
}

interface Hub {
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly key: KeyPair;
  readonly territory: KeyPair;
  behaviour: Behaviour;
}
type Peer = { -readonly [Field in keyof ScriptedPeer]: ScriptedPeer[Field] } & { got: (ToHub | UnknownMessage)[] };

/** `delayMs`: of each frame, one way. */
export async function createScriptedHub(clock: Clock, crypto: Crypto, delayMs = 5): Promise<ScriptedHub> {
  const key = await crypto.signingKey(new Uint8Array(32).fill(7));
  const territory = await crypto.signingKey(new Uint8Array(32).fill(8));
  const hub: Hub = {
    clock,
    crypto,
    key,
    territory,
    behaviour: {
      unreachable: false,
      acknowledges: true,
      signsLeft: true,
      greeting: undefined,
      insteadOfChallenge: undefined,
      insteadOfWelcome: undefined,
      seals: true,
      signer: territory,
      heartbeatMs: 5_000,
      resumes: undefined,
    },
  };
  const peers: Peer[] = [];
  const transport = createMemoryTransport(
    clock,
    () => delayMs,
    (url, channel, link) => {
      if (hub.behaviour.unreachable) return false;
      peers.push(meet(hub, url, channel, link));
      return true;
    },
  );
  const accept = (url: string, channel: Channel): void => {
    peers.push(meet(hub, url, channel));
  };
  return {
    transport,
    territory,
    peers,
    accept,
    behave: (how) => {
      hub.behaviour = { ...hub.behaviour, ...how };
    },
  };
}

function meet(hub: Hub, url: string, plain: Channel, link?: MemoryLink): Peer {
  const channel = sealable(plain, hub.crypto);
  const sendRaw = (frame: Uint8Array): void => channel.send(frame);
  const send = (message: ToDevice): void => sendRaw(encodeFrame(message));
  const peer: Peer = { channel, link, url, got: [], device: undefined, closed: undefined, send, sendRaw };
  let deviceKey = new Uint8Array();
  let challenge = new Uint8Array();
  const onFrame = async (frame: Uint8Array): Promise<void> => {
    const message = parseToHub(frame);
    peer.got.push(message);
    if (message.t === 'heartbeat' && hub.behaviour.acknowledges) send({ t: 'heartbeat.ack', n: message.n });
    if (message.t === 'leave' && hub.behaviour.signsLeft) {
      send({ t: 'left', statement: await leftOf(hub, deviceKey) });
      channel.close('you have left');
    }
    if (message.t === 'hello') {
      deviceKey = new Uint8Array(message.device);
      const session = hub.behaviour.seals ? message.session : undefined;
      const own = await hub.crypto.agreementKey(new Uint8Array(32).fill(6));
      const binding: ChannelBinding =
        session === undefined ? { kind: 'loopback' } : { kind: 'session', key: own.publicKey };
      const proof = await proofFor(hub, frame, binding);
      challenge = new Uint8Array(encodeFrame(hub.behaviour.insteadOfChallenge ?? { t: 'challenge', proof }));
      sendRaw(challenge);
      if (session === undefined) return;
      const ends = { end: 'hub', ownKey: own.privateKey, peerKey: session } as const;
      channel.seal(await sessionKeys({ ...ends, hello: frame, challenge }, hub.crypto));
    }
    if (message.t === 'prove') {
      const input = { proof: message.proof, challenge, device: deviceKey, nowMs: hub.clock.now() };
      peer.device = await checkDevice(input, hub.crypto);
      send(
        hub.behaviour.insteadOfWelcome ?? {
          t: 'welcome',
          device: 'dev',
          session: 'ses',
          ticket: 'ticket',
          heartbeatMs: hub.behaviour.heartbeatMs,
          resumes: hub.behaviour.resumes,
          community: 'the scripted ones',
        },
      );
    }
  };
  channel.listen({
    onFrame: (frame) => {
      onFrame(frame).catch((thrown: unknown) => channel.close(String(thrown)));
    },
    onClose: (reason) => {
      peer.closed = reason;
    },
  });
  if (hub.behaviour.greeting !== undefined) send(hub.behaviour.greeting);
  return peer;
}

async function proofFor(hub: Hub, hello: Uint8Array, binding: ChannelBinding): Promise<Uint8Array> {
  const certificate = await certificateOf(hub);
  return proveHub({ version: 1, hello, certificate, nonce: new Uint8Array(32), binding }, hub.key, hub.crypto);
}

/** For three answers and forty tokens, whatever it was. */
async function leftOf(hub: Hub, device: Uint8Array): Promise<Uint8Array> {
  const { clock, crypto, key, territory } = hub;
  const given = { atMs: Math.floor(clock.now()), answers: 3, tokens: 40 };
  const certificate = await certificateOf(hub);
  return signLeft({ territory: territory.publicKey, device, certificate, ...given }, key, crypto);
}

function certificateOf({ clock, crypto, key, behaviour, territory }: Hub): Promise<Uint8Array> {
  return signStatement(
    'hub-certificate',
    {
      v: 1,
      territory: territory.publicKey,
      hub: key.publicKey,
      issuedAtMs: Math.floor(clock.now()) - 1_000,
      expiresAtMs: Math.floor(clock.now()) + 86_400_000,
    },
    behaviour.signer,
    crypto,
  );
}
