/**
 * The handshake, as pure steps that both ends share:
 *
 *   device → hello { versions, device key, territory key, nonce, and to have the session sealed an X25519 key }
 *   hub    → challenge: signed by the hub over SHA-256(hello), with the territory's certificate and the channel binding
 *   device   checks certificate, proof and binding, and only then
 *          → prove: signed by the device over SHA-256(challenge), with consent, profile and, once, the join token
 *   hub    → welcome | refused
 *
 * The hub proves itself before a token is sent; each proof covers the other's fresh nonce, so none can be replayed; the
 * binding names the TLS key that the hub believes it serves, so a relay with another key is noticed (RFC 5056). Where
 * something between ends TLS by agreement, the binding is the hub's X25519 key, and everything after the challenge is
 * sealed (`sealed-channel.ts`): who relays the two proofs has neither key.
 */
import { concat, equalBytes } from '../bytes.ts';
import { IdlewildError, messageOf } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { ChannelBinding, Crypto, KeyPair } from '../ports.ts';
import { VERSIONS } from '../wire/frame.ts';
import { openStatement, signStatement } from './signed.ts';
import {
  agreementKeySchema,
  consentSchema,
  deviceProofSchema,
  hubCertificateSchema,
  hubProofSchema,
  type AgreementKey,
  type Consent,
  type DeviceProof,
} from './statements.ts';

/** Whether two ends describe the same channel. */
export function sameBinding(left: ChannelBinding, right: ChannelBinding): boolean {
  if (left.kind === 'tls' && right.kind === 'tls') return equalBytes(left.spki, right.spki);
  if (left.kind === 'session' && right.kind === 'session') return equalBytes(left.key, right.key);
  return left.kind === right.kind;
}

export async function proveHub(
  input: { version: number; hello: Uint8Array; certificate: Uint8Array; nonce: Uint8Array; binding: ChannelBinding },
  hub: KeyPair,
  crypto: Crypto,
): Promise<Uint8Array> {
  return signStatement('hub-proof', { ...input, hello: await crypto.sha256(input.hello) }, hub, crypto);
}

/**
 * The device's check of a challenge. Throws `hub_untrusted` with what was wrong, or `version_unsupported`.
 * `binding` is the channel as the device sees it, or that it asked for a sealed session, whose key is in the result.
 * `nowMs` is the device's wall clock; certificates are allowed `clockSkewMs` on both sides.
 */
export async function checkHub(
  input: {
    proof: Uint8Array;
    hello: Uint8Array;
    territory: Uint8Array;
    binding: ChannelBinding | 'session';
    nowMs: number;
  },
  crypto: Crypto,
): Promise<{ version: number; hub: Uint8Array; binding: ChannelBinding }> {
  const distrust = (why: string): never => {
    throw new IdlewildError('hub_untrusted', `the hub did not prove that it belongs to the pinned territory: ${why}`);
  };
  const proof = await openStatement('hub-proof', input.proof, hubProofSchema, crypto).catch((error: unknown) =>
    distrust(messageOf(error)),
  );
  const { statement } = proof;
  const certificate = await openStatement(
    'hub-certificate',
    statement.certificate,
    hubCertificateSchema,
    crypto,
    input.territory,
  ).catch((error: unknown) => distrust(messageOf(error)));
  const { hub, territory, issuedAtMs, expiresAtMs } = certificate.statement;
  if (!equalBytes(hub, proof.key)) distrust('its certificate names another key');
  if (!equalBytes(territory, input.territory)) distrust('its certificate is of another territory');
  if (input.nowMs < issuedAtMs - LIMITS.clockSkewMs)
    distrust('its certificate is not valid yet (is this clock right?)');
  if (input.nowMs > expiresAtMs + LIMITS.clockSkewMs) distrust('its certificate has expired');
  if (!equalBytes(statement.hello, await crypto.sha256(input.hello)))
    distrust('its proof belongs to another handshake');
  const { binding } = statement;
  if (input.binding === 'session') {
    if (binding.kind !== 'session') distrust('it does not seal its sessions, as the invite wants it (is it too old?)');
  } else if (!sameBinding(binding, input.binding)) {
    distrust('it sees another channel than this device: something stands in between');
  }
  if (!VERSIONS.includes(statement.version)) {
    throw new IdlewildError(
      'version_unsupported',
      `the hub chose protocol version ${statement.version}, which this device does not speak`,
    );
  }
  return { version: statement.version, hub: proof.key, binding };
}

