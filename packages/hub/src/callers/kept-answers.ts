/**
 * Answers that are over, kept for a while so that their callers may ask for them again: sealed, and then erased.
 *
 * Neither Idempotency-Keys nor bodies nor answers are in the database in the clear: a row's id is a keyed hash, and the
 * rest is sealed with the id bound in, so that no row passes for another. The key is derived from the journal's. The
 * database overwrites what is deleted.
 */
import {
  bytesSchema,
  concat,
  decodeCbor,
  encodeCbor,
  hex,
  messageOf,
  utf8,
  type Clock,
  type Crypto,
  type Random,
} from '@idlewild/protocol';
import { z } from 'zod';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';

export interface KeptAnswer {
  /** The run's, which is in the answer; a hub of before did not keep it. */
  readonly requestId?: string | undefined;
  /** SHA-256 of what was asked. */
  readonly fingerprint: Uint8Array;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** Whose it is. */
export interface KeptName {
  readonly territory: string;
  /** Id of the caller's key. */
  readonly key: string;
  /** As the caller wrote it. */
  readonly idempotencyKey: string;
}

export interface KeptAnswers {
  /** SHA-256. */
  fingerprintOf(asked: Uint8Array): Promise<Uint8Array>;
  /** Names a row; the same for the same name, and nobody without the key can tell it. */
  idOf(name: KeptName): Promise<string>;
  get(territory: string, id: string): Promise<KeptAnswer | undefined>;
  /** Keeps it, and erases the oldest of the same caller's key while they are too many bytes. */
  put(transaction: DatabaseTransaction, name: KeptName, id: string, answer: KeptAnswer): Promise<void>;
  /** Erases what is past its time. */
  expire(): Promise<void>;
}

export interface KeptAnswersDeps {
  readonly db: Database;
  /** Whose answers are erased in time. */
  readonly territory: string;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  /** The journal's, 32 bytes. */
  readonly key: Uint8Array;
  readonly log: Log;
}

const NONCE_BYTES = 12;
const recordSchema = z.object({
  requestId: z.string().optional(),
  fingerprint: bytesSchema,
  status: z.int(),
  headers: z.record(z.string(), z.string()),
  body: bytesSchema,
});

export function createKeptAnswers({
  db,
  territory: own,
  crypto,
  random,
  clock,
  key,
  log,
}: KeptAnswersDeps): KeptAnswers {
  const derived = async (use: string): Promise<Uint8Array> =>
    crypto.sha256(concat([utf8(`idlewild/v1/kept-answers/${use}\n`), key]));
  const sealing = derived('seal');
  const naming = derived('name');
  // Whoever uses them sees the failure.
  for (const promise of [sealing, naming]) promise.catch(() => {});
  const bound = (territory: string, id: string): Uint8Array => utf8(`idlewild/v1/kept-answer\n${territory}\n${id}`);

  return {
    fingerprintOf: async (asked) => crypto.sha256(asked),
    async idOf({ territory, key: caller, idempotencyKey }) {
      const name = encodeCbor([territory, caller, idempotencyKey]);
      return hex(await crypto.sha256(concat([await naming, name])));
    },
    async get(territory, id) {
      const row = await db
        .selectFrom('kept_answers')
        .select('sealed')
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .where('expires_at_ms', '>', clock.now())
        .executeTakeFirst();
      if (row === undefined) return undefined;
      const [nonce, sealed] = [row.sealed.subarray(0, NONCE_BYTES), row.sealed.subarray(NONCE_BYTES)];
      try {
        const plain = await crypto.open(await sealing, nonce, sealed, bound(territory, id));
        return recordSchema.parse(decodeCbor(plain, 'a kept answer'));
      } catch (error) {
        // Asked anew it costs a little; refused it could never be asked again.
        log.error({ why: messageOf(error) }, 'a kept answer could not be opened');
        return undefined;
      }
    },
    async put(transaction, { territory, key: caller }, id, answer) {
      const nonce = random.bytes(NONCE_BYTES);
      const sealed = concat([
        nonce,
        await crypto.seal(await sealing, nonce, encodeCbor({ ...answer }), bound(territory, id)),
      ]);
      const nowMs = clock.now();
      const row = {
        sealed,
        bytes: sealed.length,
        created_at_ms: nowMs,
        expires_at_ms: nowMs + HUB_LIMITS.keptAnswerMs,
      };
      await transaction
        .insertInto('kept_answers')
        .values({ territory_id: territory, id, key_id: caller, ...row })
        .onConflict((on) => on.columns(['territory_id', 'id']).doUpdateSet(row))
        .execute();
      const kept = await transaction
        .selectFrom('kept_answers')
        .select(['id', 'bytes'])
        .where('territory_id', '=', territory)
        .where('key_id', '=', caller)
        .orderBy('created_at_ms', 'desc')
        .orderBy('id')
        .execute();
      const surplus = beyond(kept.toSorted((a, b) => Number(b.id === id) - Number(a.id === id)));
      if (surplus.length === 0) return;
      await transaction
        .deleteFrom('kept_answers')
        .where('territory_id', '=', territory)
        .where('id', 'in', surplus)
        .execute();
    },
    async expire() {
      const old = db.deleteFrom('kept_answers').where('territory_id', '=', own);
      await old.where('expires_at_ms', '<=', clock.now()).execute();
    },
  };
}

/** Ids from where the sum of bytes is too large, or the rows are too many; newest first. */
function beyond(kept: readonly { readonly id: string; readonly bytes: number }[]): string[] {
  let sum = 0;
  return kept
    .filter((row, index) => {
      sum += row.bytes;
      return sum > HUB_LIMITS.keptBytesPerKeyMax || index >= HUB_LIMITS.keptAnswersPerKeyMax;
    })
    .map(({ id }) => id);
}
