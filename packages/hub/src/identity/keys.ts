/**
 * API keys: `iw_` and 256 random bits in base32. The text is shown once; the database holds its SHA-256.
 *
 * A key that was seen lately is answered from memory. An entry older than `freshMs` is read again, so a key revoked by
 * another process stops working within that time; one revoked here stops at once. Unknown keys are never remembered:
 * guessing must not push known ones out. It knows no roles' rights; the policy does.
 */
import {
  IdlewildError,
  SECRET_PREFIXES,
  hex,
  newId,
  utf8,
  type Clock,
  type Crypto,
  type DataClass,
  type Random,
} from '@idlewild/protocol';
import { base32 } from 'multiformats/bases/base32';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction, KeyRow } from '../db/schema.ts';
import { touchPeople } from '../people/versions.ts';
import type { KeyLimits, KeyPrincipal, NoMore } from './principal.ts';

const KEY = new RegExp(`^${SECRET_PREFIXES.key}[a-z2-7]{52}$`);
const SECRET_BYTES = 32;
/** Half of the second within which a revoked key must stop working. */
const FRESH_MS = 500;
/** About 300 bytes each; beyond it the key that was unseen for longest is asked for again. */
const REMEMBERED_MAX = 4_096;
const ASK = 'ask a steward for a new one';

export interface KeyOrder {
  readonly territory: string;
  readonly role: string;
  readonly name?: string;
  readonly expiresInMs?: number;
  readonly limits?: KeyLimits;
  /** Whose own it is to be; absent: the territory's. */
  readonly person?: string | undefined;
  readonly project?: string | undefined;
  /** Of what it asks; absent: internal. */
  readonly dataClass?: DataClass | undefined;
  /** Who makes it, for the audit log. */
  readonly actor: string;
  /** Keeps the text before the key becomes valid, so that no crash leaves a key that nobody has. */
  readonly keep?: (key: string) => void;
  /** Asked in the transaction, before anything is written: what it throws is thrown, and no key is made. */
  readonly guard?: (transaction: DatabaseTransaction) => Promise<void>;
}

export interface RevokeOrder {
  readonly territory: string;
  readonly id: string;
  readonly actor: string;
  /** Stands around the act, in its transaction: what it throws is thrown, and the key works on. */
  readonly guard?: (transaction: DatabaseTransaction, act: () => Promise<void>) => Promise<void>;
}

export interface NewKey {
  readonly id: string;
  /** The only time that anyone sees it. */
  readonly key: string;
  readonly role: string;
}

export interface KeyFacts extends KeyLimits {
  readonly id: string;
  readonly role: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly expiresAtMs?: number;
  readonly revokedAtMs?: number;
  /** Whose own it is; absent: the territory's. */
  readonly person?: string;
  readonly project?: string;
  readonly dataClass: DataClass;
}

/** A limit that is not named stays as it is; `default` is what holds for every key of the territory. */
export interface LimitOrder {
  readonly territory: string;
  readonly id: string;
  readonly requestsPerMinute?: number | 'none' | 'default' | undefined;
  readonly tokensPerMinute?: number | 'none' | 'default' | undefined;
  readonly actor: string;
}

export interface Keys {
  create(order: KeyOrder): Promise<NewKey>;
  /** `key` as the caller sent it, without `Bearer`. Throws `unauthenticated`: missing, unknown, expired or revoked. */
  authenticate(key: string | undefined): Promise<KeyPrincipal>;
  /** From the next request on, here; in other processes within `FRESH_MS`. Throws `not_found`. */
  limit(order: LimitOrder): Promise<KeyFacts>;
  /** Newest first; with `person` her own. */
  list(territory: string, person?: string): Promise<KeyFacts[]>;
  /** Throws `not_found`; revoking twice is once. */
  revoke(order: RevokeOrder): Promise<void>;
}

interface Remembered {
  readonly principal: KeyPrincipal;
  readonly expiresAtMs: number;
  readonly readAtMs: number;
}

