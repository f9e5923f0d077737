/**
 * What bounds spending in a territory: caps of the territory, its projects, keys and people, whether work needs an
 * allocation, and the daily floor.
 *
 * Whoever asks is looked at against what is known in memory, which is at most half a second old
 * (`people/versions.ts`); where that says that nothing bounds it, nothing else is asked. Where something does, the
 * amounts are read again in the transaction that takes them. A cap is changed by whoever may, and by nothing else.
 */
import { IdlewildError, type Clock, type MaybePromise } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database } from '../db/schema.ts';
import type { CapKind, SpendCaps, SpendSettings } from '../db/schema/projects.ts';
import { transact } from '../db/transact.ts';
import { touchPeople, type PeopleVersions } from '../people/versions.ts';
import { countFromNowOn } from './charging.ts';
import { PROJECT_LIMITS } from './limits.ts';

/** Absent: no cap. */
export interface Caps {
  readonly tokensPerDay?: number | undefined;
  readonly requestsPerDay?: number | undefined;
  /** Of people, over all their keys. */
  readonly tokensPerMinute?: number | undefined;
  readonly requestsPerMinute?: number | undefined;
}

export interface Settings {
  /** `required`: what belongs to no project gets the daily floor and nothing else. */
  readonly allocations: 'optional' | 'required';
  /** What every active member has each day, whatever else is spent. */
  readonly floorTokens: number;
  readonly floorRequests: number;
}

export interface CapChange {
  readonly kind: CapKind;
  /** Empty for the territory itself, and of people for everybody. */
  readonly subject: string;
  readonly actor: string;
  /** `none` takes a cap away; what is not named stays. */
  readonly caps: { readonly [Name in keyof Caps]?: number | 'none' | undefined };
}

/** What is known in memory. */
export interface KnownRules {
  readonly settings: Settings;
  capsOf(kind: CapKind, subject: string): Caps | undefined;
}

export interface SpendRules {
  /** At most half a second old. */
  known(): MaybePromise<KnownRules>;
  settings(): Promise<Settings>;
  /** All that are set. */
  caps(): Promise<(Caps & { readonly kind: CapKind; readonly subject: string })[]>;
  /** Throws `not_found` for whoever is not of this territory. */
  setCaps(change: CapChange): Promise<Caps>;
  change(actor: string, settings: Partial<Settings>): Promise<Settings>;
}

export interface SpendRulesDeps {
  readonly db: Database;
  /** The database's time. */
  readonly clock: Pick<Clock, 'now'>;
  readonly audit: Audit;
  readonly versions: Pick<PeopleVersions, 'fresh' | 'stale'>;
}

const DEFAULTS: Settings = {
  allocations: 'optional',
  floorTokens: PROJECT_LIMITS.floorTokens,
  floorRequests: PROJECT_LIMITS.floorRequests,
};

export function createSpendRules({ db, clock, audit, versions }: SpendRulesDeps, territory: string): SpendRules {
  let read: { readonly version: number; readonly rules: KnownRules } | undefined;

  async function readAll(version: number): Promise<KnownRules> {
    const [settings, rows] = await Promise.all([readSettings(db, territory), capRows(db, territory)]);
    const caps = new Map(rows.map((row) => [`${row.kind} ${row.subject_id}`, capsOf(row)]));
    const get = (kind: string, subject: string): Caps | undefined => caps.get(`${kind} ${subject}`);
    const rules: KnownRules = { settings, capsOf: (kind, subject) => holdingCaps(get, kind, subject) };
    read = { version, rules };
    return rules;
  }
  const at = (version: number): MaybePromise<KnownRules> => (read?.version === version ? read.rules : readAll(version));

  return {
    known() {
      const version = versions.fresh();
      return typeof version === 'number' ? at(version) : version.then(at);
    },
    settings: () => readSettings(db, territory),
    async caps() {
      return (await capRows(db, territory)).map((row) => ({ kind: row.kind, subject: row.subject_id, ...capsOf(row) }));
    },
    async setCaps({ kind, subject, actor, caps }) {
      const given = Object.entries(caps).filter(
        (entry): entry is [keyof Caps, number | 'none'] => entry[1] !== undefined,
      );
      const set = Object.fromEntries(given.map(([name, cap]) => [COLUMNS[name], cap === 'none' ? null : cap]));
      const row = await transact(db, async (transaction) => {
        await checkSubject(transaction, territory, kind, subject);
        if (isDaily(caps)) await countFromNowOn(transaction, territory, { kind, subject, nowMs: clock.now() });
        const changed = await transaction
          .insertInto('spend_caps')
          .values({ ...NO_CAPS, ...set, territory_id: territory, kind, subject_id: subject })
          .onConflict((on) => on.columns(['territory_id', 'kind', 'subject_id']).doUpdateSet({ kind, ...set }))
          .returningAll()
          .executeTakeFirstOrThrow();
        await touchPeople(transaction, territory);
        const whose = kind === 'person' && subject === '' ? { everybody: true } : {};
        const details = { kind, ...whose, ...Object.fromEntries(given) };
        const of = subject === '' ? territory : subject;
        await audit.append(transaction, { territory, actor, action: 'capSpending', subject: of, details });
        return changed;
      });
      versions.stale();
      return capsOf(row);
    },
    async change(actor, settings) {
      const now = await transact(db, async (transaction) => {
        const next = { ...(await readSettings(transaction, territory)), ...settings };
        const row = {
          allocations: next.allocations,
          floor_tokens: next.floorTokens,
          floor_requests: next.floorRequests,
        };
        await transaction
          .insertInto('spend_settings')
          .values({ territory_id: territory, ...row })
          .onConflict((on) => on.column('territory_id').doUpdateSet(row))
          .execute();
        await touchPeople(transaction, territory);
        const details = { ...next };
        await audit.append(transaction, { territory, actor, action: 'capSpending', subject: territory, details });
        return next;
      });
      versions.stale();
      return now;
    },
  };
}

