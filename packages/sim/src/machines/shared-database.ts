/**
 * One database for several processes: a real SQLite file behind one connection, which one transaction at a time has, of
 * whichever process.
 *
 * A process that dies or is paused in the middle of a transaction loses it, as a database server takes its connection:
 * nothing of it is there, others go on at once, and the process, should it wake, hears so from its next statement. So a
 * process may die or stop between any two statements, and between a commit and hearing of it. That two transactions
 * overlap, as PostgreSQL has them, is not simulated; the suites of `hub/db` and `test/replicas` have the real thing.
 *
 * Ends of requests, and changes of duties, are written down with who wrote them: what a stale owner writes shows.
 */
import {
  CompiledQuery,
  Kysely,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
  type DatabaseConnection,
  type Driver,
  type QueryResult,
} from 'kysely';
import { openDatabase, type OpenDatabase } from '@idlewild/hub';
import { IdlewildError, type Clock } from '@idlewild/protocol';
import type { Gate } from './gate.ts';

export interface SharedDatabase {
  /** For whoever looks from outside. */
  readonly db: OpenDatabase['db'];
  connect(replica: string, gate: Gate): OpenDatabase;
  /** What was written since the last call. */
  written(): Promise<readonly Written[]>;
  close(): Promise<void>;
}

/** One change of a row that has an owner, as the database saw it. */
export interface Written {
  readonly table: 'requests' | 'journal' | 'duties';
  readonly subject: string;
  /** The replica that wrote. */
  readonly writer: string;
  /** Before and after. */
  readonly owners: readonly [string, string];
  readonly epochs: readonly [number, number];
  readonly states: readonly [string, string];
}

const LOG = [
  'create temp table writer (id text not null)',
  "insert into writer values ('')",
  `create temp table written (kind text, subject text, writer text, owner text, new_owner text, epoch integer,
    new_epoch integer, state text, new_state text)`,
  `create temp trigger log_requests after update on requests
    when new.state <> old.state or new.owner is not old.owner or new.owner_epoch < old.owner_epoch
      or new.answer_tokens <> old.answer_tokens or new.reason is not old.reason
    begin insert into written select 'requests', new.id, writer.id, coalesce(old.owner, ''), coalesce(new.owner, ''),
      old.owner_epoch, new.owner_epoch, old.state, new.state || coalesce(' ' || new.reason, '') from writer; end`,
  `create temp trigger log_journal after insert on journal
    begin insert into written select 'journal', new.request_id, writer.id, owner, owner, owner_epoch, owner_epoch,
      state, state from requests, writer where requests.id = new.request_id and owner is not writer.id; end`,
  `create temp trigger log_duty after insert on duties
    begin insert into written select 'duties', new.name, writer.id, '', new.holder, 0, new.epoch, 'lapsed', ''
      from writer; end`,
  `create temp trigger log_duties after update on duties when new.holder <> old.holder or new.epoch <> old.epoch
    begin insert into written select 'duties', new.name, writer.id, old.holder, new.holder, old.epoch, new.epoch,
      case when old.expires_at_ms <= new.expires_at_ms - $leaseMs then 'lapsed' else 'held' end, '' from writer; end`,
];

export async function openSharedDatabase(file: string, clock: Clock, leaseMs: number): Promise<SharedDatabase> {
  const root = await openDatabase({ file, clock, sync: 'off' });
  for (const statement of LOG) await sql.raw(statement.replace('$leaseMs', String(leaseMs))).execute(root.db);
  return {
    db: root.db,
    connect(replica, gate) {
      const driver = createDriver(root.db, replica, gate);
      const db: OpenDatabase['db'] = new Kysely({
        dialect: {
          createDriver: () => driver,
          createQueryCompiler: () => new SqliteQueryCompiler(),
          createAdapter: () => new SqliteAdapter(),
          createIntrospector: (own) => new SqliteIntrospector(own),
        },
      });
      return {
        kind: 'sqlite',
        db,
        nowMs: () => sql<number>`${clock.now()}`,
        clock: { ...gate.clock, now: clock.now },
        migrated: root.migrated,
        checkpoint: () => true,
        close: async () => {},
        abandon: () => {},
      };
    },
    async written() {
      const { rows } = await sql<Row>`delete from written returning *`.execute(root.db);
      return rows.map((row): Written => ({
        table: row.kind,
        subject: row.subject,
        writer: row.writer,
        owners: [row.owner, row.new_owner],
        epochs: [row.epoch, row.new_epoch],
        states: [row.state, row.new_state],
      }));
    },
    close: () => root.close(),
  };
}

