/**
 * What is held against a hub after a fault: nothing that was accepted is lost, nothing was answered twice, nothing is
 * wrong, and the books agree. It reads the database itself, besides what callers heard.
 */
import { Client } from 'pg';
import { until } from '../processes/child.ts';
import type { Heard } from './caller.ts';
import { percentile } from '../../bench/statistics.ts';
import type { ReplicaWorld } from './world.ts';

/** What a fault did to those who asked while it was there. */
export interface Findings {
  readonly asked: number;
  readonly failed: number;
  /** Share of what was asked that failed for a caller who retries and resumes. */
  readonly errorRate: number;
  /** Breaks on the way that a retry or a resumption bridged. */
  readonly bridged: number;
  readonly gapMsMax: number;
  readonly gapMsP99: number;
  readonly firstMsMax: number;
  /** Requests that are in the books and have no end, or have an end that no caller heard. */
  readonly lost: number;
  /** Tokens and answers that are not what they are to be, and books that do not agree; each says what. */
  readonly wrong: readonly string[];
  /** Why those that failed did, and what was bridged, with counts. */
  readonly reasons: Readonly<Record<string, number>>;
}

const SETTLED_MS_MAX = 30_000;

interface Row {
  readonly state: string;
  readonly reason: string | null;
  readonly count: number;
  readonly tokens: number;
}

/** `heard`: everything that the caller with this key asked. */
export async function examine(world: ReplicaWorld, keyId: string, heard: readonly Heard[]): Promise<Findings> {
  const client = new Client({ connectionString: world.database });
  await client.connect();
  try {
    const rowsOf = async (): Promise<Row[]> => {
      const text = `select state, reason, count(*)::int as count, sum(answer_tokens)::int as tokens
        from requests where key_id = $1 group by state, reason`;
      return (await client.query<Row>(text, [keyId])).rows;
    };
    const openNow = async (): Promise<number> =>
      (await rowsOf()).filter(({ state }) => state === 'open').reduce((sum, { count }) => sum + count, 0);
    await until(async () => (await openNow()) === 0, 'every request having an end', SETTLED_MS_MAX).catch(
      () => undefined,
    );
    const rows = await rowsOf();
    const books = await readBooks(client, keyId);
    const done = heard.filter(({ outcome }) => outcome === 'done');
    const failed = heard.filter(({ outcome }) => outcome === 'failed');
    const of = (state: string): Row[] => rows.filter((row) => row.state === state);
    const sum = (list: readonly Row[], field: 'count' | 'tokens'): number =>
      list.reduce((total, row) => total + row[field], 0);
    const lost = sum(of('open'), 'count') + Math.max(0, done.length - sum(of('done'), 'count'));
    return {
      asked: heard.length,
      failed: failed.length,
      errorRate: failed.length / Math.max(1, heard.length),
      bridged: heard.reduce((total, { breaks }) => total + breaks.length, 0),
      gapMsMax: Math.max(0, ...heard.map(({ gapMsMax }) => gapMsMax)),
      gapMsP99: percentile(
        heard.map(({ gapMsMax }) => gapMsMax),
        0.99,
      ),
      firstMsMax: Math.max(0, ...heard.map(({ firstMs }) => firstMs)),
      lost,
      wrong: [
        ...heard
          .filter(({ wrong }) => wrong > 0)
          .map(({ question, wrong }) => `${question.prompt} ${wrong} wrong tokens`),
        ...done.filter(({ exact }) => !exact).map(({ question }) => `${question.prompt} is not exact`),
        ...of('failed')
          .filter(({ reason }) => reason === null)
          .map(({ count }) => `${count} requests failed without a reason`),
        ...differ('requests done in the books, and heard', sum(of('done'), 'count'), done.length),
        ...differ(
          'tokens in the books, and heard',
          sum(of('done'), 'tokens'),
          done.reduce((total, { tokens }) => total + tokens, 0),
        ),
        ...differ(
          'requests by usage, and by their rows',
          books.requests,
          sum(rows, 'count') - sum(of('open'), 'count'),
        ),
        ...differ('tokens by usage, and by their rows', books.tokens, sum(rows, 'tokens')),
        ...differ('rows of the journal, and requests that are open', books.journal === 0 ? 0 : 1, lost === 0 ? 0 : 1),
        ...(await auditFaults(world)),
      ],
      reasons: countReasons(heard),
    };
  } finally {
    await client.end();
  }
}

const differ = (what: string, one: number, other: number): string[] =>
  one === other ? [] : [`${what}: ${one} and ${other}`];

interface Books {
  readonly requests: number;
  readonly tokens: number;
  /** Rows of requests of this key; none is open. */
  readonly journal: number;
}

async function readBooks(client: Client, keyId: string): Promise<Books> {
  const usage = await client.query<{ requests: number; tokens: number }>(
    `select coalesce(sum(requests), 0)::int as requests, coalesce(sum(answer_tokens), 0)::int as tokens
      from usage where key_id = $1`,
    [keyId],
  );
  const journal = await client.query<{ count: number }>(
    'select count(*)::int as count from journal join requests on requests.id = request_id where key_id = $1',
    [keyId],
  );
  return {
    requests: usage.rows[0]?.requests ?? 0,
    tokens: usage.rows[0]?.tokens ?? 0,
    journal: journal.rows[0]?.count ?? 0,
  };
}

async function auditFaults(world: ReplicaWorld): Promise<string[]> {
  const headers = { authorization: `Bearer ${world.stewardKey}` };
  const response = await fetch(`${world.front.url}/api/audit`, { headers });
  const { intact } = (await response.json()) as { intact?: boolean };
  return intact === true ? [] : ['the audit log does not verify'];
}

function countReasons(heard: readonly Heard[]): Record<string, number> {
  const counts: Record<string, number> = {};
  const count = (why: string): void => {
    counts[why] = (counts[why] ?? 0) + 1;
  };
  for (const { why, breaks } of heard) {
    if (why !== '') count(`failed: ${why}`);
    for (const one of breaks) count(one.why);
  }
  return counts;
}
