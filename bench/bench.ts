/**
 * What a bench is to those who run it: metrics with fixed names and targets, and a function that measures them.
 *
 * A metric is recorded once, or it is missing and the reason is told; a value beside its target is recorded like any
 * other.
 */
export interface Metric {
  readonly metric: string;
  readonly unit: string;
  /** Absent: a figure that is told and not judged. */
  readonly target?: number | undefined;
  /** On which side of the target a value has to be. */
  readonly wanted: 'at least' | 'at most';
  /** What the value is measured against. */
  readonly against: string;
}

/** One line of a bench's result; `value` is null where there is none, and `note` says why. */
export interface Row {
  readonly metric: string;
  readonly value: number | null;
  readonly unit: string;
  readonly target: number | null;
  readonly met: boolean;
  readonly against: string;
  readonly note: string;
}

export interface BenchRun {
  wants(metric: string): boolean;
  /** `faults`: what makes the value miss its target whatever it is. */
  record(metric: string, value: number, note: string, faults?: readonly string[]): void;
  /** Measures a group of metrics; what it throws is the reason for those of the group that are missing. */
  group(metrics: readonly string[], measure: () => Promise<void>): Promise<void>;
  /** Progress, for people. */
  say(line: string): void;
  readonly signal: AbortSignal;
  /** Where processes leave CPU profiles when they stop. */
  readonly profileFolder: string | undefined;
  /** Threads of one run of an engine, in all engines alike. */
  readonly threads: number;
}

export interface Bench {
  readonly metrics: readonly Metric[];
  /** One sentence for people: what was measured, and how. */
  readonly measured: string;
  run(run: BenchRun): Promise<void>;
}

/** Where the rows of one run are collected. */
export interface Rows {
  readonly run: BenchRun;
  all(): Row[];
}

export interface RowsOptions extends Pick<BenchRun, 'say' | 'signal' | 'profileFolder' | 'threads'> {
  /** Names of metrics; all when it is empty. */
  readonly only: readonly string[];
}

export function createRows({ metrics }: Pick<Bench, 'metrics'>, { only, ...context }: RowsOptions): Rows {
  const chosen = metrics.filter(({ metric }) => only.length === 0 || only.includes(metric));
  const rows = new Map<string, Row>();
  const reasons = new Map<string, string>();
  const run: BenchRun = {
    ...context,
    wants: (metric) => chosen.some((one) => one.metric === metric),
    record(name, value, note, faults = []) {
      const found = chosen.find((one) => one.metric === name);
      if (found === undefined) return;
      const { metric, unit, target, wanted, against } = found;
      const isBeyond = target !== undefined && (wanted === 'at least' ? value < target : value > target);
      const met = faults.length === 0 && !isBeyond;
      rows.set(name, { metric, value, unit, target: target ?? null, met, against, note: [...faults, note].join('; ') });
    },
    async group(names, measure) {
      const wanted = names.filter((name) => run.wants(name));
      if (wanted.length === 0) return;
      try {
        run.signal.throwIfAborted();
        await measure();
      } catch (error) {
        for (const name of wanted) reasons.set(name, (error as Error).message.split('\n', 1)[0] ?? '');
      }
    },
  };
  return {
    run,
    all: () =>
      chosen.map(
        ({ metric, unit, target, against }) =>
          rows.get(metric) ?? {
            metric,
            value: null,
            unit,
            target: target ?? null,
            met: false,
            against,
            note: `not measured: ${reasons.get(metric) ?? 'nothing was recorded'}`,
          },
      ),
  };
}
