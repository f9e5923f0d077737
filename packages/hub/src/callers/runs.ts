/**
 * Runs: requests under an Idempotency-Key that are being carried out, as the database has them, so that every replica
 * knows of each and one at a time owns it.
 *
 *   begun (epoch 1) ──► ended: its row goes, and its kept answer comes, in one transaction
 *       └──► taken over (epoch + 1, another owner) ──► …
 *
 * What an owner of an older epoch ends changes nothing. A row's id is a keyed hash of who asked under which name, and
 * its fingerprint a keyed hash of what was asked, so that neither tells anything to who reads the database. Everything
 * in an answer that is drawn at random or read from a clock comes from the run, and so is the same on every replica.
 */
import { IdlewildError, concat, equalBytes, utf8, type Clock, type Crypto } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { OpenDatabase } from '../db/open.ts';
import type { DatabaseTransaction } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { HUB_LIMITS } from '../limits.ts';

export interface Run {
  readonly territory: string;
  readonly id: string;
  /** Names the request in its answer, on whichever replica it is made. */
  readonly requestId: string;
  /** Of its owner. */
  readonly epoch: number;
  /** Whether another owner may have begun it. */
  readonly isResumed: boolean;
  readonly createdAtMs: number;
  /** For answers whose caller gave none. */
  readonly seed: number;
}

/** A run that has an owner already. */
export interface HeldRun {
  readonly territory: string;
  readonly id: string;
  readonly requestId: string;
  readonly owner: string;
  readonly epoch: number;
}

export interface RunOrder {
  readonly territory: string;
  /** The caller's key. */
  readonly key: string;
  /** The kept answer's. */
  readonly id: string;
  readonly asked: Uint8Array;
  /** What the run's is to be when it is new. */
  readonly requestId: string;
}

export type Begun = { readonly run: Run } | { readonly held: HeldRun };

export interface Runs {
  /** Begins it, unless it has begun. Throws `idempotency_conflict` where something else was asked. */
  begin(order: RunOrder): Promise<Begun>;
  /** Without beginning it. Throws `idempotency_conflict`. */
  find(order: Omit<RunOrder, 'requestId'>): Promise<HeldRun | undefined>;
  /** Who owns it, whatever was asked. */
  holder(territory: string, id: string): Promise<HeldRun | undefined>;
  /** `undefined` when it has ended, or another was faster. */
  takeOver(held: HeldRun): Promise<Run | undefined>;
  /**
   * In one transaction forgets it, with what is journalled of it, and does what is to `keep` of it. Throws
   * `run_taken_over`, and nothing has changed.
   */
  end(run: Run, keep?: (transaction: DatabaseTransaction) => Promise<void>): Promise<void>;
  /** Whether the database says that a replica is not alive; for when nobody can be asked. */
  isGone(replica: string): Promise<boolean>;
  /**
   * Forgets runs whose owner has been gone for `repeatGraceMs` and to which nobody came back, and what no answer can
   * still be at. To be called from time to time by one replica; its requests are the journal's to close.
   */
  expire(transaction: DatabaseTransaction): Promise<readonly { readonly territory: string; readonly id: string }[]>;
}

export interface RunsDeps {
  readonly database: Pick<OpenDatabase, 'db' | 'nowMs'>;
  /** Whose runs are forgotten. */
  readonly territory: string;
  readonly crypto: Crypto;
  /** For how long ago something was seen. */
  readonly clock: Clock;
  /** The journal's, 32 bytes. */
  readonly key: Uint8Array;
  /** This replica's id. */
  readonly owner: string;
  /** Erases what the journal has of a run. */
  readonly eraseRun: (transaction: DatabaseTransaction, territory: string, id: string) => Promise<void>;
}

export const conflict = (): IdlewildError =>
  new IdlewildError(
    'idempotency_conflict',
    'this Idempotency-Key was used for another request already; take a new one for each request',
    { details: { param: 'Idempotency-Key' } },
  );