export interface KeysDeps {
  readonly db: Database;
  /** Keys of another are unknown here; absent: whichever there are. */
  readonly territory?: string | undefined;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
}

export function createKeys({ db, territory: own, crypto, random, clock, audit }: KeysDeps): Keys {
  /** By hash, in the order of their last reading. */
  const remembered = new Map<string, Remembered>();
  const hashOf = async (key: string): Promise<string> => hex(await crypto.sha256(utf8(key)));

  async function read(hash: string): Promise<KeyPrincipal> {
    remembered.delete(hash);
    const readAtMs = clock.monotonic();
    const all = db.selectFrom('keys').selectAll().where('hash', '=', hash);
    const row = await (own === undefined ? all : all.where('territory_id', '=', own)).executeTakeFirst();
    if (row === undefined) throw refused('this key is unknown here', `check that it is whole, or ${ASK}`);
    if (row.revoked_at_ms !== null)
      throw refused(`the key ${row.id} was revoked`, ASK, { keyId: row.id, person: row.person_id, reason: 'revoked' });
    const principal: KeyPrincipal = {
      kind: 'key',
      keyId: row.id,
      territory: row.territory_id,
      role: row.role,
      name: row.name,
      dataClass: row.data_class,
      ...(row.person_id === null ? {} : { person: row.person_id }),
      ...(row.project_id === null ? {} : { project: row.project_id }),
      ...limitsOf(row),
    };
    const entry = { principal, expiresAtMs: row.expires_at_ms ?? Number.POSITIVE_INFINITY, readAtMs };
    checkExpiry(entry);
    remembered.set(hash, entry);
    if (remembered.size > REMEMBERED_MAX) remembered.delete(remembered.keys().next().value as string);
    return principal;
  }

  function checkExpiry({ principal, expiresAtMs }: Remembered): void {
    if (clock.now() < expiresAtMs) return;
    const { keyId, person = null } = principal;
    const known = { keyId, person, reason: 'expired' } as const;
    throw refused(`the key ${keyId} expired at ${new Date(expiresAtMs).toISOString()}`, ASK, known);
  }

  function forget(id: string): void {
    for (const [hash, { principal }] of remembered) if (principal.keyId === id) remembered.delete(hash);
  }

  return {
    async create({
      territory,
      role,
      name = '',
      expiresInMs,
      limits = {},
      person,
      project,
      dataClass = 'internal',
      actor,
      keep,
      guard,
    }) {
      const key = `${SECRET_PREFIXES.key}${base32.baseEncode(random.bytes(SECRET_BYTES))}`;
      const id = newId('key', random);
      const nowMs = clock.now();
      const row: KeyRow = {
        id,
        territory_id: territory,
        role,
        name,
        hash: await hashOf(key),
        created_at_ms: nowMs,
        revoked_at_ms: null,
        expires_at_ms: expiresInMs === undefined ? null : nowMs + expiresInMs,
        requests_per_minute: columnOf(limits.requestsPerMinute ?? 'default'),
        tokens_per_minute: columnOf(limits.tokensPerMinute ?? 'default'),
        person_id: person ?? null,
        project_id: project ?? null,
        data_class: dataClass,
      };
      await db.transaction().execute(async (transaction) => {
        await guard?.(transaction);
        await transaction.insertInto('keys').values(row).execute();
        await touchPeople(transaction, territory);
        const details = { role, name, dataClass, ...limits, ...(person === undefined ? {} : { person }) };
        await audit.append(transaction, { territory, actor, action: 'createKey', subject: id, details });
        keep?.(key);
      });
      return { id, key, role };
    },
    async authenticate(key) {
      if (key === undefined || key === '') throw refused('no key was sent', 'send it as "Authorization: Bearer iw_…"');
      if (!KEY.test(key)) throw refused('what was sent is not a key', 'a key is iw_ and 52 letters and digits');
      const hash = await hashOf(key);
      const entry = remembered.get(hash);
      if (entry === undefined || clock.monotonic() - entry.readAtMs >= FRESH_MS) return read(hash);
      checkExpiry(entry);
      return entry.principal;
    },
    async limit({ territory, id, requestsPerMinute, tokensPerMinute, actor }) {
      const facts = await db.transaction().execute(async (transaction) => {
        const row = await transaction
          .updateTable('keys')
          .set({
            id,
            ...(requestsPerMinute === undefined ? {} : { requests_per_minute: columnOf(requestsPerMinute) }),
            ...(tokensPerMinute === undefined ? {} : { tokens_per_minute: columnOf(tokensPerMinute) }),
          })
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .returningAll()
          .executeTakeFirst();
        if (row === undefined) throw unknown(id);
        const details = {
          ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
          ...(tokensPerMinute === undefined ? {} : { tokensPerMinute }),
        };
        await audit.append(transaction, { territory, actor, action: 'limitKey', subject: id, details });
        return factsOf(row);
      });
      forget(id);
      return facts;
    },
    async list(territory, person) {
      let query = db.selectFrom('keys').selectAll().where('territory_id', '=', territory);
      if (person !== undefined) query = query.where('person_id', '=', person);
      return (await query.orderBy('created_at_ms', 'desc').orderBy('id').execute()).map(factsOf);
    },
    async revoke({ territory, id, actor, guard = (_, act) => act() }) {
      const act = async (transaction: DatabaseTransaction): Promise<void> => {
        const row = await transaction
          .selectFrom('keys')
          .select('id')
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .executeTakeFirst();
        if (row === undefined) throw unknown(id);
        // The condition is part of the update, so that of many at the same time one writes, and writes it down.
        const { numUpdatedRows } = await transaction
          .updateTable('keys')
          .set({ revoked_at_ms: clock.now() })
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .where('revoked_at_ms', 'is', null)
          .executeTakeFirst();
        if (numUpdatedRows === 0n) return;
        await touchPeople(transaction, territory);
        await audit.append(transaction, { territory, actor, action: 'revokeKey', subject: id });
      };
      await db.transaction().execute((transaction) => guard(transaction, () => act(transaction)));
      forget(id);
    },
  };
}

