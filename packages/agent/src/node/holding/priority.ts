/**
 * The words that make an engine the last in every queue: for processors (`SCHED_IDLE`, and nice 19 where that is not to
 * be had) and for the disk (the idle class). They stand before the engine's own, because threads take what they were
 * born with; what was set from outside later would miss some.
 *
 * What a system refuses is left out: each is tried on a program that does nothing.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

export interface Priority {
  /** Empty where there are no such programs. */
  readonly under: readonly string[];
  readonly processors: 'idle' | 'nice' | 'usual';
  readonly disk: 'idle' | 'usual';
}

export interface PriorityPorts {
  /** The whole path of a program, or `undefined`. */
  find(program: string): string | undefined;
  /** Whether these words run and end well. */
  works(words: readonly string[]): boolean;
}

/** The largest value, for those who want least. */
export const NICENESS = 19;
/** Where util-linux and coreutils put them, wherever our own PATH leads. */
const FOLDERS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', '/run/current-system/sw/bin'];
const TRIED_MS = 2_000;

export function leastPriority(ports: PriorityPorts): Priority {
  const under: string[] = [];
  const nothing = ports.find('true');
  const take = (program: string, ...words: readonly string[]): boolean => {
    const found = ports.find(program);
    if (found === undefined || nothing === undefined) return false;
    if (!ports.works([...under, found, ...words, nothing])) return false;
    under.push(found, ...words);
    return true;
  };
  const disk = take('ionice', '-c', '3') ? 'idle' : 'usual';
  const isNice = take('nice', '-n', String(NICENESS));
  const processors = take('chrt', '--idle', '0') ? 'idle' : isNice ? 'nice' : 'usual';
  return { under, processors, disk };
}

/** Of this machine; elsewhere than on Linux nothing is put before an engine. */
export const priorityPorts: PriorityPorts = {
  find: (program) =>
    process.platform === 'linux' ? FOLDERS.map((folder) => join(folder, program)).find(existsSync) : undefined,
  works: ([program = '', ...words]) => {
    const { status } = spawnSync(program, words, { stdio: 'ignore', timeout: TRIED_MS, env: {} });
    return status === 0;
  },
};
