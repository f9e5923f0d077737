/**
 * What one replica at a time does for all: a lease for each duty, in the table `duties`.
 *
 * A duty is taken and renewed by one conditional statement, judged by the database's time; its epoch grows with every
 * new holder. Who holds it believes so only until its last renewal is as old as the lease, by its own monotonic clock:
 * no two clocks are ever compared. That is still a belief, since a process may be stopped between looking and acting,
 * and a monotonic clock may stand still while a laptop sleeps. What must not be done twice goes through `fenced`, where
 * the row of the duty is locked, and seen to be one's own, before anything else is.
 *
 * A process that has the database to itself (`exclusive`) takes its duties over at once and writes no more about it: an
 * idle laptop's disk stays asleep.
 */
import { IdlewildError, messageOf, type Clock, type Random, type Timer } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { OpenDatabase } from '../db/open.ts';
import type { DatabaseTransaction } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { Duty } from './port.ts';

export interface Duties {
  /** The same one for the same name; from now on this replica is ready to have it. */
  duty(name: string): Duty;
  /** Resolves when every duty that was asked for so far has been tried for once. */
  settled(): Promise<void>;
  /** Gives back what is held, so that others need not wait for it. */
  stop(): Promise<void>;
}

export interface DutiesDeps {
  readonly database: OpenDatabase;
  readonly replica: { readonly id: string };
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Nobody else has this database: what a holder before did not give back is taken at once. */
  readonly exclusive?: boolean;
  /** Duties of one of the hub's further territories; absent: those of its first. */
  readonly territory?: string | undefined;
}

interface Held {
  /** As the table has it. */
  readonly name: string;
  epoch: number;
  /** By this process's clock; 0 is not held. */
  untilMs: number;
  /** What listeners were told last. */
  told: boolean;
  /** Transactions that hold the row just now; a renewal would wait for them, and they renewed it themselves. */
  acting: number;
  readonly listeners: ((isMine: boolean) => void)[];
}

const { dutyLeaseMs: LEASE_MS, dutyRenewMs: RENEW_MS } = HUB_LIMITS;

