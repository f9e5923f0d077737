/**
 * One block: bytes and the CID that they must hash to. Everything that enters a store passes through `verifyBlock`.
 *
 * Only CIDv1 with sha2-256 is kept: other hashes would let an identity CID smuggle unhashed bytes, and CIDv0's
 * base58 is unsafe as a file name where case is folded.
 */
import type { CID } from 'multiformats/cid';
import { equalBytes } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto, FileLayout } from '../ports.ts';

export const RAW = 0x55;
export const DAG_PB = 0x70;
const SHA2_256 = 0x12;
const DIGEST_BYTES = 32;

export interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

export const isStorable = (cid: CID): boolean =>
  cid.version === 1 && cid.multihash.code === SHA2_256 && cid.multihash.digest.length === DIGEST_BYTES;

/** Throws `blob_invalid` for a CID of another kind, `blob_too_large`, or `blob_mismatch`. */
export async function verifyBlock(cid: CID, bytes: Uint8Array, crypto: Crypto): Promise<void> {
  if (!isStorable(cid)) {
    throw new IdlewildError('blob_invalid', `${cid} is not a CIDv1 with sha2-256, the only kind that is kept`);
  }
  if (bytes.length > LIMITS.blockBytesMax) {
    throw new IdlewildError(
      'blob_too_large',
      `the block for ${cid} has ${bytes.length} bytes; the limit is ${LIMITS.blockBytesMax}`,
    );
  }
  if (await matches(cid, bytes, crypto)) return;
  throw new IdlewildError(
    'blob_mismatch',
    `the ${bytes.length} bytes given for ${cid} hash to something else; ask another source`,
  );
}

/** Whether `bytes` hash to the digest of `cid`. */
export async function matches(cid: CID, bytes: Uint8Array, crypto: Crypto): Promise<boolean> {
  return equalBytes(cid.multihash.digest, await crypto.sha256(bytes));
}

/** Holds bytes against one leaf. Throws what `verifyBlock` throws, and `invalid_request` for a leaf that is not. */
export async function verifyLeaf(
  layout: FileLayout,
  index: number,
  bytes: Uint8Array,
  crypto: Crypto,
): Promise<FileLayout['leaves'][number]> {
  const leaf = layout.leaves[index];
  if (leaf === undefined) throw new IdlewildError('invalid_request', `file ${layout.root} has no leaf ${index}`);
  await verifyBlock(leaf.cid, bytes, crypto);
  if (bytes.length === leaf.bytes) return leaf;
  // The source told the truth and the tree lied, so this is no mismatch: nobody who serves the leaf is to blame.
  throw new IdlewildError(
    'blob_invalid',
    `leaf ${index} of ${layout.root} has ${bytes.length} bytes; its tree says ${leaf.bytes}`,
  );
}

export function refuseIncomplete(layout: FileLayout, missing: number): void {
  if (missing === 0) return;
  const message = `file ${layout.root} cannot be finished: ${missing} of ${layout.leaves.length} leaves are missing`;
  throw new IdlewildError('blob_not_found', message);
}
