/**
 * Whether a device that a hub offers is one that the caller trusts, before anything is sealed to it.
 *
 *   pinned steward ──vouches for──► device's identity ──signs──► X25519 key ──► the prompt
 *
 * The hub carries all three and can change none: another device's key, a key of its own, one that has expired, one
 * that is older than the caller has seen, or a device that nobody vouches for is found here. What it can do is to
 * offer nothing.
 */
import {
  IdlewildError,
  LIMITS,
  agreementKeySchema,
  codeOf,
  equalBytes,
  hex,
  messageOf,
  openStatement,
  verifyVouch,
  type Crypto,
  type DeviceTier,
  type SealedOffer,
  type SealedTerms,
} from '@idlewild/protocol';

export interface Trusted {
  /** Public keys of stewards, which came another way than from the hub. */
  readonly stewards: readonly Uint8Array[];
  /** Public key of the community. */
  readonly territory: Uint8Array;
  /** Devices that may see prompts, as stewards signed it; absent: any for which one vouches. */
  readonly tiers?: readonly DeviceTier[] | undefined;
}

export interface OfferVerifier {
  /** What is bound when the prompt is sealed. Throws `device_unvouched`, with what does not hold. */
  verify(offer: SealedOffer, asked: Pick<SealedTerms, 'dataClass' | 'cause'>, nowMs: number): Promise<SealedTerms>;
}

/** Devices whose newest key is remembered. */
const DEVICES_MAX = 4_096;

export function createOfferVerifier(trusted: Trusted, crypto: Crypto): OfferVerifier {
  /** When the newest key of each device was signed, least recently used first. */
  const newest = new Map<string, number>();

  async function check(offer: SealedOffer, nowMs: number): Promise<Uint8Array> {
    const { key: device } = offer.device;
    const { stewards, territory, tiers } = trusted;
    const { tier } = await verifyVouch(offer.vouch, { stewards, territory, device, nowMs }, crypto);
    if (tiers !== undefined && !tiers.includes(tier))
      throw unvouched(`it is of tier "${tier}", and only ${tiers.join(', ')} may see this`);
    const carried = offer.agreement_key;
    const { statement } = await openStatement('agreement-key', carried, agreementKeySchema, crypto, device);
    const { key, issuedAtMs, expiresAtMs } = statement;
    if (!equalBytes(statement.device, device)) throw unvouched('its key is of another device');
    if (nowMs > expiresAtMs + LIMITS.clockSkewMs) throw unvouched('its key has expired');
    if (nowMs < issuedAtMs - LIMITS.clockSkewMs) throw unvouched('its key was signed in the future');
    if (expiresAtMs - issuedAtMs > LIMITS.agreementKeyMs) throw unvouched('its key lasts longer than keys may');
    const name = hex(device);
    const known = newest.get(name);
    if (known !== undefined && issuedAtMs < known)
      throw unvouched('its key is older than one that it has shown before');
    newest.delete(name);
    newest.set(name, issuedAtMs);
    if (newest.size > DEVICES_MAX) newest.delete(newest.keys().next().value as string);
    return key;
  }

  return {
    async verify(offer, asked, nowMs) {
      const { id, key: device } = offer.device;
      try {
        const key = await check(offer, nowMs);
        const { dataClass, cause } = asked;
        if (cause !== offer.purpose) throw unvouched('it was offered for another purpose');
        if (dataClass !== undefined && dataClass !== offer.data_class)
          throw unvouched('it was offered for another class');
        const { model, lease, epoch } = offer;
        return { device, key, model, lease, epoch, dataClass: offer.data_class, cause };
      } catch (cause) {
        // Whoever has not the ciphers to look at a device has nothing to say of it.
        if (codeOf(cause) === 'usage') throw cause;
        const what = `the hub offered the device ${id}, which is not to be trusted with a sealed prompt`;
        throw new IdlewildError('device_unvouched', `${what}: ${messageOf(cause)}; nothing was sent`, { cause });
      }
    },
  };
}

const unvouched = (why: string): IdlewildError => new IdlewildError('device_unvouched', why);
