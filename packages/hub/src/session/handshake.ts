/** The hub's half of the handshake on one channel; `protocol/src/identity/handshake.ts` has its steps. */
import {
  IdlewildError,
  LIMITS,
  checkDevice,
  encodeFrame,
  equalBytes,
  negotiateVersion,
  parseToHub,
  proveHub,
  type Channel,
  type CheckedDevice,
  type Clock,
  type Crypto,
  type KeyPair,
  type Random,
  type ToDevice,
} from '@idlewild/protocol';

/** Who may be a device here; asked once per handshake. */
export interface Enrolment {
  /** Throws `join_token_invalid`, `device_revoked` or `handshake_refused`. */
  admit(device: Uint8Array, checked: CheckedDevice): Promise<{ id: string; name: string; territory: string }>;
  /** Asked once more when the device can be dropped. */
  isRevoked(device: string): Promise<boolean>;
  /** Notes that the device is alive, at most every `touchMs`. */
  touch(device: string): void;
}

export interface HubIdentity {
  readonly territoryKey: Uint8Array;
  readonly hubKey: KeyPair;
  readonly certificate: Uint8Array;
}

export interface HandshakeDeps {
  readonly channel: Channel;
  readonly identity: HubIdentity;
  readonly random: Random;
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly enrolment: Enrolment;
}

export function createHandshake(deps: HandshakeDeps): {
  /** Returns who it is once the second frame proves it. */
  read(
    frame: Uint8Array,
  ): Promise<{ who: { id: string; name: string; territory: string }; checked: CheckedDevice } | undefined>;
} {
  const { channel, identity, random, crypto, clock, enrolment } = deps;
  let begun: { device: Uint8Array; challenge: Uint8Array } | undefined;
  return {
    async read(frame) {
      const message = parseToHub(frame, LIMITS.handshakeFrameBytesMax);
      if (begun === undefined) {
        if (message.t !== 'hello') throw new IdlewildError('handshake_refused', `expected "hello", got "${message.t}"`);
        if (!equalBytes(message.territory, identity.territoryKey)) {
          throw new IdlewildError('handshake_refused', 'this hub serves another territory than the one asked for');
        }
        const version = negotiateVersion(message.versions);
        const { certificate, hubKey } = identity;
        const proof = await proveHub(
          { version, hello: frame, certificate, nonce: random.bytes(32), binding: channel.binding },
          hubKey,
          crypto,
        );
        const challenge = encodeFrame({ t: 'challenge', proof } satisfies ToDevice);
        begun = { device: message.device, challenge };
        channel.send(challenge);
        return undefined;
      }
      if (message.t !== 'prove') throw new IdlewildError('handshake_refused', `expected "prove", got "${message.t}"`);
      const { device, challenge } = begun;
      const checked = await checkDevice({ proof: message.proof, challenge, device, nowMs: clock.now() }, crypto);
      return { who: await enrolment.admit(device, checked), checked };
    },
  };
}
