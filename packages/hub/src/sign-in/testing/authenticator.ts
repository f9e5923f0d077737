/**
 * An authenticator in software, for tests: makes passkeys and answers challenges as a browser would hand them on
 * (WebAuthn level 3, `none` attestation), honestly or, where a test says so, not.
 */
import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { concat } from '@idlewild/protocol';
import type {
  AuthenticationResponseJSON,
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
  RegistrationResponseJSON,
} from '@simplewebauthn/server';

export type Algorithm = 'ES256' | 'EdDSA';

export interface Lies {
  readonly origin?: string;
  readonly rpId?: string;
  readonly challenge?: string;
  readonly type?: string;
  readonly userVerified?: boolean;
  /** Says that it counts so. */
  readonly counter?: number;
  readonly userHandle?: string;
  /** Of a new passkey: what it calls itself. */
  readonly credentialId?: string;
  readonly crossOrigin?: boolean;
}

export interface Authenticator {
  create(options: PublicKeyCredentialCreationOptionsJSON, lies?: Lies): RegistrationResponseJSON;
  get(options: PublicKeyCredentialRequestOptionsJSON, lies?: Lies): AuthenticationResponseJSON;
  /** Another one that has the same secrets. */
  copy(): Authenticator;
}

interface Kept {
  readonly id: string;
  readonly privateKey: KeyObject;
  readonly userHandle: string;
  counter: number;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const sha256 = (bytes: Uint8Array | string): Uint8Array => createHash('sha256').update(bytes).digest();

export interface AuthenticatorOptions {
  readonly origin: string;
  readonly algorithm?: Algorithm;
  /** Authenticators of phones count nothing. */
  readonly counts?: boolean;
}

export function createAuthenticator(options: AuthenticatorOptions, before: readonly Kept[] = []): Authenticator {
  const { origin, algorithm = 'ES256', counts = true } = options;
  const kept: Kept[] = before.map((one) => ({ ...one }));

  function authenticatorData(
    rpId: string,
    counter: number,
    { userVerified = true }: Lies,
    more?: Uint8Array,
  ): Uint8Array {
    const flags = 0x01 | (userVerified ? 0x04 : 0) | (more === undefined ? 0 : 0x40);
    const tail = new Uint8Array(5);
    tail[0] = flags;
    new DataView(tail.buffer).setUint32(1, counter);
    return concat([sha256(rpId), tail, more ?? new Uint8Array()]);
  }

  const clientData = (type: string, challenge: string, lies: Lies): Uint8Array =>
    Buffer.from(
      JSON.stringify({
        type: lies.type ?? type,
        challenge: lies.challenge ?? challenge,
        origin: lies.origin ?? origin,
        crossOrigin: lies.crossOrigin ?? false,
      }),
    );

  return {
    create({ rp, user, challenge }, lies = {}) {
      const { publicKey, privateKey } =
        algorithm === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519');
      const idBytes = lies.credentialId === undefined ? randomBytes(16) : Buffer.from(lies.credentialId, 'base64url');
      const id = text(idBytes);
      kept.push({ id, privateKey, userHandle: user.id, counter: 0 });
      const lengths = Uint8Array.of(0, idBytes.length);
      const attested = concat([new Uint8Array(16), lengths, idBytes, coseOf(publicKey, algorithm)]);
      const data = authenticatorData(lies.rpId ?? rp.id ?? '', lies.counter ?? 0, lies, attested);
      return {
        id,
        rawId: id,
        type: 'public-key',
        clientExtensionResults: {},
        response: {
          clientDataJSON: text(clientData('webauthn.create', challenge, lies)),
          attestationObject: text(attestationOf(data)),
          transports: ['internal'],
        },
      };
    },
    get({ rpId = '', challenge }, lies = {}) {
      const one = kept.at(-1);
      if (one === undefined) throw new Error('this authenticator has no passkey');
      if (counts) one.counter++;
      const client = clientData('webauthn.get', challenge, lies);
      const data = authenticatorData(lies.rpId ?? rpId, lies.counter ?? one.counter, lies);
      const signed = concat([data, sha256(client)]);
      const signature = sign(algorithm === 'ES256' ? 'sha256' : null, signed, one.privateKey);
      return {
        id: one.id,
        rawId: one.id,
        type: 'public-key',
        clientExtensionResults: {},
        response: {
          clientDataJSON: text(client),
          authenticatorData: text(data),
          signature: text(signature),
          userHandle: lies.userHandle ?? one.userHandle,
        },
      };
    },
    copy: () => createAuthenticator(options, kept),
  };
}

/** RFC 9053: EC2 and OKP keys. */
function coseOf(publicKey: KeyObject, algorithm: Algorithm): Uint8Array {
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
  const xBytes = Buffer.from(x, 'base64url');
  if (algorithm === 'EdDSA') return concat([Uint8Array.of(0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32), xBytes]);
  return concat([
    Uint8Array.of(0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32),
    xBytes,
    Uint8Array.of(0x22, 0x58, 32),
    Buffer.from(y, 'base64url'),
  ]);
}

/** `{ fmt: "none", attStmt: {}, authData }` in CBOR. */
function attestationOf(data: Uint8Array): Uint8Array {
  const word = (name: string): Uint8Array => concat([Uint8Array.of(0x60 + name.length), Buffer.from(name)]);
  return concat([
    Uint8Array.of(0xa3),
    word('fmt'),
    word('none'),
    word('attStmt'),
    Uint8Array.of(0xa0),
    word('authData'),
    Uint8Array.of(0x59, data.length >> 8, data.length & 0xff),
    data,
  ]);
}
