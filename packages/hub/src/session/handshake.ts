/**
 * The hub's half of the handshake on one channel; `protocol/src/identity/handshake.ts` has its steps. A device that
 * asks for it has its session sealed from the challenge on, whatever is between; on a channel that cannot be sealed the
 * device sees that it is not, and goes.
 */
import {
  IdlewildError,
  LIMITS,
  checkDevice,
  codeOf,
  encodeFrame,
  equalBytes,
  negotiateVersion,
  parseToHub,
  proveHub,
  sessionKeys,
  type Channel,
  type ChannelBinding,
  type CheckedDevice,
  type Clock,
  type Crypto,
  type KeyPair,
  type Random,
  type SessionKeys,
  type ToDevice,
  type ToHub,
} from '@idlewild/protocol';
import type { Certificate } from '../identity/territory.ts';
import type { Standing } from '../trust/standing.ts';

const SESSION_SEED_BYTES = 32;

/** Who may be a device here; asked once per handshake, when the device has proved its key. */
export interface Enrolment {
  find(device: Uint8Array): Promise<Applicant>;
  /** Told of a device whose proof did not hold. Waits for nothing and throws nothing. */
  unproved(error: IdlewildError): void;
  /** Asked once more when the device can be dropped. */
  isRevoked(device: string): Promise<boolean>;
  /** Notes that the device is alive, at most every `touchMs`. */
  touch(device: string): void;
  /**
   * Writes down that the device goes for good; the signed `left` statement. Throws `device_revoked` where a steward was
   * faster.
   */
  leave(device: { readonly id: string; readonly publicKey: Uint8Array }): Promise<Uint8Array>;
}

export interface Admitted {
  readonly id: string;
  readonly name: string;
  readonly territory: string;
  readonly standing: Standing;
}

export interface Applicant {
  /** What is kept of an earlier handshake, which verified it. */
  readonly consent: Uint8Array | undefined;
  /** Throws `join_token_invalid`, `device_revoked` or `handshake_refused`. */
  admit(checked: CheckedDevice): Promise<Admitted>;
}

export interface HubIdentity {
  readonly territoryKey: Uint8Array;
  readonly hubKey: KeyPair;
  readonly certificate: Certificate;
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
  read(frame: Uint8Array): Promise<{ who: Admitted; checked: CheckedDevice } | undefined>;
} {
  const { channel, identity, crypto, clock, enrolment } = deps;
  let begun: { device: Uint8Array; challenge: Uint8Array } | undefined;
  return {
    async read(frame) {
      const message = parseToHub(frame, LIMITS.handshakeFrameBytesMax);
      if (begun === undefined) {
        if (message.t !== 'hello') throw new IdlewildError('handshake_refused', `expected "hello", got "${message.t}"`);
        if (!equalBytes(message.territory, identity.territoryKey)) {
          throw new IdlewildError('handshake_refused', 'this hub serves another territory than the one asked for');
        }
        const { challenge, keys } = await challengeFor(deps, message, frame);
        begun = { device: message.device, challenge };
        channel.send(challenge);
        if (keys !== undefined) channel.seal?.(keys);
        return undefined;
      }
      if (message.t !== 'prove') throw new IdlewildError('handshake_refused', `expected "prove", got "${message.t}"`);
      const { device, challenge } = begun;
      // Nothing comes after it, and its channel lasts: what is kept here would keep frames, and buffers around them.
      begun = undefined;
      let applicant: Applicant | undefined;
      const find = async (): Promise<Applicant> => (applicant ??= await enrolment.find(device));
      const verifiedConsent = async (): Promise<Uint8Array | undefined> => (await find()).consent;
      const input = { proof: message.proof, challenge, device, nowMs: clock.now(), verifiedConsent };
      const checked = await checkDevice(input, crypto).catch((error: unknown) => {
        if (codeOf(error) === 'handshake_refused') enrolment.unproved(error as IdlewildError);
        throw error;
      });
      return { who: await (await find()).admit(checked), checked };
    },
  };
}

async function challengeFor(
  { channel, identity: { certificate, hubKey }, random, crypto }: HandshakeDeps,
  { versions, session }: Extract<ToHub, { t: 'hello' }>,
  hello: Uint8Array,
): Promise<{ challenge: Uint8Array; keys: SessionKeys | undefined }> {
  const version = negotiateVersion(versions);
  const challengeWith = async (binding: ChannelBinding): Promise<Uint8Array> => {
    const claim = { version, hello, certificate: await certificate(), nonce: random.bytes(32), binding };
    return encodeFrame({ t: 'challenge', proof: await proveHub(claim, hubKey, crypto) } satisfies ToDevice);
  };
  if (session === undefined || channel.seal === undefined) {
    return { challenge: await challengeWith(channel.binding), keys: undefined };
  }
  const own = await crypto.agreementKey(random.bytes(SESSION_SEED_BYTES));
  const challenge = await challengeWith({ kind: 'session', key: own.publicKey });
  const ends = { end: 'hub', ownKey: own.privateKey, peerKey: session } as const;
  return { challenge, keys: await sessionKeys({ ...ends, hello, challenge }, crypto) };
}
