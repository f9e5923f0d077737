/**
 * That one entry is in a community's audit log, as a file that its holder can show to anybody: the entry, a signed head
 * and the path between them. It says nothing of the other entries.
 */
import { z } from 'zod';
import { hex } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { idOfKey } from '../ids.ts';
import type { Crypto } from '../ports.ts';
import type { AuditOwner } from './copy.ts';
import { auditRecordJson } from './copy.ts';
import { auditHash, auditRecordSchema, hexBytes, hexBytes32, type AuditRecord } from './entry.ts';
import { openAuditHead, type AuditHead, type CarriedHead } from './head.ts';
import { PATH_HASHES_MAX, leafHash, verifyInclusion } from './merkle.ts';

const entryProofSchema = z.object({
  t: z.literal('proof'),
  v: z.literal(1),
  territory: z.object({ id: z.string(), key: hexBytes32 }),
  entry: auditRecordSchema,
  head: z.object({ statement: hexBytes, certificate: hexBytes }),
  path: z.array(hexBytes32).max(PATH_HASHES_MAX),
});

export interface EntryProof {
  readonly owner: AuditOwner;
  readonly entry: AuditRecord;
  readonly head: CarriedHead;
  readonly path: readonly Uint8Array[];
}

/** As it is written into a file. */
export const entryProofJson = ({ owner, entry, head, path }: EntryProof): Record<string, unknown> => ({
  t: 'proof',
  v: 1,
  territory: { id: owner.id, key: hex(owner.key) },
  entry: auditRecordJson(entry),
  head: { statement: hex(head.statement), certificate: hex(head.certificate) },
  path: path.map(hex),
});

/** Throws `audit_broken` for a proof that does not hold, or that is of another community than the one wanted. */
export async function verifyEntryProof(
  json: unknown,
  crypto: Crypto,
  community?: string,
): Promise<{ readonly owner: AuditOwner; readonly entry: AuditRecord; readonly head: AuditHead }> {
  const parsed = entryProofSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw broken(`it is no proof: ${issue?.path.join('.') || 'its root'}: ${issue?.message}`);
  }
  const { territory, entry, path } = parsed.data;
  const id = await idOfKey('ter', territory.key, crypto);
  if (id !== territory.id) throw broken(`its community is named ${territory.id}, and its key is that of ${id}`);
  if (community !== undefined && community !== id) throw broken(`it is of the community ${id}, not of ${community}`);
  const head = await openAuditHead(parsed.data.head, territory.key, crypto).catch((error: unknown) => {
    throw broken((error as Error).message);
  });
  const hash = await auditHash(entry, crypto);
  if (hex(hash) !== hex(entry.hash)) throw broken(`entry ${entry.seq} was changed`);
  const leaf = await leafHash(hash, crypto);
  const claim = { index: entry.seq - 1, size: head.size, leaf, path, root: head.root };
  if (!(await verifyInclusion(claim, crypto))) {
    throw broken(`entry ${entry.seq} is not in the log of ${head.size} entries that its head vouches for`);
  }
  return { owner: { id, key: territory.key }, entry, head };
}

const broken = (why: string): IdlewildError => new IdlewildError('audit_broken', `the proof does not hold: ${why}`);
