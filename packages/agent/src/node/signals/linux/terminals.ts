/**
 * When somebody last typed at a text console or over ssh: the time of the last read of a terminal. The kernel keeps it
 * in steps of eight seconds, so that nobody learns the rhythm of typing. It tells nothing of windows on a screen.
 */
import type { Clock } from '@idlewild/protocol';
import type { Probe } from '../probe.ts';
import type { System } from '../system.ts';

const STEP_MS = 8_000;

export function createTerminalsProbe(system: System, clock: Clock): Probe {
  return {
    sources: () => ({ inputIdleMs: 'terminals (text consoles and ssh)' }),
    read() {
      const now = clock.now();
      const terminals = system.list('/dev/pts').filter((name) => /^\d+$/.test(name));
      const console = system.peek('/sys/class/tty/tty0/active')?.trim();
      const paths = [...terminals.map((name) => `/dev/pts/${name}`), ...(console ? [`/dev/${console}`] : [])];
      const idle = paths.flatMap((path) => {
        const readMs = system.readAtMs(path);
        // A time that is still to come is of another clock.
        return readMs === undefined || readMs > now + STEP_MS ? [] : [Math.max(0, now - readMs)];
      });
      return idle.length === 0 ? {} : { inputIdleMs: Math.min(...idle) };
    },
  };
}
