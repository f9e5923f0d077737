/**
 * Who may share cached prompts, as an opaque name: the same for the same key and cache key of a caller, and telling a
 * device nothing of either. HMAC-SHA256 (RFC 2104) under a secret of the hub.
 */
import { concat, utf8, type Crypto } from '@idlewild/protocol';

const BLOCK_BYTES = 64;
const SCOPE_BYTES = 18;

/** `label` narrows the scope within one caller; without one all its requests share. */
export type ScopeOf = (caller: string, label: string | undefined) => Promise<string>;

/** `secret` has 32 bytes. */
export function createScopes({ crypto, secret }: { readonly crypto: Crypto; readonly secret: Uint8Array }): ScopeOf {
  const padded = (pad: number): Uint8Array =>
    Uint8Array.from({ length: BLOCK_BYTES }, (_, i) => (secret[i] ?? 0) ^ pad);
  const [inner, outer] = [padded(0x36), padded(0x5c)];
  return async (caller, label) => {
    // Ids of callers hold no line break, so a label cannot make one caller into another.
    const message = utf8(
      label === undefined ? `idlewild/v1/scope\n${caller}` : `idlewild/v1/scope\n${caller}\n${label}`,
    );
    const digest = await crypto.sha256(concat([outer, await crypto.sha256(concat([inner, message]))]));
    return Buffer.from(digest.subarray(0, SCOPE_BYTES)).toString('base64url');
  };
}
