/**
 * A territory that has a row in every table that belongs to territories, for tests of what another may see of it.
 *
 * Rows are made from what the database says of its columns, so a table that is added tomorrow is filled, too; nobody
 * reads them as what they are. Ids refer to each other where their columns do.
 */
import { newId, type IdPrefix, type Random } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { Database } from '../db/schema.ts';

/** What ids of a table, or of a column that refers to one, look like. */
const PREFIXES: Readonly<Record<string, IdPrefix>> = {
  allocation: 'alc',
  allocations: 'alc',
  appeals: 'apl',
  bindings: 'bnd',
  device: 'dev',
  devices: 'dev',
  group: 'grp',
  groups: 'grp',
  invites: 'inv',
  key: 'key',
  keys: 'key',
  oidc_providers: 'idp',
  passkeys: 'pky',
  person: 'per',
  person_sessions: 'sis',
  project: 'prj',
  projects: 'prj',
  provider: 'idp',
  refused: 'ref',
  request: 'req',
  requests: 'req',
  sign_in_links: 'lnk',
  steward: 'stk',
  steward_keys: 'stk',
};

export interface FullTerritory {
  /** Everything by which its things could be asked for: ids, names, CIDs, hashes, codes; each with its column. */
  readonly handles: ReadonlyMap<string, string>;
  /** All its rows, as text; for seeing that nothing changed. */
  rows(): Promise<string>;
}

interface Options {
  readonly territory: string;
  readonly random: Random;
  /** It has rows already, which stay as they are. */
  readonly isInUse?: boolean;
  /** CID and manifest of a model whose bytes are in the store that all share. */
  readonly model: { readonly cid: string; readonly manifest: Uint8Array };
}

/** Keeps all rows that the territory has now; what is called puts them back, and nothing else. SQLite only. */
export async function keepTerritory(db: Database, territory: string): Promise<() => Promise<void>> {
  const kept: { readonly table: string; readonly rows: readonly Readonly<Record<string, unknown>>[] }[] = [];
  for (const { name: table, columns } of await db.introspection.getTables()) {
    if (!columns.some(({ name }) => name === 'territory_id')) continue;
    const { rows } = await sql<Record<string, unknown>>`select * from ${sql.table(table)}
      where territory_id = ${territory}`.execute(db);
    kept.push({ table, rows });
  }
  return async () => {
    await sql`pragma foreign_keys = off`.execute(db);
    for (const { table, rows } of kept) {
      await sql`delete from ${sql.table(table)} where territory_id = ${territory}`.execute(db);
      for (const row of rows) {
        const names = sql.join(Object.keys(row).map((name) => sql.ref(name)));
        await sql`insert into ${sql.table(table)} (${names}) values (${sql.join(Object.values(row))})`.execute(db);
      }
    }
    await sql`pragma foreign_keys = on`.execute(db);
  };
}

/** The territory's own row is there already. SQLite only. */
export async function fillTerritory(db: Database, options: Options): Promise<FullTerritory> {
  const { territory, random, model, isInUse = false } = options;
  const tables = (await db.introspection.getTables()).filter(({ columns }) =>
    columns.some(({ name }) => name === 'territory_id'),
  );
  const ids = new Map<string, string>();
  const idOf = (noun: string): string => {
    const prefix = PREFIXES[noun];
    const key = prefix ?? noun;
    const known = ids.get(key) ?? (prefix === undefined ? newId('att', random).slice(4) : newId(prefix, random));
    ids.set(key, known);
    return known;
  };
  const handles = new Map<string, string>();
  const textOf = (table: string, column: string): string => {
    if (column === 'territory_id') return territory;
    if (column === 'cid' || column === 'model_cid' || column === 'root') return model.cid;
    if (column.endsWith('_json')) return /^(permissions|groups|transports|accounts)/.test(column) ? '[]' : '{}';
    if (column === 'id') return idOf(table);
    if (column.endsWith('_id')) return idOf(column.slice(0, -3));
    return `${table}-${column}-${newId('att', random).slice(4, 12)}`.replaceAll('_', '-');
  };

  const or = isInUse ? sql`or ignore` : sql``;
  await sql`pragma foreign_keys = off`.execute(db);
  for (const { name: table, columns } of tables) {
    const values = columns.map(({ name, dataType }) => {
      if (/blob/i.test(dataType)) return table === 'models' && name === 'manifest' ? model.manifest : random.bytes(32);
      if (!/text/i.test(dataType)) return name === 'ended_at_ms' || name === 'revoked_at_ms' ? null : 1;
      const text = textOf(table, name);
      if (name !== 'territory_id' && !name.endsWith('_json')) handles.set(text, `${table}.${name}`);
      return text;
    });
    const names = sql.join(columns.map(({ name }) => sql.ref(name)));
    await sql`insert ${or} into ${sql.table(table)} (${names}) values (${sql.join(values)})`.execute(db);
  }
  const person = idOf('person');
  await sql`insert into people (id, name, created_at_ms) values (${person}, ${`people-name-${territory}`}, 1)`.execute(
    db,
  );
  await sql`pragma foreign_keys = on`.execute(db);
  return {
    handles,
    async rows() {
      const all: unknown[] = [await sql`select * from people where id = ${person}`.execute(db)];
      for (const { name } of tables)
        all.push(
          name,
          (await sql`select * from ${sql.table(name)} where territory_id = ${territory}`.execute(db)).rows,
        );
      return JSON.stringify(all, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
    },
  };
}
