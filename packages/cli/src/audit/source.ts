/** The audit log of a hub as lines of a copy: what is exported is what is verified. */
import type { AuditHeadJson, AuditRecordJson, Client } from '@idlewild/client';
import {
  IdlewildError,
  auditRecordSchema,
  copyLines,
  fromHex,
  messageOf,
  type AuditOwner,
  type AuditRecord,
  type PlacedHead,
} from '@idlewild/protocol';

export interface LogSource {
  readonly owner: AuditOwner;
  readonly name: string;
  readonly heads: readonly PlacedHead[];
  /** A whole copy, asked of the hub page by page. `onEntry` is told how many entries there were so far. */
  lines(onEntry?: (count: number) => void): AsyncGenerator<string>;
}

export const placedHead = ({ size, statement, certificate }: AuditHeadJson): PlacedHead => ({
  size,
  statement: fromHex(statement),
  certificate: fromHex(certificate),
});

export async function openLog(client: Client): Promise<LogSource> {
  const { territory, heads: listed } = await client.audit.heads();
  const owner = { id: territory.id, key: fromHex(territory.key) };
  const heads = listed.map(placedHead);
  return {
    owner,
    heads,
    name: territory.name,
    lines: (onEntry) => copyLines({ owner, heads, entries: entriesOf(client, onEntry) }),
  };
}

async function* entriesOf(client: Client, onEntry: ((count: number) => void) | undefined): AsyncGenerator<AuditRecord> {
  let count = 0;
  for (let afterSeq = 0; ;) {
    const page = await client.audit.entries(afterSeq);
    for (const entry of page) {
      yield recordOf(entry);
      count++;
    }
    onEntry?.(count);
    const lastSeq = page.at(-1)?.seq;
    // A hub that goes back would never come to an end.
    if (lastSeq === undefined || lastSeq <= afterSeq) return;
    afterSeq = lastSeq;
  }
}

function recordOf(entry: AuditRecordJson): AuditRecord {
  try {
    return auditRecordSchema.parse(entry);
  } catch (cause) {
    throw new IdlewildError('audit_broken', `the hub gave an entry that is none: ${messageOf(cause)}`, { cause });
  }
}
