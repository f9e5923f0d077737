/**
 * Heads of a territory's audit log: what its hub signs, so that nobody can rewrite the log afterwards, nor the hub.
 *
 * One replica at a time signs, under a duty: every few seconds when something was added, and when it stops. The head is
 * made and written in one transaction that holds the duty's row, so whoever lost the duty writes nothing. Before it
 * signs, a hub looks whether the log still has the root that it signed last, and whether what came since is an unbroken
 * chain; if not it signs nothing more and says so, for a head over a log that was changed would vouch for the change.
 *
 * `epoch` of a head counts its writers. It goes on from the last head in the log, not from the duty, which begins anew
 * where a territory is moved or restored to.
 */
import {
  IdlewildError,
  codeOf,
  equalBytes,
  messageOf,
  signAuditHead,
  treeRoot,
  type Clock,
  type Crypto,
  type KeyPair,
  type PlacedHead,
  type Timer,
} from '@idlewild/protocol';
import { sql } from 'kysely';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { Certificate } from '../identity/territory.ts';
import type { Log } from '../log.ts';
import type { Duty } from '../replicas/port.ts';
import { checkChain, lastSeq } from './chain.ts';
import { AUDIT_LIMITS } from './limits.ts';
import { keepNodes, subtreesOf } from './tree.ts';

export interface StoredHead extends PlacedHead {
  readonly root: Uint8Array;
  readonly epoch: number;
  readonly atMs: number;
}

export interface AuditHeads {
  newest(): Promise<StoredHead | undefined>;
  /** All that are kept, ascending by size. */
  list(): Promise<PlacedHead[]>;
  /** Signs a head now if this replica has the duty and something was added; resolves with what it vouches for. */
  write(): Promise<number | undefined>;
  /** Why this hub signs no more heads; `undefined` while all is well, or another replica signs. */
  fault(): string | undefined;
  /** Signs a last one. */
  stop(): Promise<void>;
}

export interface AuditHeadsDeps {
  readonly db: Database;
  /** Of the database: people read the times of heads. */
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly log: Log;
  readonly duty: Duty;
  readonly territory: { readonly id: string; readonly publicKey: Uint8Array };
  readonly hubKey: KeyPair;
  readonly certificate: Certificate;
}

export function createAuditHeads(deps: AuditHeadsDeps): AuditHeads {
  const { db, clock, log, duty, territory } = deps;
  /** The epoch that this process signs under, while it has the duty under that epoch of its own. */
  let held: { readonly duty: number; readonly epoch: number } | undefined;
  let fault: string | undefined;
  let isWaiting = false;
  let writing: Promise<number | undefined> | undefined;
  let timer: Timer | undefined;
  let stopped = false;
  /** There was more than one head takes. */
  let isBehind = false;

  async function write(): Promise<number | undefined> {
    isBehind = false;
    if (!duty.isMine()) return undefined;
    const seen = await newestHead(db, territory.id);
    if ((seen?.size ?? 0) === (await lastSeq(db, territory.id))) return undefined;
    // Before the transaction: to renew it may take a turn of its own.
    const certificate = await deps.certificate();
    const signed = await duty.fenced(async (transaction) => {
      const before = await newestHead(transaction, territory.id);
      const epoch = held?.duty === duty.epoch() ? held.epoch : (before?.epoch ?? 0) + 1;
      const size = await signNext({ ...deps, certificate }, transaction, before, epoch);
      return { size, epoch, added: size - (before?.size ?? 0) };
    });
    held = { duty: duty.epoch(), epoch: signed.epoch };
    isBehind = signed.added === AUDIT_LIMITS.headEntriesMax;
    fault = undefined;
    isWaiting = false;
    return signed.size;
  }

  /** One at a time; a fault is said once, not every few seconds. */
  function writeOnce(): Promise<number | undefined> {
    writing ??= write()
      .catch((error: unknown) => {
        const [code, why] = [codeOf(error), messageOf(error)];
        // Another replica signs: nothing was changed, and nothing is wrong.
        if (code === 'duty_lost') return undefined;
        if (code === 'audit_broken' || code === 'data_corrupt') {
          if (fault !== why) log.error({ territory: territory.id, why }, 'no head of the audit log could be signed');
          fault = why;
        } else {
          // A database that is away says nothing about the log.
          if (!isWaiting) log.warn({ territory: territory.id, why }, 'a head of the audit log waits to be signed');
          isWaiting = true;
        }
        return undefined;
      })
      .finally(() => {
        writing = undefined;
      });
    return writing;
  }

  function round(): void {
    void writeOnce().then(() => {
      if (!stopped) timer = clock.after(isBehind ? AUDIT_LIMITS.headNextMs : AUDIT_LIMITS.headMs, round);
    });
  }
  timer = clock.after(AUDIT_LIMITS.headMs, round);

  return {
    newest: () => newestHead(db, territory.id),
    async list() {
      const rows = await db
        .selectFrom('audit_heads')
        .select(['size', 'statement', 'certificate'])
        .where('territory_id', '=', territory.id)
        .orderBy('size')
        .execute();
      return rows;
    },
    write: writeOnce,
    fault: () => fault,
    async stop() {
      stopped = true;
      timer?.cancel();
      await writing;
      await writeOnce();
    },
  };
}

