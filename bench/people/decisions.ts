/** What decisions cost, and whether each route has its cells. */
import { readFileSync } from 'node:fs';
import { measureDecisions, openWholeDoor, routesWithoutCell } from '@idlewild/hub/testing';
import type { BenchRun } from '../bench.ts';
import { percentile } from '../statistics.ts';

const DECISIONS = 5_000;
/** With the roles and what is built in, a little over twenty. */
const OWN_POLICIES = 12;

export async function measurePolicy(run: BenchRun, cached: string, made: string): Promise<void> {
  const pace = await measureDecisions({ policies: OWN_POLICIES, decisions: DECISIONS });
  const note = `${DECISIONS} decisions, ${pace.policies} policies`;
  run.record(cached, percentile(pace.known, 0.5), note);
  run.record(made, percentile(pace.made, 0.5), note);
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
