/**
 * A program that tries what an engine must not be able to do, and prints what came of each attempt, as JSON.
 *
 * Started behind the same walls as an engine, without Node's permission flags to see what the walls hold by themselves,
 * and with them. What it is told to reach is really there to be reached: a server, files and a process of whoever
 * started it. It leaves nothing behind that it managed to write.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

export interface Attempts {
  /** A port on this machine's loopback that answers, and an abstract Unix socket where there are such. */
  readonly port: number;
  readonly socket: string | undefined;
  /** Files and folders that are there. */
  readonly files: readonly string[];
  /** Folders to write into. */
  readonly folders: readonly string[];
  /** A process that lives. */
  readonly pid: number;
}

/** What was managed; everything empty or false is a wall that holds. */
export interface Managed {
  readonly environment: readonly string[];
  readonly connected: readonly string[];
  readonly listened: boolean;
  readonly read: readonly string[];
  readonly written: readonly string[];
  /** Process ids of others. */
  readonly seen: readonly number[];
  readonly spawned: boolean;
  /** Capabilities in force, in hex, and whether a program that it starts could gain some; absent: it cannot tell. */
  readonly capabilities?: string | undefined;
  readonly gains?: boolean | undefined;
}

const CONNECT_MS_MAX = 1_000;
const NO_CAPABILITIES = /^0*$/;

function managed(act: () => unknown): boolean {
  try {
    act();
    return true;
  } catch {
    return false;
  }
}

function connects(to: { port: number; host: string } | { path: string }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ ...to, timeout: CONNECT_MS_MAX });
    const end = (reached: boolean): void => {
      socket.destroy();
      resolve(reached);
    };
    socket
      .once('connect', () => end(true))
      .once('error', () => end(false))
      .once('timeout', () => end(false));
  });
}

function listens(): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(0, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

const reads = (path: string): boolean =>
  managed(() => (statSync(path).isDirectory() ? readdirSync(path) : readFileSync(path)));

function writes(folder: string): boolean {
  const path = join(folder, `.idlewild-probe-${process.pid}`);
  const wrote = managed(() => writeFileSync(path, ''));
  if (wrote) rmSync(path, { force: true });
  return wrote;
}

function othersSeen(pid: number): number[] {
  const found = new Set<number>();
  if (managed(() => process.kill(pid, 0))) found.add(pid);
  managed(() => {
    for (const name of readdirSync('/proc')) if (/^\d+$/.test(name)) found.add(Number(name));
  });
  // Nothing is started before this, so whoever is there besides is somebody else.
  found.delete(process.pid);
  return [...found];
}

function statusLine(name: string): string | undefined {
  try {
    return new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}

async function probe({ port, socket, files, folders, pid }: Attempts): Promise<Managed> {
  const seen = othersSeen(pid);
  const connected: string[] = [];
  if (await connects({ port, host: '127.0.0.1' })) connected.push('tcp');
  if (socket !== undefined && (await connects({ path: socket }))) connected.push('unix');
  const [effective, permitted] = [statusLine('CapEff'), statusLine('CapPrm')];
  return {
    environment: Object.keys(process.env),
    connected,
    listened: await listens(),
    read: files.filter(reads),
    written: folders.filter(writes),
    seen,
    spawned: managed(() => {
      const { error } = spawnSync(process.execPath, ['--version']);
      if (error !== undefined) throw error;
    }),
    capabilities: NO_CAPABILITIES.test(effective ?? '') ? permitted : effective,
    gains: effective === undefined ? undefined : statusLine('NoNewPrivs') !== '1',
  };
}

const asked = process.argv[2];
if (asked !== undefined) console.log(JSON.stringify(await probe(JSON.parse(asked) as Attempts)));
