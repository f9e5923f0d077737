/** What decisions cost, how soon a revoked key has nothing more, and whether each route has its cells. */
import { readFileSync } from 'node:fs';
import { systemClock } from '@idlewild/protocol/node';
import {
  POSTGRES_MISSING,
  measureDecisions,
  measureRevocations,
  openPostgres,
  openWholeDoor,
  routesWithoutCell,
  startPostgres,
} from '@idlewild/hub/testing';
import type { BenchRun } from '../bench.ts';
import { percentile } from '../statistics.ts';

const DECISIONS = 5_000;
/** With the roles and what is built in, a little over twenty. */
const OWN_POLICIES = 12;
const REPLICAS = 3;
const REVOCATIONS = 34;

export async function measurePolicy(run: BenchRun, cached: string, made: string): Promise<void> {
  const pace = await measureDecisions({ policies: OWN_POLICIES, decisions: DECISIONS });
  const note = `${DECISIONS} decisions, ${pace.policies} policies`;
  run.record(cached, percentile(pace.known, 0.5), note);
  run.record(made, percentile(pace.made, 0.5), note);
}

export async function measureRevoke(run: BenchRun, metric: string): Promise<void> {
  const server = await startPostgres();
  if (server === undefined) throw new Error(POSTGRES_MISSING);
  try {
    const url = await server.createDatabase();
    const databases = await Promise.all(
      Array.from({ length: REPLICAS }, () => openPostgres({ url, clock: systemClock })),
    );
    const tookMs = await measureRevocations({ databases, trials: REVOCATIONS, isTold: false });
    const median = Math.round(percentile(tookMs, 0.5));
    const note = `${tookMs.length} streams, median ${median} ms; no word over the bus, the database alone says so`;
    run.record(metric, percentile(tookMs, 0.99), note);
    for (const { close } of databases) await close();
  } finally {
    await server.stop();
  }
}

export async function measureCells(run: BenchRun, metric: string): Promise<void> {
  const door = await openWholeDoor();
  try {
    const document = readFileSync(new URL('../../docs/rbac.md', import.meta.url), 'utf8');
    const missing = routesWithoutCell(document, door.routes);
    run.record(metric, missing.length, missing.length === 0 ? 'every route has its cells' : missing.join(', '));
  } finally {
    await door.close();
  }
}
