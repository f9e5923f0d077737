/**
 * Communities that whoever runs the hub makes on it, closes and opens again.
 *
 * It is for stewards of the first territory, and gives them no power within another: a new community's steward key is
 * shown to them once, to be handed on, and again only where no steward of it has a key that works. Every act is in the
 * audit log of the first territory, and what touches a community in its own.
 */
import { IdlewildError, type Clock, type Crypto, type Random } from '@idlewild/protocol';
import type { Selectable } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import { oneAtATime } from '../db/one-at-a-time.ts';
import type { Database, DatabaseTransaction, Territories } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { firstStewardKey } from '../identity/first-steward.ts';
import { secretsOf, type Secrets } from '../identity/secrets.ts';
import { checkTerritoryName } from '../identity/territory-name.ts';
import { insertTerritory, makeTerritoryKey } from '../identity/territory.ts';
import type { House, Served } from './house.ts';
import { HOUSE_LIMITS } from './limits.ts';

export interface HostedFacts {
  readonly id: string;
  readonly name: string;
  /** Ed25519; what devices and callers pin. */
  readonly publicKey: Uint8Array;
  readonly createdAtMs: number;
  readonly closedAtMs?: number;
  /** It belongs to whoever runs the hub. */
  readonly isFirst: boolean;
  /** Whether this replica serves it. */
  readonly isServed: boolean;
}

export interface Opened extends HostedFacts {
  /** Where no steward of it had a key that works: the only time that anyone sees it. */
  readonly stewardKey?: string;
}

export interface Hosting {
  /** The first one first, then by age. */
  list(): Promise<HostedFacts[]>;
  /** Throws `not_found`. */
  show(id: string): Promise<HostedFacts>;
  /** Throws `invalid_request` for what is no name, `conflict` for a name that is taken or too many communities. */
  create(order: { readonly name: string; readonly actor: string }): Promise<Opened>;
  /** Nothing of it is served any more, on any replica; its rows stay. Throws `not_found`, `conflict` for the first. */
  close(order: { readonly id: string; readonly actor: string }): Promise<HostedFacts>;
  /** Serves it again; one that is open may need a steward. Throws `not_found`. */
  open(order: { readonly id: string; readonly actor: string }): Promise<Opened>;
}

export interface HostingDeps {
  readonly db: Database;
  readonly house: House<Served>;
  /** Of the whole process. */
  readonly secrets: Secrets;
  readonly crypto: Crypto;
  readonly random: Random;
  /** The database's. */
  readonly clock: Clock;
  readonly audit: Audit;
}

type Row = Selectable<Territories>;

export function createHosting({ db, house, secrets, crypto, random, clock, audit }: HostingDeps): Hosting {
  const first = house.first.hub.territory.id;

  const factsOf = (row: Row): HostedFacts => ({
    id: row.id,
    name: row.name,
    publicKey: row.public_key,
    createdAtMs: row.created_at_ms,
    ...(row.closed_at_ms === null ? {} : { closedAtMs: row.closed_at_ms }),
    isFirst: row.id === first,
    isServed: house.get(row.id) !== undefined,
  });

  async function rowOf(from: Database, id: string): Promise<Row> {
    const row = await from.selectFrom('territories').selectAll().where('id', '=', id).executeTakeFirst();
    if (row === undefined) throw new IdlewildError('not_found', `there is no community ${id} on this hub`);
    return row;
  }

  const note = (
    transaction: DatabaseTransaction,
    action: 'hostTerritory' | 'closeTerritory' | 'openTerritory',
    { id, name }: Pick<Row, 'id' | 'name'>,
    actor: string,
  ): Promise<void> => audit.append(transaction, { territory: first, actor, action, subject: id, details: { name } });

  /** Changes whether it is closed, and writes it down in both logs; nothing where it is so already. */
  async function turn(id: string, closedAtMs: number | null, actor: string): Promise<void> {
    const action = closedAtMs === null ? 'openTerritory' : 'closeTerritory';
    await transact(db, async (transaction) => {
      const row = await rowOf(transaction, id);
      const changed = await transaction
        .updateTable('territories')
        .set({ closed_at_ms: closedAtMs })
        .where('id', '=', id)
        .where('closed_at_ms', closedAtMs === null ? 'is not' : 'is', null)
        .executeTakeFirst();
      if (changed.numUpdatedRows === 0n) return;
      await note(transaction, action, row, actor);
      await audit.append(transaction, { territory: id, actor: house.first.hub.id, action, subject: id });
    });
    await house.changed();
  }

  /** With a key for its first steward, where none has one that works. */
  async function stewarded(id: string): Promise<Opened> {
    const facts = factsOf(await rowOf(db, id));
    const home = house.get(id);
    if (home === undefined) {
      throw new IdlewildError(
        'conflict',
        `the community ${id} is there but could not be opened; the log says why. ` +
          `Then: POST /api/territories/${id}/open`,
      );
    }
    const order = { territory: id, actor: home.hub.id, keep: () => {} };
    const made = await firstStewardKey({ db, keys: home.hub.keys, clock }, order);
    return made === undefined ? facts : { ...facts, stewardKey: made.key };
  }

  return {
    async list() {
      const rows = await db.selectFrom('territories').selectAll().orderBy('created_at_ms').orderBy('id').execute();
      return rows.map(factsOf).sort((a, b) => Number(b.isFirst) - Number(a.isFirst));
    },
    show: async (id) => factsOf(await rowOf(db, id)),
    async create({ name, actor }) {
      checkTerritoryName(name);
      // Kept before anything refers to it: without its key nobody could ever serve the community.
      const made = await makeTerritoryKey({ crypto, random }, (id) => secretsOf(secrets, id));
      await transact(db, async (transaction) => {
        await oneAtATime(transaction, 'territory');
        await checkRoom(transaction, name);
        await insertTerritory(transaction, { clock, audit }, { ...made, name }, house.first.hub.id);
        await note(transaction, 'hostTerritory', { id: made.id, name }, actor);
      });
      await house.changed();
      return stewarded(made.id);
    },
    async close({ id, actor }) {
      if (id === first) {
        throw new IdlewildError(
          'conflict',
          `${id} is the community of this hub itself; stop the hub to close it, or take it along: territory export`,
        );
      }
      await turn(id, clock.now(), actor);
      return factsOf(await rowOf(db, id));
    },
    async open({ id, actor }) {
      await turn(id, null, actor);
      return stewarded(id);
    },
  };
}

async function checkRoom(transaction: DatabaseTransaction, name: string): Promise<void> {
  // Names and places are of the whole hub.
  const rows = await transaction.selectFrom('territories').select(['id', 'name', 'closed_at_ms']).execute();
  const same = rows.find((row) => row.name === name && row.closed_at_ms === null);
  if (same !== undefined)
    throw new IdlewildError('conflict', `the community ${same.id} has the name "${name}"; choose another`);
  if (rows.length < HOUSE_LIMITS.territoriesMax) return;
  throw new IdlewildError(
    'conflict',
    `this hub has ${rows.length} communities, closed ones included, and holds no more; ` +
      'start another hub, or take one along with: idlewild territory export',
  );
}
