/**
 * Which of the programs that the lender listed run: by the short name that every process has, and by the file that it
 * runs, which is told of the lender's own processes. Nothing is read while the list is empty.
 */
import type { Probe } from '../probe.ts';
import { createProgramNames } from '../program-names.ts';
import type { System } from '../system.ts';

/** What the kernel keeps of a name (comm). */
const SHORT_NAME = 15;

export function createProgramsProbe(system: System, listed: () => readonly string[]): Probe {
  return {
    sources: () => ({ programs: 'the list of processes (/proc), once you have listed programs' }),
    read() {
      if (listed().length === 0) return { programs: [] };
      const names = createProgramNames(listed());
      for (const pid of system.list('/proc')) {
        if (!/^\d+$/.test(pid)) continue;
        const short = system.peek(`/proc/${pid}/comm`)?.trim();
        if (short === undefined) continue;
        names.see(short);
        const file = system.link(`/proc/${pid}/exe`)?.replace(/ \(deleted\)$/, '');
        if (file !== undefined) names.see(file);
        // A game of another system is run by an interpreter, and its own name is its first argument.
        if (short.length >= SHORT_NAME) names.see(system.peek(`/proc/${pid}/cmdline`)?.split('\0')[0] ?? '');
      }
      return { programs: names.seen() };
    },
  };
}
