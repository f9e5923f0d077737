/**
 * What the database says of spending, in the order in which it was committed: caps as they were set, what was held, let
 * go and ended. Triggers write it down in the transactions themselves, so it is neither late nor early, and gone where
 * they are rolled back. It repeats no sum of the hub's: those are for a checker to hold against this.
 */
import type { OpenDatabase } from '@idlewild/hub';
import { sql } from 'kysely';

export type Booked =
  | {
      readonly t: 'hold';
      readonly id: string;
      readonly key: string;
      readonly day: number;
      /** An allocation, `floor`, or nobody. */
      readonly payer: string | null;
      readonly tokens: number;
    }
  | { readonly t: 'more'; readonly id: string; readonly tokens: number }
  | { readonly t: 'gone'; readonly id: string }
  /** An answer is over. */
  | {
      readonly t: 'end';
      readonly id: string;
      readonly hold: string | null;
      readonly key: string;
      readonly day: number;
      readonly state: string;
      readonly tokens: number;
    }
  | {
      readonly t: 'cap';
      readonly kind: string;
      readonly subject: string;
      readonly tokens: number | null;
      readonly requests: number | null;
    }
  | { readonly t: 'floor'; readonly needs: string; readonly tokens: number; readonly requests: number }
  | { readonly t: 'member'; readonly id: string; readonly state: string }
  | { readonly t: 'allocation'; readonly id: string; readonly state: string; readonly tokens: number };

const DAY_MS = 86_400_000;

/** When, of which table, and what is said of it. */
const FACTS: readonly (readonly [when: string, fact: string])[] = [
  [
    'insert on spend_holds',
    "'t', 'hold', 'id', new.id, 'key', new.key_id, 'day', new.day, 'payer', new.payer, 'tokens', new.tokens",
  ],
  ['update of tokens on spend_holds', "'t', 'more', 'id', new.id, 'tokens', new.tokens - old.tokens"],
  [
    "update of state on requests when old.state = 'open' and new.state <> 'open'",
    `'t', 'end', 'id', new.id, 'hold', new.hold_id, 'key', new.key_id, 'day', new.finished_at_ms / ${DAY_MS},
      'state', new.state, 'tokens', new.answer_tokens + new.counts_prompt * new.prompt_tokens`,
  ],
  ...['insert', 'update'].flatMap((act): [string, string][] => [
    [
      `${act} on spend_caps`,
      `'t', 'cap', 'kind', new.kind, 'subject', new.subject_id, 'tokens', new.tokens_per_day,
        'requests', new.requests_per_day`,
    ],
    [
      `${act} on spend_settings`,
      "'t', 'floor', 'needs', new.allocations, 'tokens', new.floor_tokens, 'requests', new.floor_requests",
    ],
    [
      `${act === 'update' ? 'update of state' : act} on members`,
      "'t', 'member', 'id', new.person_id, 'state', new.state",
    ],
    [
      `${act === 'update' ? 'update of state, granted_tokens' : act} on allocations`,
      "'t', 'allocation', 'id', new.id, 'state', new.state, 'tokens', new.granted_tokens",
    ],
  ]),
];

/** From now on, for as long as there is the database. */
export async function keepBooks(db: OpenDatabase['db']): Promise<void> {
  const table = sql.raw(`create table if not exists sim_booked
    (seq integer primary key autoincrement, territory text not null, fact text not null)`);
  await table.execute(db);
  const say = (row: 'new' | 'old', fact: string): string =>
    `begin insert into sim_booked (territory, fact) values (${row}.territory_id, json_object(${fact})); end`;
  for (const [nth, [when, fact]] of FACTS.entries())
    await sql.raw(`create trigger if not exists sim_books_${nth} after ${when} ${say('new', fact)}`).execute(db);
  const gone = say('old', "'t', 'gone', 'id', old.id");
  await sql.raw(`create trigger if not exists sim_books_gone after delete on spend_holds ${gone}`).execute(db);
}

/** What was booked for one community since it was read last. */
export async function readBooks(db: OpenDatabase['db'], territory: string): Promise<readonly Booked[]> {
  const { rows } = await sql<{ readonly seq: number; readonly fact: string }>`
    delete from sim_booked where territory = ${territory} returning seq, fact`.execute(db);
  return rows.toSorted((a, b) => a.seq - b.seq).map(({ fact }) => JSON.parse(fact) as Booked);
}
