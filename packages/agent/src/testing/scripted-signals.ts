/** A machine that says what a test tells it to say: for the driver, the agent, and whatever shows a pause. */
import type { Signals, SignalSource } from '../core/lending/idleness/port.ts';

export interface ScriptedSignals extends SignalSource {
  /** From the next reading on, besides what it said before. */
  say(signals: Signals): void;
  /** Nobody tells this signal any more. */
  forget(...names: readonly (keyof Signals)[]): void;
  /** Somebody touches the machine: told at once, and read as such. */
  touch(): void;
  /** How the next readings go: they answer, fail with this, or hang until they are to answer again. */
  behave(how: 'answer' | 'hang' | Error): void;
  readonly readings: () => number;
  readonly isClosed: () => boolean;
}

/** Everything that a machine can say, and none of it a reason to pause. */
export const CALM_SIGNALS: Required<Signals> = {
  inputIdleMs: 3_600_000,
  locked: false,
  fullScreen: false,
  audio: false,
  camera: false,
  otherCpu: 0.02,
  otherGpu: 0,
  onBattery: false,
  charge: 0.9,
  celsius: 45,
  memoryPressure: 0,
  memoryFree: 0.6,
  meteredNetwork: false,
  programs: [],
};

export function createScriptedSignals(first: Signals = {}, { headless = false } = {}): ScriptedSignals {
  let now: Signals = first;
  let how: 'answer' | 'hang' | Error = 'answer';
  let readings = 0;
  let closed = false;
  let hanging: (() => void)[] = [];
  const listeners = new Set<() => void>();
  return {
    sources: Object.fromEntries(Object.keys(first).map((name) => [name, 'as the script says'])),
    headless,
    say(signals) {
      now = { ...now, ...signals };
    },
    forget(...names) {
      now = Object.fromEntries(Object.entries(now).filter(([name]) => !names.includes(name as keyof Signals)));
    },
    touch() {
      now = { ...now, inputIdleMs: 0 };
      for (const listen of listeners) listen();
    },
    behave(next) {
      how = next;
      if (how !== 'answer') return;
      for (const release of hanging) release();
      hanging = [];
    },
    read() {
      readings++;
      if (how === 'hang') return new Promise((resolve) => hanging.push(() => resolve(now)));
      return how === 'answer' ? Promise.resolve(now) : Promise.reject(how);
    },
    onInput(listen) {
      listeners.add(listen);
      return { stop: () => void listeners.delete(listen) };
    },
    close() {
      closed = true;
      listeners.clear();
    },
    readings: () => readings,
    isClosed: () => closed,
  };
}
