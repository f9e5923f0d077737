/**
 * Who vouches for a device: a steward, by a key that no hub has, so that a hub which lies cannot put a device of its
 * own in the place of one that people trust. A chain is one statement or two:
 *
 *   device-vouch                      a steward signed the device's identity
 *   invite-vouch, device-by-invite    a steward signed the public key of an invite when it was made; the device that
 *                                     joined by it signed itself with the invite's key, which it alone was given
 *
 * What is vouched for is the identity; the device signs its X25519 keys with it (`handshake.ts`). Nothing here is
 * secret: hubs keep chains and show them, callers hold them against the stewards that they pinned. A chain cannot be
 * called back from who has it; it ends by its time, and because a hub shows it no more.
 */
import { base64url } from 'multiformats/bases/base64';
import { z } from 'zod';
import { equalBytes, utf8 } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto, KeyPair } from '../ports.ts';
import { bytes32 } from '../wire/byte-fields.ts';
import { DEVICE_TIERS, type DeviceTier } from '../wire/purpose.ts';
import { openStatement, signStatement } from './signed.ts';

const lasting = {
  v: z.literal(1),
  territory: bytes32,
  tier: z.enum(DEVICE_TIERS),
  issuedAtMs: z.int().min(0),
  /** Of the word itself: of what it vouches for there is none after this. */
  expiresAtMs: z.int().min(0),
};

/** "This key is a device that I know, trusted so far, until then." Signed by a steward. */
export const deviceVouchSchema = z.object({ ...lasting, device: bytes32 });
export type DeviceVouch = z.infer<typeof deviceVouchSchema>;

/** "Whoever has the secret of this invite is trusted so far, until then." Signed by a steward. */
export const inviteVouchSchema = z.object({ ...lasting, invite: bytes32 });
export type InviteVouch = z.infer<typeof inviteVouchSchema>;

/** "I joined by this invite." Signed by the invite's key. */
export const deviceByInviteSchema = z.object({ v: z.literal(1), territory: bytes32, device: bytes32 });
export type DeviceByInvite = z.infer<typeof deviceByInviteSchema>;

/** Signed statements in the order in which each vouches for the next. */
export type VouchChain = readonly Uint8Array[];

/** At most so many statements are in a chain, and so many bytes in one. */
export const VOUCH_CHAIN = { statementsMax: 2, statementBytesMax: 1_024 } as const;

/** What a chain says that holds. */
export interface Vouched {
  readonly tier: DeviceTier;
  /** Public key of the steward whose word it is. */
  readonly steward: Uint8Array;
  readonly device: Uint8Array;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

export const signDeviceVouch = (vouch: Omit<DeviceVouch, 'v'>, steward: KeyPair, crypto: Crypto): Promise<Uint8Array> =>
  signStatement('device-vouch', { v: 1, ...vouch }, steward, crypto);

export const signInviteVouch = (vouch: Omit<InviteVouch, 'v'>, steward: KeyPair, crypto: Crypto): Promise<Uint8Array> =>
  signStatement('invite-vouch', { v: 1, ...vouch }, steward, crypto);

export const signDeviceByInvite = (
  joined: Omit<DeviceByInvite, 'v'>,
  invite: KeyPair,
  crypto: Crypto,
): Promise<Uint8Array> => signStatement('device-by-invite', { v: 1, ...joined }, invite, crypto);

const NO_SALT = new Uint8Array(0);

/** Ed25519 key of an invite that a steward vouches for, from its secret. */
export const inviteKey = async (secret: Uint8Array, crypto: Crypto): Promise<KeyPair> =>
  crypto.signingKey(await crypto.hkdf(secret, NO_SALT, utf8('idlewild/v1/invite-key'), 32));

/**
 * What the hub is shown of such an invite, in place of the secret itself: nobody can come from it to the key, so the
 * hub cannot sign in the invite's name.
 */
export const inviteToken = async (secret: Uint8Array, crypto: Crypto): Promise<string> =>
  base64url.baseEncode(await crypto.hkdf(secret, NO_SALT, utf8('idlewild/v1/invite-token'), 32));

export interface VouchExpected {
  /** Public keys of the stewards whose word counts. */
  readonly stewards: readonly Uint8Array[];
  readonly territory: Uint8Array;
  /** The identity that somebody says is vouched for. */
  readonly device: Uint8Array;
  /** Wall time. */
  readonly nowMs: number;
}

/**
 * Whose word it is that `device` is one, and how far it is trusted. Throws `signature_invalid`, or `frame_invalid` for
 * what is no chain: for what a pinned steward did not sign, for another device or territory, before its time or after.
 */
export async function verifyVouch(chain: VouchChain, expected: VouchExpected, crypto: Crypto): Promise<Vouched> {
  const [first, second] = chain;
  if (first === undefined) throw refused('nobody vouches for it');
  if (chain.length > VOUCH_CHAIN.statementsMax || chain.some(isTooLong)) throw refused('it is too long');
  if (second === undefined) {
    const { statement, key } = await openStatement('device-vouch', first, deviceVouchSchema, crypto);
    return held({ ...statement, steward: key }, expected);
  }
  const { statement: invite, key: steward } = await openStatement('invite-vouch', first, inviteVouchSchema, crypto);
  const joined = await openStatement('device-by-invite', second, deviceByInviteSchema, crypto, invite.invite);
  if (!equalBytes(joined.statement.territory, invite.territory)) throw refused('its invite is of another territory');
  return held({ ...invite, device: joined.statement.device, steward }, expected);
}

const isTooLong = ({ length }: Uint8Array): boolean => length > VOUCH_CHAIN.statementBytesMax;

const refused = (why: string): IdlewildError =>
  new IdlewildError('signature_invalid', `what vouches for the device does not count: ${why}`);

function held(said: Vouched & { readonly territory: Uint8Array }, expected: VouchExpected): Vouched {
  const { tier, steward, device, territory, issuedAtMs, expiresAtMs } = said;
  if (!expected.stewards.some((pinned) => equalBytes(pinned, steward)))
    throw refused('no steward whose key is pinned signed it; ask a steward of the community for the key');
  if (!equalBytes(territory, expected.territory)) throw refused('it is of another territory');
  if (!equalBytes(device, expected.device)) throw refused('it is of another device');
  if (expiresAtMs - issuedAtMs > LIMITS.vouchMsMax) throw refused('it was signed for longer than anybody may');
  if (expected.nowMs < issuedAtMs - LIMITS.clockSkewMs) throw refused('its time has not come');
  if (expected.nowMs > expiresAtMs + LIMITS.clockSkewMs)
    throw refused(`its time was over at ${new Date(expiresAtMs).toISOString()}; a steward has to sign it again`);
  return { tier, steward, device, issuedAtMs, expiresAtMs };
}
