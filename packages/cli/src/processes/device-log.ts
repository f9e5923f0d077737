/**
 * A device's log: a JSON line for each thing that happened, in a file of bounded size.
 *
 * What happens again and again, as when its hub is away for a night, is written the 1st, 2nd, 4th, 8th … time, and says
 * how often it has been. After some quiet it is news again.
 */
import { openRotatedFile, type RotatedFile } from './rotated-file.ts';

export type DeviceLog = (level: string, message: string, fields?: Readonly<Record<string, unknown>>) => void;

/** What was not said for so long is told as something new. */
const QUIET_MS = 600_000;
/** The same thing is written at least this often. */
const AGAIN_MS = 3_600_000;
/** Things that are counted; the one longest unsaid is forgotten for another. */
const KNOWN_MAX = 64;

interface Said {
  readonly times: number;
  readonly lastMs: number;
  readonly writtenMs: number;
}

export const deviceLog = (path: string): DeviceLog => createDeviceLog(openRotatedFile(path), () => Date.now());

export function createDeviceLog(file: RotatedFile, now: () => number): DeviceLog {
  const known = new Map<string, Said>();
  return (level, message, fields = {}) => {
    if (level === 'debug') return;
    const key = `${level} ${message}`;
    const nowMs = now();
    const before = known.get(key);
    const isAgain = before !== undefined && nowMs - before.lastMs < QUIET_MS;
    const times = isAgain ? before.times + 1 : 1;
    const isWritten = !isAgain || (times & (times - 1)) === 0 || nowMs - before.writtenMs >= AGAIN_MS;
    known.delete(key);
    known.set(key, { times, lastMs: nowMs, writtenMs: isWritten ? nowMs : before.writtenMs });
    const [oldest] = known.keys();
    if (known.size > KNOWN_MAX && oldest !== undefined) known.delete(oldest);
    if (!isWritten) return;
    const count = times === 1 ? {} : { times };
    file.write(JSON.stringify({ at: new Date(nowMs).toISOString(), level, message, ...count, ...fields }));
  };
}