/** A key that is known, for the audit log. */
interface KnownKey {
  readonly keyId: string;
  readonly person: string | null;
  readonly reason: NoMore;
}

const refused = (seen: string, remedy: string, known?: KnownKey): IdlewildError =>
  new IdlewildError('unauthenticated', `${seen}; ${remedy}`, known === undefined ? {} : { details: { ...known } });

const unknown = (id: string): IdlewildError =>
  new IdlewildError('not_found', `there is no key ${id} in this territory`);

/** A limit as its column holds it. */
const columnOf = (limit: number | 'none' | 'default'): number | null =>
  limit === 'default' ? null : limit === 'none' ? 0 : limit;

function limitsOf(row: Pick<KeyRow, 'requests_per_minute' | 'tokens_per_minute'>): KeyLimits {
  const limit = (column: number): number | 'none' => (column === 0 ? 'none' : column);
  return {
    ...(row.requests_per_minute === null ? {} : { requestsPerMinute: limit(row.requests_per_minute) }),
    ...(row.tokens_per_minute === null ? {} : { tokensPerMinute: limit(row.tokens_per_minute) }),
  };
}

const factsOf = (row: KeyRow): KeyFacts => ({
  id: row.id,
  role: row.role,
  name: row.name,
  createdAtMs: row.created_at_ms,
  ...(row.expires_at_ms === null ? {} : { expiresAtMs: row.expires_at_ms }),
  ...(row.revoked_at_ms === null ? {} : { revokedAtMs: row.revoked_at_ms }),
  ...(row.person_id === null ? {} : { person: row.person_id }),
  ...(row.project_id === null ? {} : { project: row.project_id }),
  dataClass: row.data_class,
  ...limitsOf(row),
});
