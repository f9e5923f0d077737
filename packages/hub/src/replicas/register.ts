/**
 * Who serves this database: a row for each replica, which it writes again every few seconds.
 *
 * Live is whoever was seen lately, by the database's time. Replicas that can talk to each other share a database; one
 * without a bus has it alone, so whoever would make it otherwise is not let in. Two that come at once are let in one
 * after the other. A row that is not written any more may be that of a crash just now: who finds it waits until it
 * moves, and is refused, or lapses, and comes in.
 *
 * A replica that was paused for so long that it was taken for dead comes in anew, under the same rule; where that is
 * refused by now, it has to stop. What it wrote meanwhile is not protected here: that is what fences are for. The dead
 * are listed for three minutes, for whoever looks for them; their rows go when the next replica enters.
 */
import { IdlewildError, messageOf, type Clock, type Random, type Timer } from '@idlewild/protocol';
import { sql } from 'kysely';
import { oneAtATime } from '../db/one-at-a-time.ts';
import type { OpenDatabase } from '../db/open.ts';
import type { DatabaseTransaction, Replicas } from '../db/schema.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';

/** One replica, as the register has it. */
export interface ReplicaStanding {
  readonly id: string;
  readonly address: string;
  readonly version: string;
  readonly hasBus: boolean;
  readonly state: Replicas['state'];
  readonly devices: number;
  readonly answers: number;
  readonly startedAtMs: number;
  /** By the database's time; and how long ago that was. */
  readonly seenAtMs: number;
  readonly seenMsAgo: number;
  readonly isLive: boolean;
  readonly isSelf: boolean;
}

export interface ReplicaFacts {
  readonly id: string;
  readonly version: string;
  readonly hasBus: boolean;
  /** Where people reach it; may become known later. */
  address(): string;
  counts(): { readonly devices: number; readonly answers: number };
}

export interface Register {
  /** Throws `conflict` where another replica and this one must not share the database; this may take 8 s to know. */
  admit(): Promise<void>;
  /** Every replica that was heard of in the last three minutes, the oldest first; read just now. */
  list(): Promise<readonly ReplicaStanding[]>;
  /** The live ones as of the last beat, this one always among them. */
  live(): readonly ReplicaStanding[];
  /** Whether others still believe this one to be alive, as far as it knows. */
  isEntered(): boolean;
  /** Told to all at once. */
  draining(): Promise<void>;
  /** How long the database takes to keep what is written there, by the last beat or the one that is under way. */
  beatMs(): number;
  /** Takes this replica out. */
  stop(): Promise<void>;
}

export interface RegisterDeps {
  readonly database: OpenDatabase;
  readonly replica: ReplicaFacts;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** It was taken for dead, and may not come back: it has to stop. */
  onRefused(error: IdlewildError): void;
}

const { replicaBeatMs: BEAT_MS, replicaLiveMs: LIVE_MS, replicaForgottenMs: FORGOTTEN_MS } = HUB_LIMITS;

type Row = Replicas & { readonly ago_ms: number };

