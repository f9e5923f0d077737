/** Processor time that went by on a Linux machine between two looks: of all programs, and of us with all we started. */
import type { PowerFiles } from './files.ts';

/** Of `/proc` on every architecture that Node runs on. */
const TICK_MS = 10;

export interface ProcessorTime {
  /** Both in ms, since a moment that stays the same; absent where nothing tells. */
  now(atMs: number): { readonly busyMs: number; readonly ownMs: number } | undefined;
}

/** `ownTicks`: of us and all that we started, at a moment of the monotonic clock. */
export function createProcessorTime(
  files: Pick<PowerFiles, 'peek'>,
  ownTicks: (atMs: number) => number,
): ProcessorTime {
  return {
    now(atMs) {
      const fields = /^cpu +([\d ]+)$/m
        .exec(files.peek('/proc/stat') ?? '')?.[1]
        ?.trim()
        .split(/ +/)
        .map(Number);
      if (fields === undefined || fields.length < 4) return undefined;
      // user, nice, system; idle and waiting for disks, which are no work; interrupts. The rest is another machine's.
      const [user = 0, nice = 0, kernel = 0, , , hard = 0, soft = 0] = fields;
      return { busyMs: (user + nice + kernel + hard + soft) * TICK_MS, ownMs: ownTicks(atMs) * TICK_MS };
    },
  };
}
