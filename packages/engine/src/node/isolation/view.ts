/**
 * What an engine's file wall lets it see on Linux: the folders that its Node flags name, Node itself, the system's
 * libraries that these two load, and the machine's list of processors, by which kernels are chosen.
 *
 * All of it read-only. Not in it, so that nothing of it can be read: homes, `/etc`, `/tmp`, `/var`, `/run`, devices.
 * The time zone is not in it either: an engine is in UTC. A view holds no path twice and none below another, in an
 * order in which they can be mounted.
 */
import { execFile } from 'node:child_process';
import { existsSync, globSync, realpathSync } from 'node:fs';
import { dirname, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface View {
  readonly readable: readonly string[];
  readonly devices: readonly string[];
  /** The machine's files instead, read-only, and its devices: for graphics drivers, and for graphs of ours only. */
  readonly wholeMachine?: boolean;
}

const DEVICES = ['/dev/null', '/dev/zero', '/dev/urandom'] as const;
/**
 * Where the loader finds libraries that lie outside its own folders; how many processors there are, and which. Both
 * are the same on all machines of one make and system.
 */
const SYSTEM = ['/etc/ld.so.cache', '/sys/devices/system/cpu'] as const;
/** Where libraries are if nobody can tell which ones are needed. */
const LIBRARY_FOLDERS = ['/lib', '/lib64', '/usr/lib', '/usr/lib64'] as const;
const LDD_MS_MAX = 5_000;

export function viewOf(folders: readonly string[], nodePath: string, libraries: readonly string[]): View {
  const wanted = [...folders, nodePath, ...libraries, ...SYSTEM];
  return { readable: outermost(wanted.filter((path) => existsSync(path))), devices: DEVICES.filter(existsSync) };
}

export const WHOLE_MACHINE: View = { readable: [], devices: [], wholeMachine: true };

/** Without what lies below another, sorted: what is mounted into a read-only folder would need its place made first. */
function outermost(paths: readonly string[]): string[] {
  const kept: string[] = [];
  for (const path of [...new Set(paths)].sort()) {
    if (!kept.some((above) => path.startsWith(above === sep ? sep : above + sep))) kept.push(path);
  }
  return kept;
}

/**
 * The shared libraries that Node and the runtime load, under the paths at which the system's loader looks for them;
 * whole folders of libraries where `ldd` is not there to tell.
 */
export async function librariesOf(nodePath: string): Promise<string[]> {
  const found = new Set<string>();
  for (const printed of await Promise.all([nodePath, ...nativeAddons()].map(ldd))) {
    for (const [, path] of printed.matchAll(/(?:=> |^\s*)(\/[^\s()]+) \(0x/gm)) found.add(path as string);
  }
  if (found.size === 0) return LIBRARY_FOLDERS.filter((path) => existsSync(path));
  return [...found];
}

/** The runtime's addon and its library, for this machine. */
function nativeAddons(): string[] {
  const root = dirname(dirname(realpathSync(fileURLToPath(import.meta.resolve('onnxruntime-node')))));
  return globSync(`bin/napi-v*/${process.platform}/${process.arch}/*{.node,.so*}`, { cwd: root }).map((path) =>
    realpathSync(`${root}/${path}`),
  );
}

function ldd(path: string): Promise<string> {
  return new Promise((resolve) => {
    // It runs the loader, not the program. An empty answer is one: the folders are taken instead.
    execFile('ldd', [path], { timeout: LDD_MS_MAX }, (error, printed) => resolve(error === null ? printed : ''));
  });
}
