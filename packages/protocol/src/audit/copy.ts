/**
 * A copy of an audit log: lines of JSON that need nothing else to be verified but, for whoever wants to be sure whose
 * log it is, the id of the community.
 *
 * The first line names the territory and its key; then come the entries in their order, each head after the entry that
 * it ends with, and last a line that says how many there were. A copy may also have heads alone: that is how a head is
 * kept, to hold a later copy against.
 */
import { z } from 'zod';
import { hex } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { auditRecordSchema, hexBytes, hexBytes32, type AuditRecord } from './entry.ts';
import type { CarriedHead } from './head.ts';

const territorySchema = z.object({ t: z.literal('territory'), v: z.literal(1), id: z.string(), key: hexBytes32 });
const headSchema = z.object({ t: z.literal('head'), statement: hexBytes, certificate: hexBytes });

const copyLineSchema = z.discriminatedUnion('t', [
  territorySchema,
  auditRecordSchema.extend({ t: z.literal('entry') }),
  headSchema,
  z.object({ t: z.literal('end'), entries: z.int().min(0), heads: z.int().min(0) }),
]);
export type CopyLine = z.infer<typeof copyLineSchema>;

/** Whose log it is. */
export interface AuditOwner {
  readonly id: string;
  /** Ed25519, 32 bytes. */
  readonly key: Uint8Array;
}

/** A head with the number of entries that it says it has. */
export interface PlacedHead extends CarriedHead {
  readonly size: number;
}

export interface CopySource {
  readonly owner: AuditOwner;
  /** Ascending by size. */
  readonly heads: readonly PlacedHead[];
  /** All, from the first on; without them a copy has heads alone. */
  readonly entries?: AsyncIterable<AuditRecord>;
}

/** The lines of a copy, without their line ends. */
export async function* copyLines({ owner, heads, entries }: CopySource): AsyncGenerator<string, void, undefined> {
  yield JSON.stringify({ t: 'territory', v: 1, id: owner.id, key: hex(owner.key) });
  let next = 0;
  const isDue = (size: number): boolean => (heads[next]?.size ?? Number.POSITIVE_INFINITY) <= size;
  let count = 0;
  for await (const entry of entries ?? []) {
    yield entryLine(entry);
    count++;
    while (isDue(entry.seq)) yield headLine(heads[next++] as PlacedHead);
  }
  while (next < heads.length) yield headLine(heads[next++] as PlacedHead);
  yield JSON.stringify({ t: 'end', entries: count, heads: heads.length });
}

export const auditRecordJson = (entry: AuditRecord): Record<string, unknown> => ({
  seq: entry.seq,
  atMs: entry.atMs,
  actor: entry.actor,
  action: entry.action,
  subject: entry.subject,
  details: entry.details,
  previous: hex(entry.previous),
  hash: hex(entry.hash),
});

const entryLine = (entry: AuditRecord): string => JSON.stringify({ t: 'entry', ...auditRecordJson(entry) });
const headLine = ({ statement, certificate }: CarriedHead): string =>
  JSON.stringify({ t: 'head', statement: hex(statement), certificate: hex(certificate) });

/** Throws `frame_invalid` for what is no line of a copy. */
export function parseCopyLine(text: string): CopyLine {
  if (text.length > LIMITS.auditLineCharactersMax) {
    throw new IdlewildError('frame_invalid', `a line of ${text.length} characters is none of an audit log`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new IdlewildError('frame_invalid', `it is not JSON: ${(cause as Error).message}`, { cause });
  }
  const parsed = copyLineSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new IdlewildError('frame_invalid', `it is wrong at ${issue?.path.join('.') || 'its root'}: ${issue?.message}`);
}
