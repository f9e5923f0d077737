/**
 * The processor time of a process, shared among the answers that it computes: whatever was used while several were open
 * is each one's in equal parts, for their rows lie in the same products. What was used while none was open is nobody's.
 * It looks when one begins or ends, so it costs nothing in between.
 */

export interface CpuShares {
  /** Something begins. */
  open(key: number): void;
  /** It is over; its part in ms, 0 for what was not open. */
  close(key: number): number;
}

/** `usedMs`: of the whole process since it started; it never goes back. */
export function createCpuShares(usedMs: () => number): CpuShares {
  const open = new Map<number, number>();
  let before = usedMs();
  const share = (): void => {
    const now = usedMs();
    for (const [key, ms] of open) open.set(key, ms + (now - before) / open.size);
    before = now;
  };
  return {
    open(key) {
      share();
      open.set(key, 0);
    },
    close(key) {
      share();
      const ms = open.get(key) ?? 0;
      open.delete(key);
      return ms;
    },
  };
}
