/**
 * An entry of a territory's audit log, and the hash that chains it to the one before.
 *
 * Entry n holds SHA-256 over CBOR [hash of entry n − 1, n, time, actor, action, subject, details]; before the first
 * stands a hash of the territory's id, so a log cannot pass for another's. That hash is also the leaf of the Merkle
 * tree over the log: whoever has an entry can prove it, and a tree says nothing of what is in the others.
 */
import { z } from 'zod';
import { fromHex, utf8 } from '../bytes.ts';
import type { Crypto, MaybePromise } from '../ports.ts';
import { encodeCbor } from '../wire/frame.ts';

type Hasher = Pick<Crypto, 'sha256'>;

export interface AuditRecord {
  /** From 1, without a gap. */
  readonly seq: number;
  readonly atMs: number;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  /** JSON text, as it was hashed. */
  readonly details: string;
  /** Hash of the entry before. */
  readonly previous: Uint8Array;
  readonly hash: Uint8Array;
}

/** What stands before the first entry of a territory's log. */
export const auditGenesis = (territory: string, crypto: Hasher): MaybePromise<Uint8Array> =>
  crypto.sha256(utf8(`idlewild/v1/audit\n${territory}`));

/** The hash that an entry must have. */
export const auditHash = (entry: Omit<AuditRecord, 'hash'>, crypto: Hasher): MaybePromise<Uint8Array> =>
  crypto.sha256(
    encodeCbor([entry.previous, entry.seq, entry.atMs, entry.actor, entry.action, entry.subject, entry.details]),
  );

export const hexBytes = z
  .string()
  .regex(/^([0-9a-f]{2})*$/, 'must be bytes in hexadecimal digits')
  .transform(fromHex);
export const hexBytes32 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'must be 32 bytes in hexadecimal digits')
  .transform(fromHex);

/** An entry in JSON: bytes are hexadecimal digits. */
export const auditRecordSchema = z.object({
  seq: z.int().min(1),
  atMs: z.int(),
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  details: z.string(),
  previous: hexBytes32,
  hash: hexBytes32,
});
