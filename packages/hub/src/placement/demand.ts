/**
 * How much each model is asked for: a count that forgets by half in every half-life, as requests per minute. One number
 * for each model, whatever the traffic; it is lost with the process and made up for within minutes.
 */
export interface Demand {
  asked(model: string, nowMs: number, count?: number): void;
  /** Requests per minute, averaged over about the half-life. */
  of(model: string, nowMs: number): number;
  /** Forgets models that are not among these. */
  keep(models: ReadonlySet<string>): void;
}

export function createDemand(halfLifeMs: number): Demand {
  const counts = new Map<string, { count: number; atMs: number }>();
  const decayed = (model: string, nowMs: number): number => {
    const { count, atMs } = counts.get(model) ?? { count: 0, atMs: nowMs };
    return count * 0.5 ** (Math.max(0, nowMs - atMs) / halfLifeMs);
  };
  return {
    asked: (model, nowMs, count = 1) => void counts.set(model, { count: decayed(model, nowMs) + count, atMs: nowMs }),
    // Under r requests a minute the count settles at r · halfLife / ln 2.
    of: (model, nowMs) => (decayed(model, nowMs) * Math.LN2 * 60_000) / halfLifeMs,
    keep(models) {
      for (const model of counts.keys()) if (!models.has(model)) counts.delete(model);
    },
  };
}
