/**
 * A machine out of records: files, links and times of reading by path, outputs by command. It counts what it is asked
 * for, and a test may change any record between two readings. A path that is not recorded is not there.
 */
import { SIGNAL_LIMITS } from '../limits.ts';
import type { EventDevice, LocalSocket, System } from '../system.ts';

export interface Machine {
  readonly platform: string;
  files: Record<string, string>;
  links: Record<string, string>;
  /** Of the wall clock. */
  readAtMs: Record<string, number>;
  /** By the command and its arguments, with spaces between. Absent: not installed. */
  outputs: Record<string, string>;
  env: Record<string, string>;
  /** Lines that a long-lived program prints when it is started. */
  lines: string[];
  processors: { busyMs: number; totalMs: number } | undefined;
  pid: number;
}

export interface RecordedSystem extends System {
  readonly machine: Machine;
  /** How often each command was run. */
  readonly runs: Map<string, number>;
  /** As if somebody had touched it. */
  touch(path: string): void;
  /** A line of the long-lived program. */
  print(line: string): void;
  readonly isFollowed: () => boolean;
}

export const emptyMachine = (platform: string): Machine => ({
  platform,
  files: {},
  links: {},
  readAtMs: {},
  outputs: {},
  env: {},
  lines: [],
  processors: undefined,
  pid: 4242,
});

export function createRecordedSystem(machine: Machine): RecordedSystem {
  const runs = new Map<string, number>();
  const touched = new Set<string>();
  let onLine: ((line: string) => void) | undefined;
  const peek = (path: string): string | undefined => machine.files[path]?.slice(0, SIGNAL_LIMITS.fileBytesMax);
  return {
    machine,
    runs,
    platform: machine.platform,
    pid: machine.pid,
    userId: 1000,
    hostName: 'recorded',
    env: machine.env,
    peek,
    bytes: (path) => (peek(path) === undefined ? undefined : Buffer.from(peek(path) ?? '', 'latin1')),
    read: (path) => Promise.resolve(peek(path)),
    list(folder) {
      const paths = [machine.files, machine.links, machine.readAtMs].flatMap((records) => Object.keys(records));
      const inside = paths.filter((path) => path.startsWith(`${folder}/`));
      return [...new Set(inside.map((path) => path.slice(folder.length + 1).split('/')[0] ?? ''))];
    },
    link: (path) => machine.links[path],
    readAtMs: (path) => machine.readAtMs[path],
    processorTimes: () => machine.processors,
    run(command, args) {
      const line = [command, ...args].join(' ');
      runs.set(line, (runs.get(line) ?? 0) + 1);
      return Promise.resolve(machine.outputs[line]);
    },
    follow(_command, _args, listen) {
      const { promise: ended, resolve } = Promise.withResolvers<void>();
      onLine = listen;
      for (const line of machine.lines) queueMicrotask(() => listen(line));
      // One that may not run ends without a word.
      if (machine.lines.length === 0) resolve();
      const stop = (): void => {
        onLine = undefined;
        resolve();
      };
      return { ended, stop };
    },
    connect: () => Promise.resolve<LocalSocket | undefined>(undefined),
    openEvents(path): EventDevice | undefined {
      if (machine.files[path] === undefined) return undefined;
      return {
        drain: () => (machine.files[path] === undefined ? 'gone' : touched.delete(path) ? 'some' : 'none'),
        close: () => undefined,
      };
    },
    touch: (path) => void touched.add(path),
    print: (line) => onLine?.(line),
    isFollowed: () => onLine !== undefined,
  };
}
