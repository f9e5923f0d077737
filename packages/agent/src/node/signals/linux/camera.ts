/**
 * Whether a camera is open. The driver of nearly all of them counts who has one open, whoever it is; for others the
 * open files of the lender's own programs are looked through, a few processes at a time.
 */
import { numberOf, type Probe } from '../probe.ts';
import type { System } from '../system.ts';

const CAMERAS = '/sys/class/video4linux';
const OPENED = '/sys/module/uvcvideo/refcnt';
/** Of one look: some thousand open files, which take a few milliseconds. */
const PROCESSES_PER_LOOK = 40;

export function createCameraProbe(system: System): Probe {
  let how: 'driver' | 'files' | undefined;
  let queue: string[] = [];
  let holders: readonly string[] = [];

  /** Those that were seen with a camera are asked each time, the others in turns. */
  function isOpenHere(): boolean {
    if (queue.length === 0) queue = system.list('/proc').filter((name) => /^\d+$/.test(name));
    const turn = queue.splice(0, PROCESSES_PER_LOOK);
    holders = [...new Set([...holders, ...turn])].filter((pid) => hasCamera(system, pid));
    return holders.length > 0;
  }

  return {
    sources() {
      if (how === 'driver') return { camera: `who has a camera open (${OPENED})` };
      return how === 'files' ? { camera: 'open files of your own programs (/proc/PID/fd)' } : {};
    },
    read() {
      how = undefined;
      const cameras = system.list(CAMERAS);
      if (cameras.length === 0) return {};
      const drivers = cameras.map((name) => system.link(`${CAMERAS}/${name}/device/driver`) ?? '');
      const opened = numberOf(system.peek(OPENED));
      if (opened !== undefined && drivers.every((driver) => driver.endsWith('/uvcvideo'))) {
        how = 'driver';
        return { camera: opened > 0 };
      }
      how = 'files';
      return { camera: isOpenHere() };
    },
  };
}

const hasCamera = (system: System, pid: string): boolean =>
  system.list(`/proc/${pid}/fd`).some((file) => /^\/dev\/video\d+$/.test(system.link(`/proc/${pid}/fd/${file}`) ?? ''));
