/**
 * Which walls hold an engine on this machine: not by what is installed, but by starting a probe behind each kind of
 * wall, which tries what an engine must not be able to do.
 *
 * The first kind that holds everything is taken, or else the one that holds most; where none can be built, engines have
 * what is there on every system: an empty environment and Node's permission flags. Looked up once in a process, since a
 * machine does not change while it runs. This decides nothing about whether a device may work: its lender is told.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { accessSync, constants, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { availableParallelism, homedir, release, tmpdir } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { engineEnvironment, permissionFlags, readableFolders } from './permissions.ts';
import type { Attempts, Managed } from './probe.ts';
import { systemCallFilter } from './seccomp.ts';
import { librariesOf, viewOf } from './view.ts';
import { NO_WALL, behind, type Builder, type Wall } from './walls.ts';

export const LAYERS = [
  'environment',
  'permissions',
  'network',
  'files',
  'writing',
  'processes',
  'privileges',
  'system-calls',
] as const;
export type LayerName = (typeof LAYERS)[number];

export interface Layer {
  readonly name: LayerName;
  readonly holds: boolean;
  /** For people: what was tried or is missing. */
  readonly why: string;
}

export interface Isolation {
  readonly by: Builder;
  readonly layers: readonly Layer[];
}

export interface Survey {
  readonly isolation: Isolation;
  readonly wall: Wall;
  /** Why better walls could not be had; '' when there are none. */
  readonly missing: string;
}

export interface SurveyOptions {
  /** Kinds of walls to try, best first. */
  readonly builders?: readonly Exclude<Builder, 'none'>[] | undefined;
}

/** A probe takes a tenth of a second; a machine under load, tens of times that. */
const PROBE_MS_MAX = 20_000;
const HOME_FILES_MAX = 8;
const TOOL_FOLDERS = ['/usr/bin', '/bin', '/usr/local/bin', '/usr/sbin', '/sbin', '/run/current-system/sw/bin'];
const TOOLS = { bubblewrap: 'bwrap', unshare: 'unshare' } as const;
const PROBE = fileURLToPath(new URL(`probe${extname(import.meta.url)}`, import.meta.url));

/** A survey that is made when it is first asked for and then known; where it failed, as on a full disk, again. */
export function createSurvey(): () => Promise<Survey> {
  let known: Promise<Survey> | undefined;
  return () =>
    (known ??= surveyIsolation().catch((error: unknown) => {
      known = undefined;
      throw error;
    }));
}

/** The walls of this machine. */
export const surveyHere = createSurvey();

/** What holds an engine here, layer by layer. */
export const isolationHere = async (): Promise<Isolation> => (await surveyHere()).isolation;

export async function surveyIsolation({ builders = ['bubblewrap', 'unshare'] }: SurveyOptions = {}): Promise<Survey> {
  const bait = await layBait();
  try {
    const bare = await bareWall(bait.attempts);
    const flagged = ask(bare, bait.attempts, true);
    const missing: string[] = [];
    let best: { wall: Wall; managed: Managed } | undefined;
    for await (const wall of walls(builders, bare.setpriv, missing)) {
      const managed = await ask(wall, bait.attempts, false);
      if (typeof managed === 'string') {
        missing.push(`${basename(wall.tool)}${wall.proc ? '' : ' without /proc'}: ${managed}`);
        continue;
      }
      if (best === undefined || countHeld(managed) > countHeld(best.managed)) best = { wall, managed };
      if (isComplete(best)) break;
    }
    const isolation = {
      by: best?.wall.by ?? 'none',
      layers: layersOf(await flagged, best?.managed, best?.wall, missing.join('; ')),
    };
    return { isolation, wall: best?.wall ?? bare, missing: missing.join('; ') };
  } finally {
    bait.end();
  }
}

/** No wall, but for what has a process end with the one that started it, where that is there and works. */
async function bareWall(attempts: Attempts): Promise<Wall> {
  const setpriv = process.platform === 'linux' ? programAt('setpriv') : undefined;
  const wall = { ...NO_WALL, setpriv };
  return setpriv !== undefined && typeof (await ask(wall, attempts, true)) !== 'string' ? wall : NO_WALL;
}

/** The kinds of walls that may be built here, best first; `missing` is told what is not there. */
async function* walls(
  builders: NonNullable<SurveyOptions['builders']>,
  known: string | undefined,
  missing: string[],
): AsyncGenerator<Wall> {
  if (process.platform !== 'linux') {
    missing.push(`${process.platform} has no namespaces`);
    return;
  }
  const libraries = await librariesOf(realpathSync(process.execPath));
  for (const by of builders) {
    const tool = programAt(TOOLS[by]);
    if (tool === undefined) {
      missing.push(`${TOOLS[by]} is not installed`);
      continue;
    }
    const filter = by === 'bubblewrap' ? systemCallFilter(process.arch) : undefined;
    const setpriv = by === 'unshare' ? known : undefined;
    const tasksMax = by === 'unshare' && countsByNamespace(release()) ? tasksOf(availableParallelism()) : undefined;
    for (const proc of [true, false]) yield { by, tool, proc, filter, setpriv, tasksMax, libraries };
  }
}

/** Node has about a dozen threads; the runtime has one for each processor, for each of a model's parts. */
const tasksOf = (cores: number): number => 64 + 4 * cores;

/** Whether this Linux counts tasks for each user namespace; before 5.14 they are all of a user's. */
export function countsByNamespace(kernel: string): boolean {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  return major > 5 || (major === 5 && minor >= 14);
}

