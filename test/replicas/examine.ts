/**
 * What is held against a hub after a fault: nothing that was accepted is lost, nothing was answered twice, nothing is
 * wrong, and the books agree. It reads the database itself, besides what callers heard.
 */
import { createClient } from '@idlewild/client';
import { Client } from 'pg';
import { percentile } from '../../bench/statistics.ts';
import { auditFaults } from '../audit-log.ts';
import { until } from '../processes/child.ts';
import type { Heard } from './caller.ts';
import type { ReplicaWorld } from './world.ts';

/** What a fault did to those who asked while it was there. */
export interface Findings {
  readonly asked: number;
  readonly failed: number;
  /** Breaks on the way that a retry or a resumption bridged. */
  readonly bridged: number;
  /** Between two tokens, in the worst of all answers and in the worst but one of a hundred. */
  readonly gapMsMax: number;
  readonly gapMsP99: number;
  readonly firstMsMax: number;
  /** Requests that are in the books and have no end, or that their callers heard to the end and the books did not. */
  readonly lost: number;
  /** Tokens and answers that are not what they are to be, and books that do not agree; each says what. */
  readonly wrong: readonly string[];
  /** What broke when for the caller who waited longest between two tokens. */
  readonly worst: string;
  /** Why those that failed did, and what was bridged, with counts. */
  readonly reasons: Readonly<Record<string, number>>;
}

/** An answer whose owner was killed is closed within half a minute, and the machine may be slow. */
const SETTLED_MS_MAX = 45_000;

/** `heard`: everything that the caller with this key asked. */
export async function examine(world: ReplicaWorld, keyId: string, heard: readonly Heard[]): Promise<Findings> {
  const books = await readBooks(world, keyId);
  const gaps = heard.map(({ gapMsMax }) => gapMsMax);
  const done = heard.filter(({ outcome }) => outcome === 'done');
  return {
    asked: heard.length,
    failed: heard.length - done.length,
    bridged: heard.reduce((total, { breaks }) => total + breaks.length, 0),
    gapMsMax: Math.max(0, ...gaps),
    gapMsP99: percentile(gaps, 0.99),
    firstMsMax: Math.max(0, ...heard.map(({ firstMs }) => firstMs)),
    lost: books.open + (isExact(heard) ? Math.max(0, done.length - books.done) : 0),
    wrong: [...wrongIn(heard), ...wrongBetween(books, heard), ...(await auditFaults(stewardOf(world)))],
    worst: worstIn(heard),
    reasons: countReasons(heard),
  };
}

/** What is in the database of the requests of one key. */
interface Books {
  readonly open: number;
  readonly done: number;
  readonly doneTokens: number;
  /** All that ended. */
  readonly ended: number;
  readonly endedTokens: number;
  readonly withoutReason: number;
  /** By the sums of usage. */
  readonly usageRequests: number;
  readonly usageTokens: number;
  /** Rows of requests that have ended, and their runs, too: a prompt is erased with these. */
  readonly journal: number;
}

const BOOKS = `
  select
    count(*) filter (where state = 'open') as open,
    count(*) filter (where state = 'done') as done,
    coalesce(sum(answer_tokens) filter (where state = 'done'), 0) as "doneTokens",
    count(*) filter (where state <> 'open') as ended,
    coalesce(sum(answer_tokens) filter (where state <> 'open'), 0) as "endedTokens",
    count(*) filter (where state = 'failed' and reason is null) as "withoutReason",
    (select coalesce(sum(requests), 0) from usage where key_id = $1) as "usageRequests",
    (select coalesce(sum(answer_tokens), 0) from usage where key_id = $1) as "usageTokens",
    (select count(*) from journal join requests ended on ended.id = request_id
      where ended.key_id = $1 and ended.state <> 'open' and not exists (
        select from runs where runs.id = ended.run_id and runs.territory_id = ended.territory_id)) as journal
  from requests where key_id = $1`;

async function readBooks(world: ReplicaWorld, keyId: string): Promise<Books> {
  const client = new Client({ connectionString: world.database });
  await client.connect();
  try {
    const read = async (): Promise<Books> => {
      const [row] = (await client.query<Record<string, string>>(BOOKS, [keyId])).rows;
      return Object.fromEntries(
        Object.entries(row ?? {}).map(([name, value]) => [name, Number(value)]),
      ) as unknown as Books;
    };
    const isSettled = async (): Promise<boolean> => (await read()).open === 0;
    await until(isSettled, 'every request having an end', SETTLED_MS_MAX).catch(() => undefined);
    return await read();
  } finally {
    await client.end();
  }
}

const wrongIn = (heard: readonly Heard[]): string[] => [
  ...heard.filter(({ wrong }) => wrong > 0).map(({ question, wrong }) => `${question.prompt} ${wrong} wrong tokens`),
  ...heard
    .filter(({ outcome, exact }) => outcome === 'done' && !exact)
    .map(({ question }) => `${question.prompt} is not exact`),
];

function wrongBetween(books: Books, heard: readonly Heard[]): string[] {
  const done = heard.filter(({ outcome }) => outcome === 'done');
  const heardTokens = done.reduce((total, { tokens }) => total + tokens, 0);
  return [
    ...(isExact(heard) ? differ('requests done in the books, and heard', books.done, done.length) : []),
    ...(isExact(heard) ? differ('tokens in the books, and heard', books.doneTokens, heardTokens) : []),
    ...differ('requests that failed without a reason', books.withoutReason, 0),
    ...differ('requests by usage, and by their rows', books.usageRequests, books.ended),
    ...differ('tokens by usage, and by their rows', books.usageTokens, books.endedTokens),
    ...differ('rows of the journal of requests and runs that have ended', books.journal, 0),
  ];
}

/**
 * Who does not come back may not hear the end of what was answered all the same; and of an answer without a key the end
 * is told before it is in the books, a moment in which a replica can be killed.
 */
const isExact = (heard: readonly Heard[]): boolean => heard.every(({ question }) => question.resumes);

const differ = (what: string, one: number, other: number): string[] =>
  one === other ? [] : [`${what}: ${one} and ${other}`];

const stewardOf = ({ front, stewardKey }: ReplicaWorld) => createClient({ hub: front.url, key: stewardKey });

function worstIn(heard: readonly Heard[]): string {
  const [worst] = heard.toSorted((one, other) => other.gapMsMax - one.gapMsMax);
  if (worst === undefined) return '';
  const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
  const breaks = worst.breaks.map(({ atMs, why }) => `${why} after ${seconds(atMs)}`).join(', ') || 'nothing broke';
  return `${worst.question.prompt} waited ${seconds(worst.gapMsMax)} of ${seconds(worst.tookMs)}: ${breaks}`;
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
