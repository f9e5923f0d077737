/**
 * A share of the processors as what an engine can be held to: so many threads, and a share of the time where one thread
 * is already too much.
 *
 * Threads are rounded down, so that the rest of the last processor stays with its owner: an engine that rests between
 * its runs to fill it would be slower per watt than one with fewer threads that runs through.
 */

/** What a lender who names no share lends. */
export const CPU_SHARE = 0.6;

/** Of products like 0.29 × 100, which are whole numbers but for their last bits. */
const EPSILON = 1e-9;

export function cpuShareOf(share: number, cores: number): { readonly threads: number; readonly dutyShare: number } {
  const lent = share * cores;
  const threads = Math.max(1, Math.floor(lent + EPSILON));
  return { threads, dutyShare: Math.min(1, lent / threads) };
}
