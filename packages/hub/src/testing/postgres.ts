/**
 * A real PostgreSQL for tests: Debian's binaries, a data folder of its own under the system's temporary folder, a free
 * port on loopback and a socket beside it, run by an unprivileged user, with fsync on as in earnest.
 *
 * Whoever starts a server ends it with `stop`; should the process die before, the kernel ends the server. Where there
 * are no binaries, `startPostgres` says so once and gives `undefined`: the tests that need it are skipped.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client } from 'pg';

export const POSTGRES_MISSING = 'no PostgreSQL here, its tests are skipped: apt-get install postgresql';

const READY = 'database system is ready to accept connections';
const PORT_TRIES = 5;
const SAID_LINES_MAX = 200;
const USER = 'idlewild';
const PASSWORD = 'not-a-secret';
/** As a steward would have it, only smaller; every other setting is PostgreSQL's own. */
const SETTINGS = [
  'fsync=on',
  'synchronous_commit=on',
  'shared_buffers=32MB',
  'max_connections=200',
  'listen_addresses=127.0.0.1',
  // What it says is read for the line that it is ready.
  'lc_messages=C',
];

/** How a server is ended: `fast` says farewell to its clients, `immediate` is a crash of all its processes. */
export type PostgresEnd = 'fast' | 'immediate';

export interface Postgres {
  /** Of the database `postgres`; it stays the same over restarts. */
  readonly url: string;
  readonly port: number;
  /** Folder of the socket. */
  readonly folder: string;
  /** An empty database of its own; returns its URL. */
  createDatabase(): Promise<string>;
  /** Process id of the server itself; its processes are its children. */
  pid(): number | undefined;
  /** Ends the server and keeps its data. */
  halt(how?: PostgresEnd): Promise<void>;
  /** After `halt`; resolves once it answers. */
  start(): Promise<void>;
  restart(how?: PostgresEnd): Promise<void>;
  /** Ends the server and removes its folder. */
  stop(): Promise<void>;
}

/** `settings` are added to the command line, as `name=value`. */
export async function startPostgres(settings: readonly string[] = []): Promise<Postgres | undefined> {
  const binaries = findPostgres();
  if (binaries === undefined) {
    console.warn(POSTGRES_MISSING);
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-pg-'));
  try {
    const owner = unprivileged();
    if (owner !== undefined) chownSync(folder, owner.uid, owner.gid);
    initialise(binaries, folder, owner);
    const { port, server } = await startOnFreePort(binaries, folder, owner, settings);
    return control({ binaries, folder, owner, settings, port, server });
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Folder of the newest version's binaries, which Debian keeps off the path; empty where they are on it. */
function findPostgres(): string | undefined {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [...versions.map((version) => join(debian, version, 'bin')), ''];
  return folders.find((folder) => ['initdb', 'postgres'].every((name) => runs(join(folder, name))));
}

function runs(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** PostgreSQL refuses to run as root; anybody else runs it as himself. */
function unprivileged(): Owner | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const idOf = (flag: string): number => Number(execFileSync('id', [flag, name], { stdio: 'pipe' }).toString());
      return { uid: idOf('-u'), gid: idOf('-g') };
    } catch {
      // There is no such user; the next is tried.
    }
  }
  throw new Error('neither a user postgres nor nobody is here to run PostgreSQL as');
}

function initialise(binaries: string, folder: string, owner: Owner | undefined): void {
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, PASSWORD, { mode: 0o600 });
  if (owner !== undefined) chownSync(passwordFile, owner.uid, owner.gid);
  const options = ['--encoding=UTF8', '--locale=C', '--no-sync', '--no-instructions', `--username=${USER}`];
  const auth = ['--auth-local=trust', '--auth-host=scram-sha-256', `--pwfile=${passwordFile}`];
  execFileSync(join(binaries, 'initdb'), [...options, ...auth, '-D', join(folder, 'data')], {
    ...owner,
    cwd: folder,
    stdio: 'pipe',
  });
}

interface Server {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
}

async function startOnFreePort(
  binaries: string,
  folder: string,
  owner: Owner | undefined,
  settings: readonly string[],
): Promise<{ port: number; server: Server }> {
  for (let tries = 1; ; tries++) {
    const port = await freePort();
    try {
      return { port, server: await launch(binaries, folder, owner, settings, port) };
    } catch (error) {
      // Somebody else may have taken it in between.
      if (tries === PORT_TRIES || !(error as Error).message.includes('could not bind')) throw error;
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Resolves once the server answers. */
async function launch(
  binaries: string,
  folder: string,
  owner: Owner | undefined,
  settings: readonly string[],
  port: number,
): Promise<Server> {
  const all = [...SETTINGS, `port=${port}`, `unix_socket_directories=${folder}`, ...settings];
  const command = [join(binaries, 'postgres'), '-D', join(folder, 'data'), ...all.flatMap((each) => ['-c', each])];
  // INT is its fast shutdown. Not every system has setpriv; there, only `stop` ends it.
  const guarded = existsSync('/usr/bin/setpriv')
    ? ['/usr/bin/setpriv', '--pdeathsig', 'INT', '--', ...command]
    : command;
  const child = spawn(guarded[0] as string, guarded.slice(1), {
    ...owner,
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(child, 'exit');
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    const lines = createInterface({ input: child.stderr as NodeJS.ReadableStream });
    lines.on('line', (line) => {
      if (said.push(line) > SAID_LINES_MAX) said.shift();
      if (line.includes(READY)) resolve();
    });
    // After its last line.
    lines.on('close', () => reject(new Error(`PostgreSQL did not start: ${said.join('\n')}`)));
    child.on('error', reject);
  });
  return { child, ended };
}

interface Parts {
  readonly binaries: string;
  readonly folder: string;
  readonly owner: Owner | undefined;
  readonly settings: readonly string[];
  readonly port: number;
  readonly server: Server;
}

function control({ binaries, folder, owner, settings, port, server }: Parts): Postgres {
  let running: Server | undefined = server;
  let databases = 0;
  const urlOf = (database: string): string => `postgres://${USER}:${PASSWORD}@127.0.0.1:${port}/${database}`;
  const url = urlOf('postgres');
  const postgres: Postgres = {
    url,
    port,
    folder,
    async createDatabase() {
      const client = new Client({ connectionString: url });
      await client.connect();
      try {
        const name = `test_${process.pid}_${++databases}`;
        await client.query(`create database ${name}`);
        return urlOf(name);
      } finally {
        await client.end();
      }
    },
    pid: () => running?.child.pid,
    async halt(how = 'fast') {
      const ending = running;
      if (ending === undefined) return;
      running = undefined;
      ending.child.kill(how === 'fast' ? 'SIGINT' : 'SIGQUIT');
      await ending.ended;
    },
    async start() {
      running ??= await launch(binaries, folder, owner, settings, port);
    },
    async restart(how) {
      await postgres.halt(how);
      await postgres.start();
    },
    async stop() {
      // Its data is thrown away, so nothing needs to be written any more.
      await postgres.halt('immediate');
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return postgres;
}