/** Whole, because an engine's environment has no path to look along. */
function programAt(name: string): string | undefined {
  const folders = [
    ...(process.env['PATH'] ?? '').split(':').filter((folder) => folder.startsWith('/')),
    ...TOOL_FOLDERS,
  ];
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

interface Bait {
  readonly attempts: Attempts;
  end(): void;
}

/** What a probe is to reach for: all of it is there, and without walls it would be reached. */
async function layBait(): Promise<Bait> {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-probe-'));
  const file = join(folder, 'secret');
  writeFileSync(file, 'secret');
  const socket = process.platform === 'linux' ? `\0idlewild-probe-${randomUUID()}` : undefined;
  const servers = [await listening({ port: 0, host: '127.0.0.1' })];
  if (socket !== undefined) servers.push(await listening({ path: socket }));
  const attempts: Attempts = {
    port: ((servers[0] as Server).address() as AddressInfo).port,
    socket,
    files: [file, ...someFiles(homedir()), '/etc/passwd', `/proc/${process.pid}/environ`],
    folders: [folder, tmpdir(), homedir(), '/', '/dev/shm', dirname(PROBE)],
    pid: process.pid,
  };
  return {
    attempts,
    end() {
      for (const server of servers) server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Files and not the folder: where the packages lie in it, a view has a folder of that name with nothing else in it. */
function someFiles(folder: string): string[] {
  try {
    const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
    return files.slice(0, HOME_FILES_MAX).map((entry) => join(folder, entry.name));
  } catch {
    return [];
  }
}

function listening(at: { port: number; host: string } | { path: string }): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.on('error', () => undefined).end());
    server.unref().once('error', reject);
    server.listen(at, () => resolve(server));
  });
}

/** What the probe managed, or why it did not run. `flagged`: under Node's permission flags. */
export function ask(wall: Wall, attempts: Attempts, flagged: boolean): Promise<Managed | string> {
  const node = realpathSync(process.execPath);
  const view = viewOf(readableFolders([]), node, wall.libraries);
  const command = [node, ...(flagged ? permissionFlags([]) : []), PROBE, JSON.stringify(attempts)];
  const { words, filter } = behind(wall, view, command);
  return new Promise((resolve) => {
    const child = spawn(words[0] as string, words.slice(1), {
      env: engineEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe', 'ignore', filter === undefined ? 'ignore' : 'pipe'],
      windowsHide: true,
      detached: wall.by !== 'none',
      timeout: PROBE_MS_MAX,
      killSignal: 'SIGKILL',
    });
    let [printed, complaint] = ['', ''];
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (printed += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (complaint += text));
    const feed = child.stdio[4] as Writable | null | undefined;
    feed?.on('error', () => undefined).end(filter);
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => {
      try {
        resolve(JSON.parse(printed) as Managed);
      } catch {
        resolve((complaint.trim().split('\n')[0] ?? '').slice(0, 200) || `it ended with ${signal ?? code ?? 0}`);
      }
    });
  });
}

type Held = Readonly<Record<Exclude<LayerName, 'environment' | 'permissions'>, boolean>>;

/** What walls hold by themselves. */
function heldBy(managed: Managed): Held {
  return {
    network: managed.connected.length === 0,
    files: managed.read.length === 0,
    writing: managed.written.length === 0,
    processes: managed.seen.length === 0,
    privileges: managed.capabilities !== undefined && /^0*$/.test(managed.capabilities) && managed.gains === false,
    'system-calls': !managed.spawned && !managed.listened,
  };
}

const countHeld = (managed: Managed): number => Object.values(heldBy(managed)).filter(Boolean).length;
/** All that its builder can do: without a filter nobody expects system calls to be refused. */
const isComplete = ({ wall, managed }: { wall: Wall; managed: Managed }): boolean =>
  Object.entries(heldBy(managed)).every(
    ([name, holds]) => holds || (name === 'system-calls' && wall.filter === undefined),
  );

function layersOf(
  flagged: Managed | string,
  managed: Managed | undefined,
  wall: Wall | undefined,
  missing: string,
): Layer[] {
  const flags = typeof flagged === 'string' ? undefined : flagged;
  const leaked = flags?.environment.filter((name) => !Object.hasOwn(engineEnvironment(), name));
  const denied = flags !== undefined && flags.read.length + flags.written.length === 0 && !flags.spawned;
  const held = managed === undefined ? undefined : heldBy(managed);
  const failed = typeof flagged === 'string' ? `the probe did not run: ${flagged}` : '';
  const walled = (name: keyof Held, how: string, tried: readonly (string | number)[] | string): Layer => {
    if (held === undefined) return { name, holds: false, why: `no walls here: ${missing || 'none was tried'}` };
    const why = held[name] ? `${wall?.by ?? ''}: ${how}` : `${wall?.by ?? ''} does not hold: ${String(tried)}`;
    return { name, holds: held[name], why };
  };
  return [
    {
      name: 'environment',
      holds: leaked?.length === 0,
      why: failed || (leaked?.length === 0 ? 'empty' : `it holds ${leaked?.join(', ') ?? ''}`),
    },
    {
      name: 'permissions',
      holds: denied,
      why: failed || (denied ? "Node's flags: scripts read only the model, write and start nothing" : 'not kept'),
    },
    walled('network', 'a network of its own with nothing in it', managed?.connected ?? []),
    walled('files', 'only the model and the programs are there', managed?.read ?? []),
    walled('writing', 'everything is read-only', managed?.written ?? []),
    walled('processes', 'it sees no other process', managed?.seen ?? []),
    walled('privileges', 'none, and no way to new ones', `capabilities ${managed?.capabilities ?? 'unknown'}`),
    walled('system-calls', 'no sockets and no processes can be made', 'sockets and processes can be made in it'),
  ];
}
