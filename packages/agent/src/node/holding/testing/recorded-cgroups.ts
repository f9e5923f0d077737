/**
 * Control groups as Linux and systemd make them for a user, written after the kernel's documentation of cgroup v2 and
 * not recorded, with what the kernel does when they are written: processes move, controllers are refused to a group
 * that holds processes, and files appear with their controllers. For tests.
 */
import { posix } from 'node:path';
import type { CgroupFiles } from '../cgroup.ts';

const ROOT = '/sys/fs/cgroup';
const APP = '/user.slice/user-1000.slice/user@1000.service/app.slice';

/** What a new group shows of each controller. */
const FILES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  cpu: { 'cpu.weight': '100\n', 'cpu.idle': '0\n', 'cpu.max': 'max 100000\n' },
  memory: { 'memory.high': 'max\n', 'memory.max': 'max\n', 'memory.current': '0\n' },
  io: { 'io.weight': 'default 100\n' },
  pids: { 'pids.max': 'max\n' },
};

export interface Recording {
  /** As in `/proc/self/cgroup`. */
  readonly own: string;
  readonly procs: readonly number[];
  readonly controllers: string;
  /** Whether the group is ours to write. */
  readonly delegated: boolean;
  /** Before Linux 5.15. */
  readonly withoutIdle?: boolean;
}

/** A user's service with `Delegate=yes`. */
export const SERVICE: Recording = {
  own: `0::${APP}/idlewild.service\n`,
  procs: [4_242],
  controllers: 'cpu memory pids\n',
  delegated: true,
};
/** A terminal's scope: shell, agent, and what else was typed. */
export const TERMINAL: Recording = {
  own: `0::${APP}/app-gnome-org.gnome.Terminal.slice/vte-spawn-5b8a9d0c.scope\n`,
  procs: [4_100, 4_242, 4_300],
  controllers: 'cpu memory pids\n',
  delegated: true,
};
/** A system service without delegation. */
export const UNDELEGATED: Recording = {
  own: '0::/system.slice/idlewild.service\n',
  procs: [4_242],
  controllers: 'cpuset cpu io memory pids\n',
  delegated: false,
};
/** Version 1 beside an empty version 2, as in many containers. */
export const HYBRID: Recording = {
  own: '9:name=systemd:/\n4:memory:/process_api/769e4bc9\n1:cpu:/\n0::/\n',
  procs: [],
  controllers: '\n',
  delegated: true,
};
export const VERSION_1: Recording = {
  own: '4:memory:/user.slice\n1:cpu,cpuacct:/user.slice\n',
  procs: [],
  controllers: '',
  delegated: false,
};

export interface RecordedCgroups extends CgroupFiles {
  /** Path below the recorded group → text; `procs` of a group as it is now. */
  text(path: string): string | undefined;
}

export function recordedCgroups({ own, procs, controllers, delegated, withoutIdle }: Recording): RecordedCgroups {
  const group = /^0::(\/.*)$/m.exec(own)?.[1];
  const base = posix.join(ROOT, group ?? '');
  const files = new Map<string, string>([['/proc/self/cgroup', own]]);
  const fail = (code: string, what: string): never => {
    throw Object.assign(new Error(`${code}: ${what}`), { code });
  };
  const show = (folder: string, names: readonly string[]): void => {
    for (const name of names) {
      for (const [file, text] of Object.entries(FILES[name] ?? {})) {
        if (file === 'cpu.idle' && withoutIdle === true) continue;
        if (!files.has(`${folder}/${file}`)) files.set(`${folder}/${file}`, text);
      }
    }
  };
  const create = (folder: string, with_: string, pids: readonly number[]): void => {
    files.set(`${folder}/cgroup.controllers`, with_);
    files.set(`${folder}/cgroup.subtree_control`, '\n');
    files.set(`${folder}/cgroup.procs`, pids.map((pid) => `${pid}\n`).join(''));
    show(folder, with_.split(/\s+/));
  };
  if (group !== undefined) create(base, controllers, procs);
  const folders = (): string[] =>
    [...files.keys()].filter((path) => path.endsWith('/cgroup.procs')).map((path) => posix.dirname(path));

  function move(folder: string, pid: string): void {
    for (const each of folders()) {
      const lines = (files.get(`${each}/cgroup.procs`) ?? '').split('\n').filter((line) => line !== '' && line !== pid);
      if (each === folder) lines.push(pid);
      files.set(`${each}/cgroup.procs`, lines.map((line) => `${line}\n`).join(''));
    }
  }

  return {
    text: (path) => files.get(`${base}/${path}`),
    read: (path) => files.get(path),
    write(path, text) {
      const folder = posix.dirname(path);
      if (!files.has(path)) fail('ENOENT', path);
      if (!delegated) fail('EACCES', path);
      if (path.endsWith('/cgroup.procs')) return move(folder, text);
      if (!path.endsWith('/cgroup.subtree_control')) return void files.set(path, `${text}\n`);
      if (files.get(`${folder}/cgroup.procs`) !== '') fail('EBUSY', path);
      const names = text.split(' ').map((word) => word.slice(1));
      const has = (files.get(`${folder}/cgroup.controllers`) ?? '').split(/\s+/);
      if (names.some((name) => !has.includes(name))) fail('ENOENT', path);
      files.set(path, `${names.join(' ')}\n`);
      for (const child of folders()) if (posix.dirname(child) === folder) show(child, names);
    },
    makeFolder(path) {
      if (files.has(`${path}/cgroup.procs`)) return;
      if (!delegated) fail('EACCES', path);
      create(path, files.get(`${posix.dirname(path)}/cgroup.subtree_control`) ?? '', []);
    },
    removeFolder(path) {
      if (files.get(`${path}/cgroup.procs`) !== '') fail('EBUSY', path);
      for (const file of files.keys()) if (posix.dirname(file) === path) files.delete(file);
    },
  };
}
