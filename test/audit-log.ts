/** A hub's audit log as anybody outside verifies it: all entries, the tree over them, and every signed head. */
import type { Client } from '@idlewild/client';
import { auditRecordSchema, copyLines, fromHex, verifyCopy, type AuditRecord } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';

/** What is wrong with it, in words; empty for one that holds. */
export async function auditFaults({ audit }: Pick<Client, 'audit'>): Promise<string[]> {
  const { territory, heads } = await audit.heads();
  async function* entries(): AsyncGenerator<AuditRecord> {
    for (let afterSeq = 0; ;) {
      const page = await audit.entries(afterSeq);
      for (const entry of page) yield auditRecordSchema.parse(entry);
      if (page.length === 0) return;
      afterSeq += page.length;
    }
  }
  const lines = copyLines({
    owner: { id: territory.id, key: fromHex(territory.key) },
    heads: heads.map(({ size, statement, certificate }) => ({
      size,
      statement: fromHex(statement),
      certificate: fromHex(certificate),
    })),
    entries: entries(),
  });
  const { findings, head } = await verifyCopy(lines, nodeCrypto, { community: territory.id });
  return [...findings.map(({ why }) => why), ...(head === undefined ? ['no head is signed over the log'] : [])];
}
