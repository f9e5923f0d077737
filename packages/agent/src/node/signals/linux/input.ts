/**
 * When somebody last touched this machine, out of all that can tell. Terminals tell only of those who type into them:
 * where there are windows, they count beside what tells of windows, and alone tell nothing. Where only the desktop's
 * hint is left, which comes after minutes, somebody is there until it comes.
 */
import type { Signals } from '../../../core/lending/idleness/port.ts';
import { readAll, type Probe } from '../probe.ts';

export interface InputSources {
  /** Each tells of all input at a screen. What else they read (full-screen windows) passes through. */
  readonly direct: readonly Probe[];
  readonly terminals: Probe;
  hintedIdleMs(): number | undefined;
  hasWindows(): boolean;
  isHeadless(): boolean;
}

const HINT = "your desktop's own hint (logind), which comes some minutes late";

export function createInputProbe(sources: InputSources): Probe {
  const { direct, terminals, hintedIdleMs, hasWindows, isHeadless } = sources;
  let how: string[] = [];

  const told = (probe: Probe): string => probe.sources().inputIdleMs ?? '';
  function choose(seen: number | undefined, typedMs: number | undefined): number | undefined {
    how = [];
    if (isHeadless()) return undefined;
    const hinted = hasWindows() && seen === undefined ? hintedIdleMs() : undefined;
    const main = seen ?? hinted;
    if (main === undefined && hasWindows()) return undefined;
    how = hinted === undefined ? direct.map(told).filter((text) => text !== '') : [HINT];
    if (typedMs !== undefined) how.push(told(terminals));
    const all = [main, typedMs].filter((ms) => ms !== undefined);
    return all.length === 0 ? undefined : Math.min(...all);
  }
  return {
    sources() {
      const others = direct.map((probe) => {
        const { inputIdleMs: _, ...rest } = probe.sources();
        return rest;
      });
      return Object.assign({}, ...others, how.length > 0 ? { inputIdleMs: how.join(', ') } : {});
    },
    async read() {
      const [{ inputIdleMs: seen, ...others }, { inputIdleMs: typedMs }] = await Promise.all([
        readAll(direct),
        readAll([terminals]),
      ]);
      const inputIdleMs = choose(seen, typedMs);
      return { ...others, ...(inputIdleMs === undefined ? {} : { inputIdleMs }) } satisfies Signals;
    },
    onInput(listen) {
      for (const probe of direct) probe.onInput?.(listen);
    },
    close() {
      for (const probe of direct) probe.close?.();
    },
  };
}
