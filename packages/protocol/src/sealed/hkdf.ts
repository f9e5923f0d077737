/**
 * HKDF-SHA-256 (RFC 5869) in its two steps, which the `Crypto` port has only together: HPKE labels each step apart.
 * Extracting is HMAC itself (RFC 2104), made of the port's SHA-256.
 */
import { concat } from '../bytes.ts';
import type { Crypto } from '../ports.ts';

const BLOCK_BYTES = 64;
const HASH_BYTES = 32;

/** `key` has at most 64 bytes: nothing here has a longer one. */
export async function hmacSha256(key: Uint8Array, message: Uint8Array, crypto: Crypto): Promise<Uint8Array> {
  if (key.length > BLOCK_BYTES) throw new Error(`a key of ${key.length} bytes is longer than a block`);
  const padded = (byte: number): Uint8Array => {
    const block = new Uint8Array(BLOCK_BYTES).fill(byte);
    for (let i = 0; i < key.length; i++) block[i] = byte ^ (key[i] as number);
    return block;
  };
  const inner = await crypto.sha256(concat([padded(0x36), message]));
  return crypto.sha256(concat([padded(0x5c), inner]));
}

/** HKDF-Expand: `length` bytes, at most 8,160. */
export async function expand(key: Uint8Array, info: Uint8Array, length: number, crypto: Crypto): Promise<Uint8Array> {
  let block: Uint8Array = new Uint8Array();
  const blocks: Uint8Array[] = [];
  for (let i = 1; blocks.length * HASH_BYTES < length; i++) {
    block = await hmacSha256(key, concat([block, info, Uint8Array.of(i)]), crypto);
    blocks.push(block);
  }
  return concat(blocks).subarray(0, length);
}
