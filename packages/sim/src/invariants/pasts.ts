/**
 * What may hold at a moment of something that stewards change: as long as nobody knows whether a change happened either
 * value does, and the old one does for a while after it was acknowledged.
 */

/** A change holds everywhere so long after it was acknowledged, or after a replica that stood still goes on. */
export const HOLDS_MS = 1_000;
/** How long an order may be on its way between replicas before it is given up (`FLEET_LIMITS.orderMs`). */
export const ON_ITS_WAY_MS = 2_000;

export interface Pasts<Value> {
  /** Somebody tries to. */
  changing(subject: string, value: Value): void;
  changed(subject: string, value: Value, atMs: number): void;
  /** A replica that stood still goes on, and knows what held before. */
  woken(atMs: number): void;
  /** All by which somebody may act now; what ended is forgotten after so long. */
  holding(subject: string, atMs: number, graceMs: number): Value[];
}

interface Past<Value> {
  readonly value: Value;
  /** Absent: it may hold yet. */
  readonly untilMs: number | undefined;
}

export function createPasts<Value>(atFirst: (subject: string) => Value): Pasts<Value> {
  const pasts = new Map<string, Past<Value>[]>();
  let wokenAtMs = Number.NEGATIVE_INFINITY;
  function pastOf(subject: string): Past<Value>[] {
    const known = pasts.get(subject);
    if (known !== undefined) return known;
    const fresh: Past<Value>[] = [{ value: atFirst(subject), untilMs: undefined }];
    pasts.set(subject, fresh);
    return fresh;
  }
  return {
    changing: (subject, value) => void pasts.set(subject, [...pastOf(subject), { value, untilMs: undefined }]),
    changed(subject, value, atMs) {
      const ended = pastOf(subject).map((past) => ({ ...past, untilMs: past.untilMs ?? atMs }));
      pasts.set(subject, [...ended, { value, untilMs: undefined }]);
    },
    woken(atMs) {
      wokenAtMs = atMs;
    },
    holding: (subject, atMs, graceMs) =>
      pastOf(subject)
        .filter(({ untilMs }) => untilMs === undefined || atMs <= Math.max(untilMs, wokenAtMs) + graceMs)
        .map(({ value }) => value),
  };
}
