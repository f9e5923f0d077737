/** How fast requests of a capped community are begun and let go, by one and by three replicas over one database. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase, type OpenDatabase } from '@idlewild/hub';
import { POSTGRES_MISSING, measureSpending, openPostgres, startPostgres } from '@idlewild/hub/testing';
import { systemClock } from '@idlewild/protocol/node';
import type { BenchRun } from '../bench.ts';
import { percentile } from '../statistics.ts';

const LOAD = { requests: 3_000, atOnce: 60 };

export async function measureSpend(run: BenchRun, metric: string): Promise<void> {
  const sqlite = await onSqlite();
  const server = await startPostgres();
  if (server === undefined) throw new Error(POSTGRES_MISSING);
  const paceOf = async (replicas: number): Promise<{ perSecond: number; waited: string }> => {
    const url = await server.createDatabase();
    const databases: OpenDatabase[] = [];
    for (let i = 0; i < replicas; i++) databases.push(await openPostgres({ url, clock: systemClock }));
    const { perSecond, waitedMs } = await measureSpending(databases, LOAD);
    for (const database of databases) await database.close();
    const [half, most] = [percentile(waitedMs, 0.5), percentile(waitedMs, 0.99)].map((ms) => ms.toFixed(0));
    return { perSecond, waited: `${half} ms, 1 in 100 ${most} ms` };
  };
  try {
    const [one, three] = [await paceOf(1), await paceOf(3)];
    const note =
      `three replicas over PostgreSQL, ${LOAD.atOnce} at a time, half of them wait ${three.waited}; ` +
      `one replica ${Math.round(one.perSecond)}, with SQLite ${Math.round(sqlite)}`;
    run.record(metric, three.perSecond, note);
  } finally {
    await server.stop();
  }
}

async function onSqlite(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-bench-'));
  try {
    const database = await openDatabase({ file: join(folder, 'hub.db'), clock: systemClock });
    const { perSecond } = await measureSpending([database], LOAD);
    await database.close();
    return perSecond;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