async function newestHead(db: Database, territory: string): Promise<StoredHead | undefined> {
  const row = await db
    .selectFrom('audit_heads')
    .selectAll()
    .where('territory_id', '=', territory)
    .orderBy('size', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row && { ...row, atMs: row.at_ms };
}

type Signing = Omit<AuditHeadsDeps, 'certificate'> & { readonly certificate: Uint8Array };

async function signNext(
  { clock, crypto, territory, hubKey, certificate }: Signing,
  transaction: DatabaseTransaction,
  before: StoredHead | undefined,
  epoch: number,
): Promise<number> {
  const from = before?.size ?? 0;
  const size = Math.min(await lastSeq(transaction, territory.id), from + AUDIT_LIMITS.headEntriesMax);
  const tree = { db: transaction, territory: territory.id, crypto };
  const read = subtreesOf(tree);
  if (before !== undefined && (size < from || !equalBytes(await treeRoot(from, read, crypto), before.root))) {
    throw broken(`its first ${from} entries are not those that were signed at ${new Date(before.atMs).toISOString()}`);
  }
  if (size === from) return from;
  const chain = await checkChain(transaction, crypto, territory.id, { afterSeq: from, toSeq: size });
  if (!chain.intact) throw broken(chain.why);
  await keepNodes(tree, from, size);
  const root = await treeRoot(size, read, crypto);
  const atMs = clock.now();
  const head = { territory: territory.publicKey, size, root, lastHash: chain.lastHash, atMs, epoch };
  const statement = await signAuditHead(head, hubKey, crypto);
  await transaction
    .insertInto('audit_heads')
    .values({ territory_id: territory.id, size, root, epoch, at_ms: atMs, statement, certificate })
    .execute();
  await thin(transaction, territory.id, before?.atMs ?? atMs, atMs);
  return size;
}

/** Once an hour at most: of old ones the last of each hour stays, and of the older ones the last of each day. */
async function thin(transaction: DatabaseTransaction, territory: string, lastMs: number, nowMs: number): Promise<void> {
  for (const { afterMs, everyMs } of AUDIT_LIMITS.headsThinned) {
    const until = (ms: number): number => Math.floor((ms - afterMs) / everyMs) * everyMs;
    if (until(lastMs) === until(nowMs)) continue;
    const old = transaction
      .selectFrom('audit_heads')
      .where('territory_id', '=', territory)
      .where('at_ms', '<', until(nowMs));
    await transaction
      .deleteFrom('audit_heads')
      .where('territory_id', '=', territory)
      .where('at_ms', '<', until(nowMs))
      .where(
        'size',
        'not in',
        old.select(({ fn }) => fn.max('size').as('size')).groupBy(sql`at_ms / ${sql.lit(everyMs)}`),
      )
      .execute();
  }
}

const broken = (why: string): IdlewildError =>
  new IdlewildError(
    'audit_broken',
    `the audit log was changed in the database: ${why}. No more heads are signed over it; ` +
      '`idlewild audit verify` says what is wrong, and a backup has it as it was',
  );