/** Whether something of a day is capped. */
const isDaily = ({ tokensPerDay, requestsPerDay }: CapChange['caps']): boolean =>
  [tokensPerDay, requestsPerDay].some((cap) => typeof cap === 'number');

const COLUMNS = {
  tokensPerDay: 'tokens_per_day',
  requestsPerDay: 'requests_per_day',
  tokensPerMinute: 'tokens_per_minute',
  requestsPerMinute: 'requests_per_minute',
} as const;
const NO_CAPS = { tokens_per_day: null, requests_per_day: null, tokens_per_minute: null, requests_per_minute: null };

type CapColumns = Pick<SpendCaps, keyof typeof NO_CAPS>;

export function capsOf(row: CapColumns): Caps {
  const caps = Object.entries(COLUMNS).map(([name, column]) => [name, row[column]] as const);
  return Object.fromEntries(caps.filter(([, cap]) => cap !== null));
}

/** Of a person those of everybody, as far as she has none of her own. */
export function holdingCaps(
  get: (kind: string, subject: string) => Caps | undefined,
  kind: string,
  subject: string,
): Caps | undefined {
  const [own, all] = [get(kind, subject), kind === 'person' ? get(kind, '') : undefined];
  return own === undefined || all === undefined ? (own ?? all) : { ...all, ...own };
}

const capRows = (db: Database, territory: string) =>
  db
    .selectFrom('spend_caps')
    .selectAll()
    .where('territory_id', '=', territory)
    .orderBy('kind')
    .orderBy('subject_id')
    .execute();

async function readSettings(db: Database, territory: string): Promise<Settings> {
  const row = await db
    .selectFrom('spend_settings')
    .selectAll()
    .where('territory_id', '=', territory)
    .executeTakeFirst();
  return settingsOf(row);
}

type SettingColumns = {
  readonly [Name in 'allocations' | 'floor_tokens' | 'floor_requests']: SpendSettings[Name] | null;
};

/** Of a row that there may not be. */
export const settingsOf = (row: SettingColumns | undefined): Settings => ({
  allocations: row?.allocations ?? DEFAULTS.allocations,
  floorTokens: row?.floor_tokens ?? DEFAULTS.floorTokens,
  floorRequests: row?.floor_requests ?? DEFAULTS.floorRequests,
});

/** A cap of what is not there would be one that nobody notices to be missing. */
async function checkSubject(db: Database, territory: string, kind: CapKind, subject: string): Promise<void> {
  if (kind === 'territory' || (kind === 'person' && subject === '')) return;
  const row = await subjectOf(db, territory, kind, subject);
  if (row === undefined) throw new IdlewildError('not_found', `there is no ${kind} ${subject} in this territory`);
}

function subjectOf(db: Database, territory: string, kind: Exclude<CapKind, 'territory'>, id: string): Promise<unknown> {
  switch (kind) {
    case 'person':
      return db
        .selectFrom('members')
        .select('person_id')
        .where('territory_id', '=', territory)
        .where('person_id', '=', id)
        .executeTakeFirst();
    case 'key':
      return db
        .selectFrom('keys')
        .select('id')
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .executeTakeFirst();
    case 'project':
      return db
        .selectFrom('projects')
        .select('id')
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .executeTakeFirst();
  }
}
