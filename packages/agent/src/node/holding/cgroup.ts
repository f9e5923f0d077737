/**
 * Limits that the kernel keeps: a control group (cgroup v2) for the engines, below the one that this process was given
 * by the user's systemd.
 *
 *   …/idlewild.service          delegated to us; from here on it holds no process itself, as the kernel wants it
 *     ├── agent                 this process
 *     └── engines               every engine: cpu.weight or cpu.idle, cpu.max, memory.high, memory.max, pids.max
 *
 * Only a group that is ours alone is used: of a terminal's other programs nothing is moved or limited. Where that is
 * not so, or the system has no such thing, the reason is told, and engines are held by what they do themselves.
 */
import { posix } from 'node:path';

/** Files of the kernel's two trees, `/proc` and `/sys/fs/cgroup`; recorded ones in tests. */
export interface CgroupFiles {
  /** `undefined` when it is not there or may not be read. */
  read(path: string): string | undefined;
  /** Throws what the kernel says. */
  write(path: string, text: string): void;
  makeFolder(path: string): void;
  /** Of a group without processes. */
  removeFolder(path: string): void;
}

export interface CgroupLimits {
  /** Of all processors together, over 0 and at most 1. */
  readonly cpuShare: number;
  readonly cores: number;
  readonly memoryBytesMax: number;
}

export interface EngineCgroup {
  readonly path: string;
  /** What is kept; never empty. */
  readonly holds: readonly ('cpu' | 'memory')[];
  /** A process, and all that it starts from now on. Throws what the kernel says. */
  adopt(pid: number): void;
  close(): void;
}

export interface NoCgroup {
  readonly why: string;
}

const ROOT = '/sys/fs/cgroup';
const PERIOD_MICROSECONDS = 100_000;
/** The kernel's least; `cpu.max` takes no smaller quota. */
const QUOTA_MICROSECONDS_MIN = 1_000;
/** Memory is taken back from an engine, slowly, before it is ended for what it takes. */
const HIGH_SHARE = 0.95;
const WANTED = ['cpu', 'memory'] as const;
/**
 * Threads and processes of all engines: one has a dozen, and one for each processor for each of its model's parts. With
 * room for eight such; beyond it is one that makes processes without end.
 */
const TASKS_MAX = 512;
const TASKS_PER_CORE = 32;

/** `pid`: this process. `children`: processes that it has started. Never throws. */
export function openEngineCgroup(
  files: CgroupFiles,
  limits: CgroupLimits,
  { pid, children }: { readonly pid: number; readonly children: readonly number[] },
): EngineCgroup | NoCgroup {
  const own = /^0::(\/.*)$/m.exec(files.read('/proc/self/cgroup') ?? '')?.[1];
  if (own === undefined) return { why: 'this system has no control groups of version 2' };
  // Started again by what was moved here before.
  const base = posix.join(ROOT, posix.basename(own) === 'agent' ? posix.dirname(own) : own);
  const controllers = (files.read(`${base}/cgroup.controllers`) ?? '').split(/\s+/);
  const holds = WANTED.filter((name) => controllers.includes(name));
  if (own === '/' || holds.length === 0) return { why: `no controllers were handed to the group ${own}` };
  const others = pidsIn(files, base).filter((each) => each !== pid && !children.includes(each));
  if (others.length > 0) {
    return { why: `the group ${own} holds other programs, too; a service of its own has a group of its own` };
  }
  try {
    return open(files, base, { holds, boundsTasks: controllers.includes('pids') }, limits);
  } catch (error) {
    return { why: `the group ${own} is not ours to divide (${(error as Error).message})` };
  }
}

function open(
  files: CgroupFiles,
  base: string,
  { holds, boundsTasks }: { readonly holds: EngineCgroup['holds']; readonly boundsTasks: boolean },
  { cpuShare, cores, memoryBytesMax }: CgroupLimits,
): EngineCgroup {
  files.makeFolder(`${base}/agent`);
  for (const each of pidsIn(files, base)) files.write(`${base}/agent/cgroup.procs`, String(each));
  const divided = [...holds, ...(boundsTasks ? ['pids'] : [])];
  files.write(`${base}/cgroup.subtree_control`, divided.map((name) => `+${name}`).join(' '));
  const path = `${base}/engines`;
  files.makeFolder(path);
  if (holds.includes('cpu')) {
    // Since Linux 5.15; before, the least weight is as near as it gets.
    if (files.read(`${path}/cpu.idle`) === undefined) files.write(`${path}/cpu.weight`, '1');
    else files.write(`${path}/cpu.idle`, '1');
    const quota = Math.max(QUOTA_MICROSECONDS_MIN, Math.round(cpuShare * cores * PERIOD_MICROSECONDS));
    files.write(`${path}/cpu.max`, `${quota} ${PERIOD_MICROSECONDS}`);
  }
  if (holds.includes('memory')) {
    files.write(`${path}/memory.high`, String(Math.floor(memoryBytesMax * HIGH_SHARE)));
    files.write(`${path}/memory.max`, String(memoryBytesMax));
  }
  if (boundsTasks) files.write(`${path}/pids.max`, String(TASKS_MAX + TASKS_PER_CORE * cores));
  return {
    path,
    holds,
    adopt: (pid) => files.write(`${path}/cgroup.procs`, String(pid)),
    close() {
      try {
        files.removeFolder(path);
      } catch {
        // An engine is on its way out; the group goes with the service.
      }
    },
  };
}

const pidsIn = (files: CgroupFiles, folder: string): number[] =>
  (files.read(`${folder}/cgroup.procs`) ?? '')
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