export function createRegister(deps: RegisterDeps): Register {
  const { database, replica, clock, random, log } = deps;
  const { db, nowMs } = database;
  const startedAtMs = database.clock.now();
  let state: Replicas['state'] = 'live';
  /** By this process's clock; before it nobody takes this replica for dead. */
  let enteredUntilMs = 0;
  let known: readonly ReplicaStanding[] = [];
  let timer: Timer | undefined;
  let beating: Promise<void> | undefined;
  let stopWaiting = (): void => {};
  let failing = false;
  let stopped = false;
  let sentAtMs: number | undefined;
  let tookMs = 0;

  const standingOf = (row: Row): ReplicaStanding => ({
    id: row.id,
    address: row.address,
    version: row.version,
    hasBus: row.bus === 1,
    state: row.state,
    devices: row.devices,
    answers: row.answers,
    startedAtMs: row.started_at_ms,
    seenAtMs: row.seen_at_ms,
    seenMsAgo: Math.max(0, row.ago_ms),
    isLive: row.ago_ms < LIVE_MS,
    isSelf: row.id === replica.id,
  });
  const self = (): ReplicaStanding =>
    standingOf({ ...facts(), id: replica.id, seen_at_ms: database.clock.now(), ago_ms: 0 });
  const facts = () => ({
    address: replica.address(),
    version: replica.version,
    bus: replica.hasBus ? (1 as const) : (0 as const),
    state,
    started_at_ms: startedAtMs,
    ...replica.counts(),
  });
  const readAll = async (from: Pick<DatabaseTransaction, 'selectFrom'>): Promise<ReplicaStanding[]> => {
    const rows = await from
      .selectFrom('replicas')
      .selectAll()
      .select(sql<number>`${nowMs()} - seen_at_ms`.as('ago_ms'))
      .where('seen_at_ms', '>=', sql<number>`${nowMs()} - ${FORGOTTEN_MS}`)
      .orderBy('started_at_ms')
      .orderBy('id')
      .execute();
    return rows.map(standingOf);
  };

  /** Comes in, or tells who is in the way. */
  async function enter(): Promise<readonly ReplicaStanding[]> {
    const sentAtMs = clock.monotonic();
    const inTheWay = await db.transaction().execute(async (transaction) => {
      await oneAtATime(transaction, 'register of replicas');
      await transaction
        .deleteFrom('replicas')
        .where('seen_at_ms', '<', sql<number>`${nowMs()} - ${FORGOTTEN_MS}`)
        .execute();
      const all = await readAll(transaction);
      const others = all.filter((other) => !other.isSelf && other.isLive && !(other.hasBus && replica.hasBus));
      if (others.length > 0) return others;
      const row = { ...facts(), seen_at_ms: nowMs() };
      await transaction
        .insertInto('replicas')
        .values({ id: replica.id, ...row })
        .onConflict((on) => on.column('id').doUpdateSet(row))
        .execute();
      known = [...all.filter((other) => other.isLive && !other.isSelf), self()];
      return [];
    });
    if (inTheWay.length === 0) enteredUntilMs = sentAtMs + LIVE_MS;
    return inTheWay;
  }

  /** Until it is in; who is in the way has as long as a dead one's row takes to lapse to show that it is alive. */
  async function enterOrThrow(): Promise<void> {
    let first: ReadonlyMap<string, number> | undefined;
    for (let waitedMs = 0; !stopped; waitedMs += BEAT_MS / 2) {
      const inTheWay = await enter();
      if (inTheWay.length === 0) return;
      first ??= new Map(inTheWay.map(({ id, seenAtMs }) => [id, seenAtMs]));
      // One that came meanwhile, or was seen again since, is alive.
      const alive = inTheWay.find(({ id, seenAtMs }) => seenAtMs !== first?.get(id));
      if (alive !== undefined || waitedMs > 2 * LIVE_MS)
        throw refusal(replica.hasBus, alive ?? (inTheWay[0] as ReplicaStanding));
      if (waitedMs === 0) {
        const others = inTheWay.map(({ id, address }) => `${id} at ${address}`).join(', ');
        log.info({ others }, 'another hub has this database, or had it a moment ago; waiting to see whether it lives');
      }
      await new Promise<void>((resolve) => {
        const wait = clock.after(BEAT_MS / 2, resolve);
        stopWaiting = () => {
          wait.cancel();
          resolve();
        };
      });
    }
  }

  async function beat(): Promise<void> {
    const sentAtMs = clock.monotonic();
    const { numUpdatedRows } = await db
      .updateTable('replicas')
      .set({ ...facts(), seen_at_ms: nowMs() })
      .where('id', '=', replica.id)
      // Who was dead to others for a while may have been replaced.
      .where('seen_at_ms', '>', sql<number>`${nowMs()} - ${LIVE_MS}`)
      .executeTakeFirst();
    if (numUpdatedRows === 1n) {
      enteredUntilMs = sentAtMs + LIVE_MS;
      known = (await readAll(db)).filter(({ isLive, isSelf }) => isLive || isSelf);
      return;
    }
    if (stopped) return;
    log.warn(
      { replica: replica.id },
      'this replica was not heard of for a while and was taken for dead; it enters anew',
    );
    await enterOrThrow();
  }

  async function beatOnce(): Promise<void> {
    sentAtMs = clock.monotonic();
    try {
      await beat();
      if (failing) log.info({}, 'the register is written again');
      failing = false;
    } catch (error) {
      if ((error as Partial<IdlewildError>).code === 'conflict') {
        stopped = true;
        return deps.onRefused(error as IdlewildError);
      }
      if (!failing) log.warn({ why: messageOf(error) }, 'the register cannot be written');
      failing = true;
    } finally {
      tookMs = clock.monotonic() - sentAtMs;
      sentAtMs = undefined;
    }
  }

  function goOn(): void {
    if (stopped) return;
    timer?.cancel();
    timer = clock.after(BEAT_MS * (0.8 + 0.4 * random.unit()), () => void now());
  }

  /** One beat at a time, and the next one a while after it. */
  function now(): Promise<void> {
    beating ??= beatOnce().finally(() => {
      beating = undefined;
      goOn();
    });
    return beating;
  }

  return {
    async admit() {
      await enterOrThrow();
      goOn();
    },
    async list() {
      const all = await readAll(db);
      return all.some(({ isSelf }) => isSelf) ? all : [...all, self()];
    },
    live: () => (known.some(({ isSelf }) => isSelf) ? known : [...known, self()]),
    isEntered: () => !stopped && enteredUntilMs > clock.monotonic(),
    async draining() {
      state = 'draining';
      // One that is under way may have looked before.
      await beating;
      await now();
    },
    beatMs: () => (sentAtMs === undefined ? tookMs : clock.monotonic() - sentAtMs),
    async stop() {
      stopped = true;
      timer?.cancel();
      stopWaiting();
      await beating;
      await db
        .deleteFrom('replicas')
        .where('id', '=', replica.id)
        .execute()
        .catch((error: unknown) => log.warn({ why: messageOf(error) }, 'the register could not be told; it will see'));
    },
  };
}

/** A register for who has the database to itself: it knows one replica and writes nothing. */
export function createLoneRegister({ database, replica }: Pick<RegisterDeps, 'database' | 'replica'>): Register {
  const startedAtMs = database.clock.now();
  let state: Replicas['state'] = 'live';
  const self = (): readonly ReplicaStanding[] => [
    {
      id: replica.id,
      address: replica.address(),
      version: replica.version,
      hasBus: replica.hasBus,
      state,
      startedAtMs,
      ...replica.counts(),
      seenAtMs: database.clock.now(),
      seenMsAgo: 0,
      isLive: true,
      isSelf: true,
    },
  ];
  return {
    admit: async () => {},
    list: async () => self(),
    live: self,
    isEntered: () => true,
    async draining() {
      state = 'draining';
    },
    beatMs: () => 0,
    stop: async () => {},
  };
}

function refusal(hasBus: boolean, other: ReplicaStanding): IdlewildError {
  const who =
    `another hub uses this database: ${other.id} at ${other.address}, version ${other.version}, ` +
    `seen ${(other.seenMsAgo / 1_000).toFixed(1)} s ago`;
  const both = 'Give both the same --bus nats://…, stop the other one, or use another database';
  const why = hasBus ? 'It has no bus to talk to this one.' : 'This one has no bus to talk to it.';
  return new IdlewildError('conflict', `${who}. ${why} ${both}`, { details: { replica: other.id } });
}
