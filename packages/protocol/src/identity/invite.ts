/**
 * An invite: what a person pastes to let a device join. `iwj1.`, or `iwj2.` where a steward vouches for whoever joins
 * by it (`vouch.ts`), and, in base64url, CBOR of
 *   { u: address of the hub, s: secret, t: key of the territory, p: SHA-256 of the hub's SPKI, where devices reach its
 *     own TLS, b: 1 where something between ends TLS, and so a device has to have its session sealed }.
 *
 * The territory's key and the pin travel with the secret, so that the device knows whom to trust before it sends
 * anything; the secret leaves the device only after the hub has proved itself. Fields not known here are ignored.
 */
import { base64url } from 'multiformats/bases/base64';
import { z } from 'zod';
import { IdlewildError } from '../errors.ts';
import { decodeCbor, encodeCbor } from '../wire/frame.ts';
import { bytes, bytes32 } from '../wire/byte-fields.ts';
import { SECRET_PREFIXES } from './secret-prefixes.ts';

const PREFIX = SECRET_PREFIXES.invite;
/** Its secret is shown to no hub, so an agent that does not know of this must not take it for one of the other kind. */
const VOUCHED = SECRET_PREFIXES.vouchedInvite;
const INVITE_CHARACTERS_MAX = 2_048;

export interface Invite {
  /** Where the hub answers, e.g. `https://hub.example:7860`. */
  readonly url: string;
  /** 16 to 64 random bytes. */
  readonly secret: Uint8Array;
  /** Ed25519 key of the territory. */
  readonly territory: Uint8Array;
  /** SHA-256 of the hub's SubjectPublicKeyInfo; absent on loopback, where nothing is encrypted. */
  readonly pin?: Uint8Array;
  /** The device speaks to a hub that seals its session, or to none. */
  readonly session?: boolean;
  /** A steward vouches for the invite's own key: the hub is shown what is made of the secret, and never the secret. */
  readonly vouched?: boolean;
}

const carriedSchema = z.object({
  u: z.url({ protocol: /^(https?|wss?)$/ }).max(512),
  s: bytes.refine((value) => value.length >= 16 && value.length <= 64, 'must be 16 to 64 bytes'),
  t: bytes32,
  p: bytes32.optional(),
  b: z.literal(1).optional(),
});

export function encodeInvite({ url, secret, territory, pin, session, vouched }: Invite): string {
  const carried = {
    u: url,
    s: secret,
    t: territory,
    ...(pin === undefined ? {} : { p: pin }),
    ...(session === true ? { b: 1 } : {}),
  };
  return (vouched === true ? VOUCHED : PREFIX) + base64url.baseEncode(encodeCbor(carried));
}

/** Throws `join_token_invalid`, saying what is wrong with the text; white space around it is nothing wrong. */
export function decodeInvite(text: string): Invite {
  const invalid = (why: string, cause?: unknown): IdlewildError => {
    const message = `this is not an invite: ${why}; copy all of it, from its first letters "${PREFIX}" to its end`;
    return new IdlewildError('join_token_invalid', message, { cause });
  };
  const trimmed = text.trim();
  const vouched = trimmed.startsWith(VOUCHED);
  if (!vouched && !trimmed.startsWith(PREFIX)) throw invalid(`it does not begin with "${PREFIX}"`);
  if (trimmed.length > INVITE_CHARACTERS_MAX) throw invalid(`it is longer than ${INVITE_CHARACTERS_MAX} characters`);
  let carried: unknown;
  try {
    carried = decodeCbor(base64url.baseDecode(trimmed.slice(PREFIX.length)), 'an invite');
  } catch (error) {
    throw invalid('it is damaged or cut short', error);
  }
  const parsed = carriedSchema.safeParse(carried);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw invalid(`its field "${issue?.path.join('.') ?? ''}" is wrong (${issue?.message ?? ''})`);
  }
  const { u: url, s: secret, t: territory, p: pin, b: session } = parsed.data;
  return {
    url,
    secret,
    territory,
    ...(pin === undefined ? {} : { pin }),
    ...(session === undefined ? {} : { session: true }),
    ...(vouched ? { vouched } : {}),
  };
}

/** What a device sends as `joinToken` once the hub has proved itself; of a vouched invite, `inviteToken`. */
export const joinTokenOf = (secret: Uint8Array): string => base64url.baseEncode(secret);
