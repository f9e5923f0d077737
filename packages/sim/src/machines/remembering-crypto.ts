/**
 * The `Crypto` port over another that remembers which signatures it has verified: certificates and consents are carried
 * in every handshake, and a simulation has thousands of those. Verifying is a pure function, so nothing else changes.
 */
import type { Crypto } from '@idlewild/protocol';

export function createRememberingCrypto(crypto: Crypto): Crypto {
  const verified = new Map<string, boolean>();
  return {
    ...crypto,
    async verify(publicKey, bytes, signature) {
      const what = Buffer.concat([publicKey, signature, await crypto.sha256(bytes)]).toString('latin1');
      const known = verified.get(what) ?? (await crypto.verify(publicKey, bytes, signature));
      verified.set(what, known);
      return known;
    },
  };
}
