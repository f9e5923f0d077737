/** Replicas that share a database and a bus, and answers that a test gives by hand. */
import { concat, fromUtf8, utf8, type IdlewildError } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { onTestFinished } from 'vitest';
import { createLocalBusHub, type LocalBusMember } from '../../bus/local-bus.ts';
import { openDatabase, type OpenDatabase } from '../../db/open.ts';
import type { Database } from '../../db/schema.ts';
import { silentLog } from '../../log.ts';
import { createKeptAnswers, type KeptAnswers } from '../kept-answers.ts';
import type { Head, Making, Reader, Recording, Started } from '../recording.ts';
import { createRepeats, type RepeatOrder, type Repeats } from '../repeats.ts';
import { createRuns, type Run, type Runs } from '../runs.ts';

export const territory = 'ter_a';
export const good: Head = { status: 200, headers: { 'content-type': 'application/json' } };

export interface Replica {
  readonly repeats: Repeats;
  readonly runs: Runs;
  readonly kept: KeptAnswers;
  readonly bus: LocalBusMember;
  /** Nothing it does reaches the others any more, and they notice. */
  die(): void;
}
export interface World {
  readonly database: OpenDatabase;
  readonly db: Database;
  readonly clock: FakeClock;
  readonly erased: string[];
  replica(id: string, change?: (kept: KeptAnswers) => Partial<KeptAnswers>): Replica;
}

/** The clock's turns let the platform do what is pending. */
export async function createWorld(clock: FakeClock): Promise<World> {
  const database = await openDatabase({ file: ':memory:', clock, sync: 'off' });
  const { db, close } = database;
  onTestFinished(close);
  await db
    .insertInto('territories')
    .values({ id: territory, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 })
    .execute();
  const key = new Uint8Array(32).fill(1);
  const bus = createLocalBusHub({ clock, log: silentLog });
  const dead = new Set<string>();
  const erased: string[] = [];
  return {
    database,
    db,
    clock,
    erased,
    replica(id, change = () => ({})) {
      const member = bus.connect();
      const random = createSeededRandom(id.length);
      const common = { territory, crypto: nodeCrypto, random, clock, key, log: silentLog };
      const kept = createKeptAnswers({ ...common, db });
      const runs = createRuns({
        ...common,
        database,
        owner: id,
        eraseRun: async (_transaction, _territory, run) => void erased.push(run),
      });
      const replica = { id, bus: member, isLive: (other: string) => !dead.has(other) };
      const repeats = createRepeats({ ...common, kept: { ...kept, ...change(kept) }, runs, replica });
      onTestFinished(() => repeats.stop());
      return {
        repeats,
        runs,
        kept,
        bus: member,
        die() {
          dead.add(id);
          member.setUp(false);
        },
      };
    },
  };
}
export async function setUp(clock: FakeClock): Promise<World & Replica> {
  const world = await createWorld(clock);
  return { ...world, ...world.replica('rep_a') };
}

/** An answer whose chunks a test gives one by one. */
export function answering(head: Started['head'] = good) {
  const chunks: Uint8Array[] = [];
  let more = Promise.withResolvers<void>();
  let isOver = false;
  let starts = 0;
  const runs: Run[] = [];
  let signal = new AbortController().signal;
  let leave = (): void => {};
  const change = (): void => {
    more.resolve();
    more = Promise.withResolvers();
  };
  async function* body(): AsyncGenerator<Uint8Array> {
    for (let next = 0; ;) {
      if (signal.aborted) throw new Error('aborted');
      const chunk = chunks[next];
      if (chunk !== undefined) {
        next++;
        yield chunk;
      } else if (isOver) return;
      else await more.promise;
    }
  }
  return {
    say(text: string): void {
      chunks.push(utf8(text));
      change();
    },
    end(): void {
      isOver = true;
      change();
    },
    starts: () => starts,
    runs: () => runs,
    leave: () => leave(),
    wasAborted: () => signal.aborted,
    async start(run: Run, making: Making): Promise<Started> {
      starts++;
      runs.push(run);
      signal = making.signal;
      leave = making.leave;
      signal.addEventListener('abort', change);
      return { head, body: body() };
    },
  };
}
let requests = 0;
export const order = (
  answer: Pick<ReturnType<typeof answering>, 'start'>,
  name = 'n',
  asked = 'what',
): RepeatOrder => ({
  territory,
  key: 'key_a',
  idempotencyKey: name,
  asked: utf8(asked),
  requestId: `req_${++requests}`,
  start: (run, making) => answer.start(run, making),
});
/** To its end. */
export async function textOf(from: Recording | Reader): Promise<string> {
  const reader = 'read' in from ? from.read() : from;
  const all: Uint8Array[] = [];
  for (let bytes = await reader.next(); bytes !== undefined; bytes = await reader.next()) all.push(bytes);
  reader.close();
  return fromUtf8(concat(all));
}
export async function next(reader: Reader): Promise<string> {
  const bytes = await reader.next();
  return bytes === undefined ? '(end)' : fromUtf8(bytes);
}
export const codeOf = (doing: Promise<unknown>): Promise<unknown> =>
  doing.then(
    () => 'no failure',
    (error: unknown) => (error as IdlewildError).code,
  );
export const runRows = (db: Database) => db.selectFrom('runs').selectAll().execute();
