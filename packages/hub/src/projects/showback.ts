/**
 * What was used on whose account: requests, tokens, time of devices and what that drew, by project, person, key, model
 * or device.
 *
 * The sums of keys are those of `usage`, written in the transaction that ends a request; a key belongs to one project
 * and one person for ever, so theirs are sums of the same rows. Those of devices are made when they are asked for, from
 * the requests themselves: an answer is its last device's. Energy is what devices say of answers that they finished.
 */
import { sql } from 'kysely';
import { dayNumber } from '../callers/usage.ts';
import type { Database } from '../db/schema.ts';
import { DAY_MS } from './accounts.ts';
import { PROJECT_LIMITS } from './limits.ts';

export const SHOWBACK_BY = ['project', 'person', 'key', 'model', 'device'] as const;
export type ShowbackBy = (typeof SHOWBACK_BY)[number];

export interface ShowbackQuery {
  readonly territory: string;
  readonly by: ShowbackBy;
  /** First and last day, both included, as `YYYY-MM-DD` in UTC. */
  readonly from: string;
  readonly to: string;
  /** Only what is of these projects, this person or this key; absent: everything. */
  readonly only?: {
    readonly projects: readonly string[];
    readonly person?: string | undefined;
    readonly key?: string | undefined;
  };
  /** Only this project's. */
  readonly project?: string | undefined;
}

export interface ShowbackRow {
  /** Of the project, person, key or device, or the CID of the model; empty: of what belongs to none. */
  readonly id: string;
  readonly name: string;
  readonly requests: number;
  readonly failed: number;
  readonly promptTokens: number;
  readonly answerTokens: number;
  readonly deviceMs: number;
  /** Of answers whose devices told. */
  readonly energyWh: number;
  /** Answers that devices worked on and said nothing about their energy. */
  readonly energyUntold: number;
}

const MICRO = 1_000_000;

/** Most tokens first; at most `PROJECT_LIMITS.showbackRowsMax`. */
export async function readShowback(db: Database, query: ShowbackQuery): Promise<ShowbackRow[]> {
  const rows = await (query.by === 'device' ? ofDevices(db, query) : ofUsage(db, query, query.by));
  return rows.map(({ energyUwh, ...row }) => ({ ...row, energyWh: energyUwh / MICRO }));
}

type SumRow = Omit<ShowbackRow, 'energyWh'> & { readonly energyUwh: number };

/** Whose a key's sums are; a person who signed in asks under her own id. */
const KEYS = {
  project: sql<string>`coalesce(keys.project_id, '')`,
  person: sql<string>`coalesce(keys.person_id,
    case when usage.key_id like 'per\\_%' escape '\\' then usage.key_id end, '')`,
  key: sql<string>`usage.key_id`,
  model: sql<string>`usage.model_cid`,
} as const;

function ofUsage(db: Database, { territory, from, to, only, project }: ShowbackQuery, by: keyof typeof KEYS) {
  const id = KEYS[by];
  let query = db
    .selectFrom('usage')
    .leftJoin('keys', (join) => join.onRef('keys.id', '=', 'usage.key_id').on('keys.territory_id', '=', territory))
    .select([
      id.as('id'),
      sql<number>`sum(usage.requests)`.as('requests'),
      sql<number>`sum(usage.failed)`.as('failed'),
      sql<number>`sum(usage.prompt_tokens)`.as('promptTokens'),
      sql<number>`sum(usage.answer_tokens)`.as('answerTokens'),
      sql<number>`sum(usage.device_ms)`.as('deviceMs'),
      sql<number>`sum(usage.energy_uwh)`.as('energyUwh'),
      sql<number>`sum(usage.energy_untold)`.as('energyUntold'),
    ])
    .where('usage.territory_id', '=', territory)
    .where('usage.day', '>=', dayNumber(from))
    .where('usage.day', '<=', dayNumber(to));
  if (project !== undefined) query = query.where('keys.project_id', '=', project);
  if (only !== undefined)
    query = query.where(({ eb, or }) =>
      or([
        ...(only.projects.length === 0 ? [] : [eb('keys.project_id', 'in', only.projects)]),
        eb('keys.person_id', '=', only.person ?? ''),
        eb('usage.key_id', 'in', [only.key ?? '', only.person ?? '']),
      ]),
    );
  const sums = query
    .groupBy(id)
    .orderBy(sql`sum(usage.prompt_tokens + usage.answer_tokens)`, 'desc')
    .orderBy(id)
    .limit(PROJECT_LIMITS.showbackRowsMax);
  // Outside of the sums: PostgreSQL lets no name be looked for by what is only a part of what is grouped by.
  return db
    .selectFrom(sums.as('sums'))
    .selectAll()
    .select(nameOf(by, sql<string>`sums.id`, territory).as('name'))
    .orderBy(sql`sums."promptTokens" + sums."answerTokens"`, 'desc')
    .orderBy('sums.id')
    .execute();
}

/** Of a thing of the territory; one that is gone has none. */
function nameOf(by: keyof typeof KEYS, id: ReturnType<typeof sql<string>>, territory: string) {
  const named = (table: string, key: string) =>
    sql<string>`coalesce((select name from ${sql.table(table)} as named
      where named.territory_id = ${territory} and ${sql.ref(`named.${key}`)} = ${id}), '')`;
  switch (by) {
    case 'project':
      return named('projects', 'id');
    case 'person':
      return named('members', 'person_id');
    case 'key':
      return named('keys', 'id');
    case 'model':
      return named('models', 'cid');
  }
}

/** Each device's requests are found by an index that begins with the device. */
function ofDevices(db: Database, { territory, from, to, only, project }: ShowbackQuery): Promise<SumRow[]> {
  let query = db
    .selectFrom('devices')
    .innerJoin('requests', (join) =>
      join
        .onRef('requests.device_id', '=', 'devices.id')
        .on('requests.territory_id', '=', territory)
        .on('requests.finished_at_ms', '>=', dayNumber(from) * DAY_MS)
        .on('requests.finished_at_ms', '<', (dayNumber(to) + 1) * DAY_MS),
    )
    .leftJoin('keys', (join) => join.onRef('keys.id', '=', 'requests.key_id').on('keys.territory_id', '=', territory))
    .select([
      'devices.id',
      'devices.name',
      sql<number>`sum(requests.counts_prompt)`.as('requests'),
      sql<number>`sum(case when requests.state = 'failed' then 1 else 0 end)`.as('failed'),
      sql<number>`sum(requests.counts_prompt * requests.prompt_tokens)`.as('promptTokens'),
      sql<number>`sum(requests.answer_tokens)`.as('answerTokens'),
      sql<number>`sum(requests.device_ms)`.as('deviceMs'),
      sql<number>`coalesce(sum(requests.energy_uwh), 0)`.as('energyUwh'),
      sql<number>`sum(case when requests.energy_uwh is null then 1 else 0 end)`.as('energyUntold'),
    ])
    .where('devices.territory_id', '=', territory);
  if (project !== undefined) query = query.where('keys.project_id', '=', project);
  if (only !== undefined)
    query = query.where(({ eb, or }) =>
      or([
        ...(only.projects.length === 0 ? [] : [eb('keys.project_id', 'in', only.projects)]),
        eb('keys.person_id', '=', only.person ?? ''),
        eb('requests.key_id', 'in', [only.key ?? '', only.person ?? '']),
      ]),
    );
  return query
    .groupBy(['devices.id', 'devices.name'])
    .orderBy(sql`sum(requests.answer_tokens)`, 'desc')
    .orderBy('devices.id')
    .limit(PROJECT_LIMITS.showbackRowsMax)
    .execute();
}
