/**
 * A `SignalSource` out of probes: one reading of all, what is said of each signal, and who is called when somebody
 * touches the machine. A signal that no probe tells is said with the reason, which begins with `not read:`.
 */
import type { SignalName, SignalSource } from '../../core/lending/idleness/port.ts';
import { SIGNAL_NAMES, readAll, type Probe, type Sources } from './probe.ts';

export interface SourceParts {
  readonly probes: readonly Probe[];
  isHeadless(): boolean;
  /** Why nothing tells a signal, for people. */
  absent(name: SignalName): string;
  close?(): void;
}

/** Looks once, so that the first reading has something to compare with. */
export async function createSource({ probes, isHeadless, absent, close }: SourceParts): Promise<SignalSource> {
  const listeners = new Set<() => void>();
  let isListening = false;
  await readAll(probes);
  return {
    get sources() {
      const told = probes.map((probe) => probe.sources());
      return Object.fromEntries(
        SIGNAL_NAMES.map((name) => {
          const ways = told.flatMap((sources) => sources[name] ?? []);
          return [name, ways.length > 0 ? ways.join('; ') : `not read: ${absent(name)}`];
        }),
      ) satisfies Sources;
    },
    get headless() {
      return isHeadless();
    },
    read: () => readAll(probes),
    onInput(listen) {
      // Probes that watch cost more than those that are only read, so they begin when somebody wants to know.
      if (!isListening) for (const probe of probes) probe.onInput?.(() => listeners.forEach((call) => call()));
      isListening = true;
      const own = (): void => listen();
      listeners.add(own);
      return { stop: () => void listeners.delete(own) };
    },
    close() {
      listeners.clear();
      for (const probe of probes) probe.close?.();
      close?.();
    },
  };
}