export function createDuties({
  database,
  replica,
  clock,
  random,
  log,
  exclusive = false,
  territory,
}: DutiesDeps): Duties {
  const { db, nowMs } = database;
  const rowOf = (name: string): string => (territory === undefined ? name : `${territory}/${name}`);
  const all = new Map<string, Held>();
  const duties = new Map<string, Duty>();
  let next: Timer | undefined;
  let lapse: Timer | undefined;
  let round: Promise<void> | undefined;
  let asked = false;
  let failing = false;
  let stopped = false;

  const isMine = (held: Held): boolean => !stopped && held.untilMs > clock.monotonic();
  const heldFor = (sentAtMs: number): number => (exclusive ? Number.POSITIVE_INFINITY : sentAtMs + LEASE_MS);

  /** Tells who waits for it, and is called again when what is held would lapse. */
  function tell(): void {
    for (const held of all.values()) {
      const mine = isMine(held);
      if (mine === held.told) continue;
      held.told = mine;
      log.info({ duty: held.name, epoch: held.epoch }, mine ? 'this replica has a duty' : 'a duty is no longer ours');
      for (const listener of held.listeners) listener(mine);
    }
    lapse?.cancel();
    const ends = [...all.values()].filter(isMine).map(({ untilMs }) => untilMs);
    const first = Math.min(...ends);
    lapse = Number.isFinite(first) ? clock.after(first - clock.monotonic(), tell) : undefined;
  }

  /** Takes what is free or was left by its holder, and keeps what is one's own: one statement, whoever else tries. */
  async function take(held: Held): Promise<void> {
    const sentAtMs = clock.monotonic();
    const expires = sql<number>`${nowMs()} + ${LEASE_MS}`;
    const row = await db
      .insertInto('duties')
      .values({ name: held.name, holder: replica.id, epoch: 1, expires_at_ms: expires })
      .onConflict((on) =>
        on
          .column('name')
          .doUpdateSet({
            holder: replica.id,
            epoch: sql<number>`duties.epoch + case when duties.holder = ${replica.id} then 0 else 1 end`,
            expires_at_ms: expires,
          })
          .where((row) =>
            row.or([
              row('duties.holder', '=', replica.id),
              row('duties.expires_at_ms', '<=', nowMs()),
              ...(exclusive ? [sql<boolean>`1 = 1`] : []),
            ]),
          ),
      )
      .returning('epoch')
      .executeTakeFirst();
    held.untilMs = row === undefined ? 0 : heldFor(sentAtMs);
    if (row !== undefined) held.epoch = row.epoch;
  }

  /** Whose each duty is. A look costs the database nothing; a conditional write that changes nothing still locks. */
  async function look(): Promise<void> {
    const idle = [...all.values()].filter(({ acting }) => acting === 0);
    if (idle.length === 0) return;
    const names = idle.map(({ name }) => name);
    const rows = await db
      .selectFrom('duties')
      .select(['name', 'holder', sql<number>`expires_at_ms - ${nowMs()}`.as('left_ms')])
      .where('name', 'in', names)
      .execute();
    const byName = new Map(rows.map((row) => [row.name, row]));
    for (const held of idle) {
      const row = byName.get(held.name);
      const isOthers = row !== undefined && row.holder !== replica.id && row.left_ms > 0 && !exclusive;
      if (isOthers) held.untilMs = 0;
      else if (held.acting === 0 && held.untilMs !== Number.POSITIVE_INFINITY) await take(held);
      if (stopped) return;
    }
  }

  async function lookUntilDone(): Promise<void> {
    while (asked && !stopped) {
      asked = false;
      try {
        await look();
        if (failing) log.info({}, 'duties are looked after again');
        failing = false;
      } catch (error) {
        if (!failing) log.warn({ why: messageOf(error) }, 'duties cannot be looked after; they lapse meanwhile');
        failing = true;
      }
      tell();
    }
    round = undefined;
    if (stopped || (exclusive && !failing)) return;
    next?.cancel();
    next = clock.after(RENEW_MS * (0.8 + 0.4 * random.unit()), ask);
  }

  function ask(): void {
    asked = true;
    if (!stopped) round ??= lookUntilDone();
  }

  async function lock(held: Held, transaction: DatabaseTransaction): Promise<number> {
    const { name, epoch } = held;
    const sentAtMs = clock.monotonic();
    // Renewing is locking; a renewal beside this transaction would wait for it. Nobody's epoch is 0.
    const { numUpdatedRows } = await transaction
      .updateTable('duties')
      .set({ expires_at_ms: sql<number>`${nowMs()} + ${LEASE_MS}` })
      .where('name', '=', name)
      .where('holder', '=', replica.id)
      .where('epoch', '=', epoch)
      .executeTakeFirst();
    if (stopped || numUpdatedRows !== 1n) {
      held.untilMs = 0;
      throw new IdlewildError(
        'duty_lost',
        `the duty "${name}" is another replica's, or nobody's, by now (this one last had epoch ${epoch} of it); ` +
          'nothing was changed',
      );
    }
    return sentAtMs;
  }

  async function fenced<Result>(
    held: Held,
    act: (transaction: DatabaseTransaction) => Promise<Result>,
  ): Promise<Result> {
    held.acting++;
    try {
      let lockedAtMs = 0;
      const result = await transact(db, async (transaction) => {
        lockedAtMs = await lock(held, transaction);
        return act(transaction);
      });
      held.untilMs = Math.max(held.untilMs, heldFor(lockedAtMs));
      return result;
    } finally {
      held.acting--;
      tell();
    }
  }

  function create(name: string): Duty {
    const held: Held = { name: rowOf(name), epoch: 0, untilMs: 0, told: false, acting: 0, listeners: [] };
    all.set(held.name, held);
    // The one who asks also sets its listeners first.
    void Promise.resolve().then(ask);
    return {
      isMine: () => isMine(held),
      epoch: () => held.epoch,
      fenced: (act) => fenced(held, act),
      onChange: (listener) => void held.listeners.push(listener),
    };
  }

  return {
    duty(name) {
      const known = duties.get(name) ?? create(name);
      duties.set(name, known);
      return known;
    },
    async settled() {
      await Promise.resolve();
      while (round !== undefined) await round;
    },
    async stop() {
      if (stopped) return;
      const mine = [...all.values()].filter(isMine);
      stopped = true;
      next?.cancel();
      await round;
      tell();
      if (mine.length === 0) return;
      await db
        .updateTable('duties')
        .set({ expires_at_ms: 0 })
        .where('holder', '=', replica.id)
        // The same replica has those of other territories, too.
        .where(
          'name',
          'in',
          mine.map(({ name }) => name),
        )
        .execute()
        .catch((error: unknown) => log.warn({ why: messageOf(error) }, 'duties could not be given back; they lapse'));
    },
  };
}
