/**
 * How a program is put behind walls on Linux: the words before its own that start it in namespaces of its own, with a
 * view of files that holds what it needs and nothing else.
 *
 * Two builders. bubblewrap makes all of it and loads a filter of system calls. `unshare`, which is on nearly every
 * Linux, with a script of a few lines, makes the same namespaces without the filter: an outer user namespace builds the
 * mounts and an inner one, in which the program runs as nobody, has no say over them. In both the program is the first
 * process of its own process namespace, and the only child of the builder, so that signals from outside reach it and
 * its end ends whatever it may have left.
 *
 * Without the filter it could make processes without end. `RLIMIT_NPROC` set outside would count all of its user's, and
 * the lender's desktop has more of them than an engine needs; but since Linux 5.14 one that is set within a user
 * namespace counts what is in the namespaces below. The kernel holds no lender to it who is root.
 */
import { existsSync } from 'node:fs';
import type { View } from './view.ts';

export type Builder = 'bubblewrap' | 'unshare' | 'none';

export interface Wall {
  readonly by: Builder;
  /** Path of the builder's program. */
  readonly tool: string;
  /**
   * Path of `setpriv`, which takes from what it starts the way to new rights, and has it end with whoever started it:
   * bubblewrap does both by itself.
   */
  readonly setpriv?: string | undefined;
  /** A `/proc` of its own processes; some containers forbid to make one, and then there is none at all. */
  readonly proc: boolean;
  /** For the kernel to judge system calls by; bubblewrap's only. */
  readonly filter?: Uint8Array | undefined;
  /**
   * Threads and processes behind the wall, all together; absent: no bound. `unshare`'s only: behind a filter there are
   * no new processes.
   */
  readonly tasksMax?: number | undefined;
  /** Files of the system that every engine needs. */
  readonly libraries: readonly string[];
}

export const NO_WALL: Wall = { by: 'none', tool: '', proc: true, libraries: [] };

export interface Walled {
  readonly words: readonly string[];
  /** To be written to descriptor 4 of the first of the words. */
  readonly filter?: Uint8Array | undefined;
}

/** Of the program behind the wall: nobody, without a name on the machine. */
const USER = '65534';
const HOST_NAME = 'engine';
const FILTER_DESCRIPTOR = 4;
const GATE_DESCRIPTOR = 5;

/**
 * `$1` is a bound on memory in kilobytes, 0 for none. No core is dumped, since it would hold prompts; and where a
 * machine runs out of memory, engines are what the kernel ends first, and not a program of the lender's.
 */
const GATE = `read -r line <&${GATE_DESCRIPTOR} || exit 1
exec ${GATE_DESCRIPTOR}<&-
ulimit -c 0
[ "$1" = 0 ] || ulimit -d "$1" 2>/dev/null
echo 1000 2>/dev/null >/proc/self/oom_score_adj
shift
exec "$@"`;

/**
 * The same words behind a gate: they are run once a line was written to descriptor 5. What is set for a process until
 * then, its place in line or its control group, goes over to the one that it starts. With `dataBytesMax` the kernel
 * gives all processes of it no more memory to write to, each.
 */
export const gated = (words: readonly string[], dataBytesMax = 0): string[] => [
  ...['/bin/sh', '-c', GATE, HOST_NAME, String(Math.ceil(dataBytesMax / 1_024))],
  ...words,
];

/** `command` must hold whole paths. Whoever starts it starts it in a session of its own: no terminal is in reach. */
export function behind(wall: Wall, view: View, command: readonly string[]): Walled {
  const first = wall.setpriv === undefined ? [] : [wall.setpriv, '--no-new-privs', '--pdeathsig', 'KILL', '--'];
  if (wall.by === 'none') return { words: [...first, ...command] };
  if (wall.by === 'unshare') {
    return { words: [...first, wall.tool, ...unshareWords(wall, view), ...command] };
  }
  const words = [wall.tool, ...bubblewrapWords(wall, view), '--', ...command];
  return { words, filter: wall.filter };
}

function bubblewrapWords({ proc, filter }: Wall, view: View): string[] {
  return [
    ...['--unshare-user', '--unshare-net', '--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    ...['--uid', USER, '--gid', USER, '--hostname', HOST_NAME, '--cap-drop', 'ALL'],
    ...['--die-with-parent', '--as-pid-1', '--unsetenv', 'SHLVL', '--unsetenv', '_', '--unsetenv', 'OLDPWD'],
    ...(view.wholeMachine === true
      ? ['--ro-bind', '/', '/', '--dev-bind', '/dev', '/dev', ...(proc ? ['--proc', '/proc'] : ['--tmpfs', '/proc'])]
      : [
          ...view.readable.flatMap((path) => ['--ro-bind', path, path]),
          ...view.devices.flatMap((path) => ['--dev-bind', path, path]),
          // In it a process may give itself back the place in line that was taken from it.
          ...(proc ? ['--proc', '/proc', '--remount-ro', '/proc'] : []),
          ...['--remount-ro', '/'],
        ]),
    ...['--chdir', '/'],
    ...(filter === undefined ? [] : ['--seccomp', String(FILTER_DESCRIPTOR)]),
  ];
}

/**
 * `$1` is a folder to build in, which only its own mounts cover; `$2` the program that it ends in, `unshare` again;
 * `$3` how many tasks there may be, 0 for any number, which shells know by one of two letters; then paths to show,
 * devices after `-d`, `/proc` after `-p`, and the command after `--`.
 */
const SCRIPT = `set -e
root=$1 tool=$2 tasks=$3; shift 3
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=1m,nosuid,nodev none "$root"
keep=ro,nosuid,nodev
while [ "$1" != -- ]; do
  case $1 in
    -d) keep=nosuid,noexec; shift; continue ;;
    -p) mkdir "$root/proc"; mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc"; shift; continue ;;
  esac
  if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root\${1%/*}"; : >"$root$1"; fi
  mount --bind "$1" "$root$1"
  mount -o "remount,bind,$keep" "$root$1"
  shift
done
shift
mount -o remount,bind,ro,nosuid,nodev "$root"
hostname "$0" 2>&- || :
cd /
unset PWD OLDPWD SHLVL _
[ "$tasks" = 0 ] || ulimit -u "$tasks" 2>&- || ulimit -p "$tasks" 2>&- || :
exec "$tool" --user --map-user=${USER} --map-group=${USER} --root="$root" --wd=/ -- "$@"`;

/** Any folder will do that is there and holds nothing of what is to be shown, which the view would cover. */
const BUILDING_PLACES = ['/mnt', '/media', '/srv', '/opt', '/tmp', '/run', '/var/tmp'] as const;

function unshareWords({ tool, proc, tasksMax = 0 }: Wall, view: View): string[] {
  const namespaces = ['--user', '--map-root-user', '--mount', '--net', '--pid', '--ipc', '--uts', '--cgroup'];
  const start = [...namespaces, '--fork', '--kill-child=SIGKILL', '--', '/bin/sh', '-c'];
  if (view.wholeMachine === true) {
    const last = `exec "$0" --user --map-user=${USER} --map-group=${USER} --wd=/ -- "$@"`;
    return [...start, last, tool];
  }
  const place = BUILDING_PLACES.find((each) => existsSync(each) && !view.readable.some((path) => within(path, each)));
  const shown = [...view.readable, ...(proc ? ['-p'] : []), '-d', ...view.devices];
  return [...start, SCRIPT, HOST_NAME, place ?? BUILDING_PLACES[0], tool, String(tasksMax), ...shown, '--'];
}

const within = (path: string, folder: string): boolean => `${path}/`.startsWith(`${folder}/`);
