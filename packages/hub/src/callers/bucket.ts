/**
 * A token bucket, as a value: it holds what may be taken at once, at most a minute's worth, and fills evenly.
 *
 * In any time T no more is taken than `perMinute · (1 + T / 1 min)`, plus what was found out only afterwards: that is
 * taken as a debt, and nothing more is given until it is paid. It knows no keys and no clock.
 */
export interface Bucket {
  readonly perMinute: number;
  /** What may be taken at `atMs`; below 0 it is a debt. */
  readonly level: number;
  /** Monotonic. */
  readonly atMs: number;
}

const MINUTE_MS = 60_000;

export const fullBucket = (perMinute: number, nowMs: number): Bucket => ({ perMinute, level: perMinute, atMs: nowMs });

/** The same bucket later; a clock that went back, such as that of another process, fills nothing. */
export function filled(bucket: Bucket, nowMs: number): Bucket {
  const passedMs = Math.max(0, nowMs - bucket.atMs);
  const level = Math.min(bucket.perMinute, bucket.level + (bucket.perMinute * passedMs) / MINUTE_MS);
  return { perMinute: bucket.perMinute, level, atMs: Math.max(bucket.atMs, nowMs) };
}

/** A bucket of another size, as full as the old one: who has to wait waits as long. */
export function resized(bucket: Bucket, perMinute: number): Bucket {
  if (bucket.perMinute === perMinute) return bucket;
  return { perMinute, level: (bucket.level * perMinute) / bucket.perMinute, atMs: bucket.atMs };
}

/** Adds what is given back, never beyond the brim; a negative amount is taken, whatever is there. */
export const changed = (bucket: Bucket, amount: number): Bucket => ({
  ...bucket,
  level: Math.min(bucket.perMinute, bucket.level + amount),
});

/** Milliseconds until `level` is there; 0 when it is. */
export const untilLevelMs = (bucket: Bucket, level: number): number =>
  Math.max(0, ((level - bucket.level) * MINUTE_MS) / bucket.perMinute);