interface Row {
  readonly kind: Written['table'];
  readonly subject: string;
  readonly writer: string;
  readonly owner: string;
  readonly new_owner: string;
  readonly epoch: number;
  readonly new_epoch: number;
  readonly state: string;
  readonly new_state: string;
}

/** The one connection, while somebody has it. */
interface Turn {
  run<Result>(query: CompiledQuery): Promise<QueryResult<Result>>;
  end(): void;
}

function takeTurn(db: OpenDatabase['db']): Promise<Turn> {
  return new Promise((resolve, reject) => {
    db.connection()
      .execute(
        (connection) =>
          new Promise<void>((end) => {
            resolve({ run: <Result>(query: CompiledQuery) => connection.executeQuery<Result>(query), end });
          }),
      )
      .catch(reject);
  });
}

interface GatedConnection extends DatabaseConnection {
  setInTransaction(isInTransaction: boolean): void;
  end(): void;
}

function createDriver(root: OpenDatabase['db'], replica: string, gate: Gate): Driver {
  let current: { sever(): void } | undefined;
  gate.onShut(() => current?.sever());

  function createConnection(turn: Turn): GatedConnection {
    let isLost = false;
    let isInTransaction = false;
    let underWay: Promise<unknown> = Promise.resolve();
    const own = {
      sever(): void {
        if (isLost) return;
        isLost = true;
        void underWay
          .catch(() => {})
          .then(() => (isInTransaction ? turn.run(CompiledQuery.raw('rollback')) : undefined))
          .then(turn.end, turn.end);
      },
    };
    current = own;
    return {
      async executeQuery<Result>(query: CompiledQuery): Promise<QueryResult<Result>> {
        await gate.opened();
        if (isLost) throw new IdlewildError('database_unavailable', 'the database has ended this connection');
        const running = turn.run<Result>(query);
        underWay = running;
        try {
          return await running;
        } finally {
          await gate.opened();
        }
      },
      streamQuery() {
        throw new Error('nothing streams from the database of a simulation');
      },
      setInTransaction(is) {
        isInTransaction = is;
      },
      end() {
        if (isLost) return;
        isLost = true;
        if (current === own) current = undefined;
        turn.end();
      },
    };
  }
  const command = async (connection: DatabaseConnection, text: string): Promise<void> => {
    await connection.executeQuery(CompiledQuery.raw(text));
  };

  return {
    init: async () => {},
    async acquireConnection() {
      for (;;) {
        await gate.opened();
        const turn = await takeTurn(root);
        if (gate.isLive() && !gate.isPaused()) {
          const connection = createConnection(turn);
          await turn.run(CompiledQuery.raw('update writer set id = ?', [replica]));
          return connection;
        }
        turn.end();
      }
    },
    releaseConnection: async (connection) => (connection as GatedConnection).end(),
    async beginTransaction(connection) {
      const gated = connection as GatedConnection;
      gated.setInTransaction(true);
      await command(connection, 'begin immediate');
    },
    async commitTransaction(connection) {
      await command(connection, 'commit');
      (connection as GatedConnection).setInTransaction(false);
    },
    async rollbackTransaction(connection) {
      await command(connection, 'rollback').catch(() => {});
      (connection as GatedConnection).setInTransaction(false);
    },
    async destroy() {},
  };
}