export function createRuns({ database, territory: own, crypto, clock, key, owner, eraseRun }: RunsDeps): Runs {
  const { db, nowMs } = database;
  const keyed = async (use: string, bytes: Uint8Array): Promise<Uint8Array> => {
    const derived = await crypto.sha256(concat([utf8(`idlewild/v1/runs/${use}\n`), key]));
    // Twice, for a hash over a secret and what others choose can be lengthened.
    return crypto.sha256(concat([derived, await crypto.sha256(concat([derived, bytes]))]));
  };
  const seedOf = async (requestId: string): Promise<number> => {
    const bytes = await keyed('seed', utf8(requestId));
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) >>> 1;
  };
  /** When each run was first seen without a living owner, by epoch. */
  const orphans = new Map<string, { readonly epoch: number; readonly sinceMs: number }>();

  async function find(order: Omit<RunOrder, 'requestId'>): Promise<HeldRun | undefined> {
    const { territory, id } = order;
    const row = await db
      .selectFrom('runs')
      .select(['owner', 'epoch', 'fingerprint', 'request_id'])
      .where('territory_id', '=', territory)
      .where('id', '=', id)
      .executeTakeFirst();
    if (row === undefined) return undefined;
    if (!equalBytes(row.fingerprint, await keyed('asked', order.asked))) throw conflict();
    return { territory, id, requestId: row.request_id, owner: row.owner, epoch: row.epoch };
  }

  /** Runs without a living owner, and those that are too old to be anybody's. */
  function lost(transaction: DatabaseTransaction) {
    const ago = (ms: number) => sql<number>`${nowMs()} - ${sql.lit(ms)}`;
    const isOld = sql<0 | 1>`case when runs.created_at_ms < ${ago(HUB_LIMITS.runMsMax)} then 1 else 0 end`;
    return (
      transaction
        .selectFrom('runs')
        .leftJoin('replicas', (join) =>
          join.onRef('replicas.id', '=', 'runs.owner').on('replicas.seen_at_ms', '>', ago(HUB_LIMITS.replicaLiveMs)),
        )
        .select(['runs.territory_id', 'runs.id', 'runs.epoch', isOld.as('isOld')])
        .where('runs.territory_id', '=', own)
        // This replica lives, whatever the register has.
        .where(({ and, or, eb }) =>
          or([and([eb('replicas.id', 'is', null), eb('runs.owner', '!=', owner)]), eb(isOld, '=', 1)]),
        )
        .orderBy('runs.created_at_ms')
        .limit(HUB_LIMITS.runsExpiredMax)
        .execute()
    );
  }

  return {
    find,
    async begin(order) {
      const { territory, id, requestId } = order;
      const fingerprint = await keyed('asked', order.asked);
      const row = { territory_id: territory, id, key_id: order.key, fingerprint, request_id: requestId, owner };
      for (let tries = 0; tries < TRIES_MAX; tries++) {
        const begun = await db
          .insertInto('runs')
          .values({ ...row, epoch: 1, created_at_ms: nowMs() })
          .onConflict((on) => on.columns(['territory_id', 'id']).doNothing())
          .returning('created_at_ms')
          .executeTakeFirst();
        if (begun !== undefined) {
          const seed = await seedOf(requestId);
          const createdAtMs = begun.created_at_ms;
          return { run: { territory, id, requestId, epoch: 1, isResumed: false, createdAtMs, seed } };
        }
        const held = await find(order);
        // Else it has ended in between, and is begun anew.
        if (held !== undefined) return { held };
      }
      throw changing();
    },
    async holder(territory, id) {
      const row = await db
        .selectFrom('runs')
        .select(['owner', 'epoch', 'request_id as requestId'])
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .executeTakeFirst();
      return row === undefined ? undefined : { territory, id, ...row };
    },
    async takeOver({ territory, id, requestId, epoch }) {
      const row = await db
        .updateTable('runs')
        .set({ owner, epoch: epoch + 1 })
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .where('epoch', '=', epoch)
        .returning('created_at_ms')
        .executeTakeFirst();
      if (row === undefined) return undefined;
      const seed = await seedOf(requestId);
      return { territory, id, requestId, epoch: epoch + 1, isResumed: true, createdAtMs: row.created_at_ms, seed };
    },
    async end({ territory, id, epoch }, keep) {
      await transact(db, async (transaction) => {
        const { numDeletedRows } = await transaction
          .deleteFrom('runs')
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .where('epoch', '=', epoch)
          .where('owner', '=', owner)
          .executeTakeFirstOrThrow();
        if (numDeletedRows === 0n)
          throw new IdlewildError('run_taken_over', `the run ${id} is another replica's by now; nothing was changed`);
        await eraseRun(transaction, territory, id);
        await keep?.(transaction);
      });
    },
    async isGone(replica) {
      const live = await db
        .selectFrom('replicas')
        .select('id')
        .where('id', '=', replica)
        .where('seen_at_ms', '>', sql<number>`${nowMs()} - ${sql.lit(HUB_LIMITS.replicaLiveMs)}`)
        .executeTakeFirst();
      return live === undefined;
    },
    async expire(transaction) {
      const candidates = await lost(transaction);
      const nowMonotonicMs = clock.monotonic();
      const seen = new Map(orphans);
      orphans.clear();
      const expired: { territory: string; id: string }[] = [];
      for (const { territory_id: territory, id, epoch, isOld } of candidates) {
        const name = `${territory} ${id}`;
        const before = seen.get(name);
        const sinceMs = before?.epoch === epoch ? before.sinceMs : nowMonotonicMs;
        if (isOld === 0 && nowMonotonicMs - sinceMs < HUB_LIMITS.repeatGraceMs) {
          orphans.set(name, { epoch, sinceMs });
          continue;
        }
        const { numDeletedRows } = await transaction
          .deleteFrom('runs')
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .where('epoch', '=', epoch)
          .executeTakeFirstOrThrow();
        if (numDeletedRows === 0n) continue;
        await eraseRun(transaction, territory, id);
        expired.push({ territory, id });
      }
      return expired;
    },
  };
}

/** Each one means that somebody else made progress in between. */
const TRIES_MAX = 8;
export const changing = (): IdlewildError =>
  new IdlewildError('too_busy', 'this Idempotency-Key is asked under from everywhere at once; try again in a moment', {
    details: { retryAfterSeconds: 1 },
  });