export async function proveDevice(
  input: Omit<DeviceProof, 'challenge'> & { challenge: Uint8Array },
  device: KeyPair,
  crypto: Crypto,
): Promise<Uint8Array> {
  return signStatement('device-proof', { ...input, challenge: await crypto.sha256(input.challenge) }, device, crypto);
}

export interface CheckedDevice {
  readonly proof: DeviceProof;
  readonly consent: Consent;
  readonly agreementKey: AgreementKey;
}

/**
 * The hub's check of a proof: all of it was signed by `device`, for this challenge. Throws `handshake_refused`.
 * `verifiedConsent` is asked once the proof holds: the device's consent that was verified at an earlier handshake.
 */
export async function checkDevice(
  input: {
    proof: Uint8Array;
    challenge: Uint8Array;
    device: Uint8Array;
    nowMs: number;
    verifiedConsent?: () => Promise<Uint8Array | undefined>;
  },
  crypto: Crypto,
): Promise<CheckedDevice> {
  const refuse = (why: string): never => {
    throw new IdlewildError('handshake_refused', `the device's proof was refused: ${why}`);
  };
  const failed = (error: unknown): never => refuse(messageOf(error));
  const proof = (
    await openStatement('device-proof', input.proof, deviceProofSchema, crypto, input.device).catch(failed)
  ).statement;
  if (!equalBytes(proof.challenge, await crypto.sha256(input.challenge))) refuse('it belongs to another handshake');
  const verified = await input.verifiedConsent?.();
  const consent = (
    await openStatement('consent', proof.consent, consentSchema, crypto, input.device, verified).catch(failed)
  ).statement;
  if (!equalBytes(consent.device, input.device)) refuse('its consent is of another device');
  const agreementKey = await checkAgreementKey(
    { key: proof.agreementKey, device: input.device, nowMs: input.nowMs },
    crypto,
  ).catch(failed);
  return { proof, consent, agreementKey };
}

/** An X25519 key that `device` signed and that has not expired. Throws `signature_invalid`. */
export async function checkAgreementKey(
  input: { key: Uint8Array; device: Uint8Array; nowMs: number },
  crypto: Crypto,
): Promise<AgreementKey> {
  const { statement } = await openStatement('agreement-key', input.key, agreementKeySchema, crypto, input.device);
  if (!equalBytes(statement.device, input.device))
    throw new IdlewildError('signature_invalid', 'the agreement key is of another device');
  if (input.nowMs > statement.expiresAtMs + LIMITS.clockSkewMs)
    throw new IdlewildError('signature_invalid', 'the agreement key has expired');
  return statement;
}

/** SHA-256 over token ids as unsigned 32-bit little-endian: what a receipt says of an attempt's tokens. */
export async function digestTokens(tokens: readonly number[], crypto: Crypto): Promise<Uint8Array> {
  const bytes = new Uint8Array(tokens.length * 4);
  const view = new DataView(bytes.buffer);
  tokens.forEach((token, index) => view.setUint32(4 * index, token, true));
  return crypto.sha256(bytes);
}

/** The hex digest that names a numeric class; see `docs/protocol.md`. */
export async function numericClassOf(
  parts: { model: string; engineBuild: string; provider: string; fingerprint: string; precision: string },
  crypto: Crypto,
): Promise<string> {
  const text = [parts.model, parts.engineBuild, parts.provider, parts.fingerprint, parts.precision].join('\n');
  const digest = await crypto.sha256(concat([new TextEncoder().encode(`idlewild/v1/numeric-class\n${text}`)]));
  return Array.from(digest.slice(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
