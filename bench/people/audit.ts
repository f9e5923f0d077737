/** How fast the audit log takes entries: SQLite in a file with its fsyncs, and a PostgreSQL that commits to disk. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase, type OpenDatabase } from '@idlewild/hub';
import { POSTGRES_MISSING, measureAppends, openPostgres, startPostgres } from '@idlewild/hub/testing';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import type { BenchRun } from '../bench.ts';

const ENTRIES = 100_000;
/** What a busy hub notes within a quarter of a second. */
const BATCH = 500;
const TERRITORY = 'ter_bench';

export async function measureAudit(run: BenchRun, metric: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-bench-'));
  try {
    const sqlite = await paceOn(await openDatabase({ file: join(folder, 'hub.db'), clock: systemClock }));
    const server = await startPostgres();
    const postgres = server === undefined ? undefined : await paceOn(await openOn(await server.createDatabase()));
    await server?.stop();
    const beside = postgres === undefined ? POSTGRES_MISSING : `PostgreSQL ${Math.round(postgres)}`;
    const note = `SQLite, ${ENTRIES} entries in batches of ${BATCH}, the chain verified before and after; ${beside}`;
    run.record(metric, sqlite, note);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const openOn = (url: string): Promise<OpenDatabase> => openPostgres({ url, clock: systemClock });

async function paceOn(database: OpenDatabase): Promise<number> {
  const row = { id: TERRITORY, name: 'bench', public_key: new Uint8Array(32), created_at_ms: 0 };
  await database.db.insertInto('territories').values(row).execute();
  const options = { territory: TERRITORY, entries: ENTRIES, batch: BATCH };
  const { perSecond } = await measureAppends(database, nodeCrypto, options);
  await database.close();
  return perSecond;
}
