/**
 * The room put together: limits, usage and repeats of all callers, and the seam at which answers tell what they used.
 *
 * That seam is the journal, through which everything goes that was accepted, however it ends: so nothing that makes
 * answers has to know of limits.
 */
import { messageOf, type Clock, type Crypto, type Random } from '@idlewild/protocol';
import type { Journal } from '../answers/journal/journal.ts';
import { eraseRun } from '../answers/journal/runs.ts';
import type { OpenDatabase } from '../db/open.ts';
import type { Log } from '../log.ts';
import type { Spending } from '../projects/spending.ts';
import type { Replica } from '../replicas/port.ts';
import { createMemoryBuckets } from './buckets.ts';
import { createDatabaseBuckets } from './database-buckets.ts';
import { createKeptAnswers } from './kept-answers.ts';
import { createLimits, type DefaultLimits, type Limits } from './limits.ts';
import { createRepeats, type Repeats } from './repeats.ts';
import { createRuns, type Runs } from './runs.ts';

export interface Callers {
  readonly limits: Limits;
  readonly repeats: Repeats;
  /** The same journal; what ends in it is charged to its key, and to what is held for it. */
  charging(journal: Journal, spending: Pick<Spending, 'opened' | 'ended'>): Journal;
  /** What is due from time to time: erases answers that were kept long enough, forgets keys that were long quiet. */
  keepHouse(): Promise<void>;
  /** What one replica is to do from time to time; see `Runs.expire`. */
  expireRuns: Runs['expire'];
  /** Breaks off what runs under Idempotency-Keys, for another replica to go on with; waits for what is written. */
  stop(): Promise<void>;
}

export interface CallersDeps {
  readonly database: Pick<OpenDatabase, 'db' | 'kind' | 'nowMs'>;
  readonly territory: string;
  readonly replica: Replica;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  /** The journal's, 32 bytes. */
  readonly key: Uint8Array;
  readonly defaults: DefaultLimits;
  readonly log: Log;
}

export function createCallers(deps: CallersDeps): Callers {
  const { database, replica, clock, defaults, log } = deps;
  const onFault = (error: unknown): void => log.error({ why: messageOf(error) }, 'a limit could not be charged');
  // SQLite has one process, whose memory is shared enough.
  const shared = database.kind === 'postgres' ? createDatabaseBuckets(database) : undefined;
  const limits = createLimits({
    buckets: shared ?? createMemoryBuckets(clock),
    asks: createMemoryBuckets(clock),
    defaults,
    onFault,
  });
  const kept = createKeptAnswers({ ...deps, db: database.db });
  const runs = createRuns({ ...deps, owner: replica.id, eraseRun });
  const repeats = createRepeats({ ...deps, kept, runs });
  return {
    limits,
    repeats,
    charging: (journal, spending) => chargingJournal(journal, limits, spending),
    async keepHouse() {
      await kept.expire();
      await shared?.clean();
    },
    expireRuns: (transaction) => runs.expire(transaction),
    stop: () => repeats.stop(),
  };
}

/** What is known of an answer that is open. */
interface OpenAnswer {
  readonly key: string;
  readonly countsPrompt: boolean;
  readonly hold?: string | undefined;
}

function chargingJournal(journal: Journal, limits: Limits, spending: Pick<Spending, 'opened' | 'ended'>): Journal {
  const open = new Map<string, OpenAnswer>();
  function note(request: string, answer: OpenAnswer): void {
    open.set(request, answer);
    if (answer.hold !== undefined) spending.opened(answer.hold);
  }
  function forget(request: string): OpenAnswer | undefined {
    const answer = open.get(request);
    open.delete(request);
    return answer;
  }
  const end = (answer: OpenAnswer | undefined): void => {
    if (answer?.hold !== undefined) spending.ended(answer.hold);
  };
  return {
    ...journal,
    async open(record) {
      const { request, key, work, hold } = record;
      note(request, { key, countsPrompt: work.choice === 0, hold });
      try {
        await journal.open(record);
      } catch (error) {
        end(forget(request));
        throw error;
      }
    },
    async adopt(territory, run) {
      const found = await journal.adopt(territory, run);
      // What it makes from here on, and all that it made: whoever had it before ends nothing.
      if (found !== undefined && !found.isDone) note(found.request, found);
      return found;
    },
    onTakenOver(listener) {
      journal.onTakenOver((request) => {
        open.delete(request);
        listener(request);
      });
    },
    async letGo(request) {
      open.delete(request);
      await journal.letGo(request);
    },
    async close(record) {
      const opened = forget(record.request);
      const { key, countsPrompt } = opened ?? { key: '', countsPrompt: false };
      const tokens = opened === undefined ? 0 : record.answerTokens + (countsPrompt ? record.promptTokens : 0);
      // At once, for the request gives its estimate back when it is over.
      limits.charge(key, tokens);
      const isOwn = await journal.close(record);
      // What another owner has by now is that one's to charge.
      if (!isOwn) limits.charge(key, -tokens);
      else end(opened);
      return isOwn;
    },
  };
}
