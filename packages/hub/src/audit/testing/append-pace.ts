/** How fast a database takes entries of the audit log: for the benchmark, which says what it was measured on. */
import type { Crypto } from '@idlewild/protocol';
import type { OpenDatabase } from '../../db/open.ts';
import { createAudit } from '../audit.ts';
import type { AuditEvent } from '../event.ts';

export interface AppendPace {
  readonly perSecond: number;
  readonly entries: number;
  /** Entries of one transaction, each of which is on the disk before the next begins. */
  readonly batch: number;
}

export interface AppendPaceOptions {
  /** One that is there. */
  readonly territory: string;
  readonly entries: number;
  readonly batch: number;
}

/** Appends real entries of the common kind, `batch` to a transaction, and looks whether the chain holds afterwards. */
export async function measureAppends(
  { db, clock }: OpenDatabase,
  crypto: Crypto,
  { territory, entries, batch }: AppendPaceOptions,
): Promise<AppendPace> {
  const audit = createAudit({ db, crypto, clock });
  const { entries: before } = await verified();
  const startMs = clock.monotonic();
  for (let done = 0; done < entries; done += batch) {
    const events = Array.from({ length: Math.min(batch, entries - done) }, (_, at) => eventAt(territory, done + at));
    await db.transaction().execute((transaction) => audit.appendAll(transaction, events));
  }
  const perSecond = entries / ((clock.monotonic() - startMs) / 1_000);
  const { entries: after } = await verified();
  if (after - before !== entries) throw new Error(`${after - before} of ${entries} entries are in the log`);
  return { perSecond, entries, batch };

  async function verified(): Promise<{ readonly entries: number }> {
    const verdict = await audit.verify(territory);
    if (!verdict.intact) throw new Error(verdict.why);
    return verdict;
  }
}

/** As long as those of a key's use are. */
const eventAt = (territory: string, at: number): AuditEvent => ({
  territory,
  actor: `key_${at.toString(32).padStart(26, 'a')}`,
  action: 'used',
  subject: territory,
  details: { route: 'POST /v1/chat/completions', count: at },
});
