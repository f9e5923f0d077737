/**
 * Standing still on a suspicion: engines stop at the first sign of another program's load and go on if it was nothing,
 * so that a pause can be sure of what it is for. Pure.
 *
 *   working ──suspected──► halted ──the reason is entered──► paused: they stand already
 *      ▲                     │ ──unsuspected──► working
 *      └─────`haltGapMs`─────┴─────`haltMsMax`
 *
 * Nobody is told: answers wait for a moment where they are. It is no pause, and it is never long: `haltMsMax` is well
 * below what hubs and watchdogs call silence, and between two halts there is work.
 */
import { IDLENESS_LIMITS as HOLD } from '../limits.ts';

export interface Halt {
  /** Absent: not halted. Both monotonic. */
  readonly sinceMs?: number | undefined;
  readonly endedMs?: number | undefined;
}

/** `suspicion`: how far a reading is beyond its line, over a moment; absent where something pauses already. */
export function haltAfter(halt: Halt, suspicion: number | undefined, nowMs: number): Halt {
  const { sinceMs, endedMs } = halt;
  if (sinceMs === undefined) {
    const isDue = endedMs === undefined || nowMs - endedMs >= HOLD.haltGapMs;
    return isDue && suspicion !== undefined && suspicion >= HOLD.heightSuspected ? { sinceMs: nowMs } : halt;
  }
  const isOver = suspicion === undefined || suspicion < HOLD.heightUnsuspected || nowMs - sinceMs >= HOLD.haltMsMax;
  return isOver ? { endedMs: nowMs } : halt;
}
