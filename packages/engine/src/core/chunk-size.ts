/**
 * How many rows of a prompt to run at once, from what earlier runs took.
 *
 * A run costs what reading the weights costs, whatever its rows, and something for each row more: both are followed,
 * since of a large model two rows take nearly as long as ten. Where not even two rows can be run within the bound,
 * holding to it would only make prompts crawl: a chunk may then take as long as two steps of decoding.
 */
import { LIMITS } from './limits.ts';

export interface RunCost {
  /** Milliseconds of a run of two rows. */
  readonly twoRowsMs: number;
  /** What each further row adds. */
  readonly rowMs: number;
}

export interface ChunkSize {
  rows(): number;
  note(rows: number, tookMs: number): void;
}

/** Weight of the newest run: a few runs forget a disturbance, and follow a cache that grows. */
const NEWEST = 0.4;
const blend = (old: number | undefined, seen: number): number =>
  old === undefined ? seen : old + NEWEST * (seen - old);

/** `known` is what was measured at loading; without it the first chunk is small. */
export function createChunkSize(known?: RunCost): ChunkSize {
  let twoRowsMs = known?.twoRowsMs;
  let rowMs = known?.rowMs;
  let last: number = known === undefined ? LIMITS.rowsFirst : LIMITS.rowsMax;

  function rows(): number {
    if (rowMs === undefined) return LIMITS.rowsFirst;
    const base = twoRowsMs ?? LIMITS.rowsMin * rowMs;
    const roomMs = aimMs(base) - base;
    const fitting = LIMITS.rowsMin + Math.floor(roomMs / Math.max(rowMs, 1e-3));
    return Math.min(Math.max(fitting, LIMITS.rowsMin), LIMITS.rowsMax, last * LIMITS.rowsGrowthMax);
  }

  return {
    rows,
    note(ran, tookMs) {
      if (ran <= LIMITS.rowsMin) {
        twoRowsMs = blend(twoRowsMs, tookMs);
        return;
      }
      const base = Math.min(twoRowsMs ?? Infinity, tookMs);
      const seen = base === tookMs ? tookMs / ran : (tookMs - base) / (ran - LIMITS.rowsMin);
      rowMs = blend(rowMs, seen);
      if (ran >= Math.min(rows(), last)) last = ran;
    },
  };
}

/** How long a chunk may take, where two rows take `twoRowsMs`. */
function aimMs(twoRowsMs: number): number {
  if (twoRowsMs >= LIMITS.runMsFull) return 2 * twoRowsMs;
  return Math.min(Math.max(LIMITS.runMsAim, 2 * twoRowsMs), LIMITS.runMsFull);
}
