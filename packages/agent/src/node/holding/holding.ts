/**
 * What holds engines to the lender's limits on this machine: found out once, at the start, applied to each engine as
 * it starts, and told to the lender in words. It says what is so and not what was wished for: where the system keeps a
 * limit, it says so, and where only the engine itself does, it says that.
 */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import type { ProcessOptions } from '@idlewild/engine/node';
import type { Consent } from '@idlewild/protocol';
import type { LendingLimits } from '../../core/agent.ts';
import { AGENT_LIMITS } from '../../core/limits.ts';
import type { LimitHeld } from '../../core/lending/idleness/port.ts';
import { openEngineCgroup, type CgroupFiles, type EngineCgroup, type NoCgroup } from './cgroup.ts';
import { NICENESS, leastPriority, priorityPorts, type Priority } from './priority.ts';

/** What was lent, as far as it is told in words. */
export interface Lending {
  readonly limits: LendingLimits;
  readonly cores: number;
  readonly diskBytes: number;
  readonly downloadBytesPerSecond: number | undefined;
  /** 0 is not at all. */
  readonly uploadBytesPerSecond: number;
  readonly gpu: Consent['gpu'];
}

export interface Holding {
  /** For every engine that is started. */
  readonly process: Pick<ProcessOptions, 'under' | 'niceness' | 'onStarted'>;
  limitsHere(): readonly LimitHeld[];
  close(): void;
}

export interface HoldingPorts {
  readonly priority: Priority;
  readonly cgroup: EngineCgroup | NoCgroup;
  readonly log: (message: string) => void;
}

/** Looks at this machine; writes to its control groups where that is allowed. */
export function holdHere(lending: Lending, log: (message: string) => void): Holding {
  const { limits, cores } = lending;
  const cpuShare = (limits.threads * (limits.dutyShare ?? 1)) / cores;
  const cgroup =
    process.platform === 'linux'
      ? openEngineCgroup(
          cgroupFiles,
          { cpuShare, cores, memoryBytesMax: limits.memoryBytesMax },
          { pid: process.pid, children: childrenOf(process.pid) },
        )
      : { why: 'only Linux has control groups' };
  return createHolding(lending, { priority: leastPriority(priorityPorts), cgroup, log });
}

export function createHolding(lending: Lending, { priority, cgroup, log }: HoldingPorts): Holding {
  const group = 'why' in cgroup ? undefined : cgroup;
  return {
    process: {
      under: priority.under,
      niceness: NICENESS,
      onStarted(pid) {
        try {
          group?.adopt(pid);
        } catch (error) {
          log(`an engine runs outside its control group: ${(error as Error).message}`);
        }
      },
    },
    limitsHere: () => tell(lending, priority, cgroup),
    close: () => group?.close(),
  };
}

function tell(lending: Lending, priority: Priority, cgroup: EngineCgroup | NoCgroup): LimitHeld[] {
  const { limits, cores, diskBytes, downloadBytesPerSecond, uploadBytesPerSecond, gpu } = lending;
  const { threads, memoryBytesMax, dutyShare = 1 } = limits;
  const keeps = (what: 'cpu' | 'memory'): boolean => !('why' in cgroup) && cgroup.holds.includes(what);
  // Told once: of the processors, which come first.
  const why = 'why' in cgroup ? `; not by the system: ${cgroup.why}` : '';
  const rests = dutyShare < 1 ? `, ${percent(dutyShare)} of the time` : '';
  const most = `${threads} of ${cores} processors${rests}`;
  const memory = `${sizeText(memoryBytesMax)} for all engines`;
  const speed =
    downloadBytesPerSecond === undefined ? 'as fast as it goes' : `${sizeText(downloadBytesPerSecond)} a second`;
  const own = (what: LimitHeld['what'], text: string): LimitHeld => ({ what, by: 'Idlewild', text });
  const by = (isKept: boolean): LimitHeld['by'] => (isKept ? 'the system' : 'Idlewild');
  return [
    {
      what: 'processors',
      by: by(keeps('cpu')),
      text: keeps('cpu') ? `${most}, by a control group` : `${most}, by the engine's threads and rests${why}`,
    },
    {
      what: 'priority',
      by: 'the system',
      text:
        priority.processors === 'idle'
          ? 'only what no other program wants of the processors (SCHED_IDLE)'
          : `after every other program (nice ${NICENESS})`,
    },
    {
      what: 'disk access',
      by: priority.disk === 'idle' ? 'the system' : 'nobody',
      text:
        priority.disk === 'idle' ? 'after every other program (idle class)' : 'like any program: no ionice works here',
    },
    {
      what: 'memory',
      by: by(keeps('memory')),
      text: keeps('memory') ? `${memory}, by a control group` : `${memory}, by what each is given and measured to take`,
    },
    own('graphics', `engines of this version compute on processors alone${GRAPHICS[gpu]}`),
    own('disk', `${sizeText(diskBytes)} of models`),
    own('downloads', `${speed}, ${sizeText(diskBytes * AGENT_LIMITS.downloadDisksPerDay)} a day`),
    own('uploads', uploadBytesPerSecond === 0 ? 'none' : `${sizeText(uploadBytesPerSecond)} a second`),
  ];
}

const GRAPHICS = {
  never: '; no card is touched',
  idle: '; a card is tried once, at a start at which nobody uses the machine',
  always: '; a card is tried once, at the start',
} as const;

const percent = (share: number): string => `${Math.round(100 * share)} %`;
const UNITS = [
  [1e9, 'GB'],
  [1e6, 'MB'],
  [1e3, 'kB'],
] as const;
/** With a digit behind the point where there is something to say: `12.6 GB`, `500 kB`. */
function sizeText(bytes: number): string {
  const [size, unit] = UNITS.find(([least]) => bytes >= least) ?? [1e3, 'kB'];
  return `${Number((bytes / size).toFixed(1))} ${unit}`;
}

const cgroupFiles: CgroupFiles = {
  read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  },
  write: (path, text) => writeFileSync(path, text),
  makeFolder: (path) => void mkdirSync(path, { recursive: true }),
  removeFolder: (path) => rmdirSync(path),
};

const childrenOf = (pid: number): number[] =>
  (cgroupFiles.read(`/proc/${pid}/task/${pid}/children`) ?? '')
    .split(' ')
    .filter((text) => text.trim() !== '')
    .map(Number);
