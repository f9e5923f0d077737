/**
 * The devices that `up --devices N` lends: N processes of `idlewild join`, each with a data folder of its own, started
 * again when they die, later and later, until they live for a while. One that the hub refuses is not started again.
 */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { EXIT } from '../exit-codes.ts';
import type { Child } from './child.ts';
import { startDeviceProcess } from './device-process.ts';

const RESTART_MS_MIN = 500;
const RESTART_MS_MAX = 30_000;
/** A process that lived this long had no fault of its own making. */
const SETTLED_MS = 60_000;
/** Longer than a device takes to drain. */
const STOP_MS = 12_000;

export interface LocalDevicesOptions {
  readonly count: number;
  /** The hub's data folder; devices lie below it. */
  readonly data: string;
  readonly presence: 'respect' | 'ignore';
  /** A token to join with. */
  invite(): Promise<string>;
  onState(name: string, state: Readonly<Record<string, unknown>>): void;
  onProblem(name: string, message: string): void;
}

export interface LocalDevices {
  stop(): Promise<void>;
}

export function startLocalDevices(options: LocalDevicesOptions): LocalDevices {
  let stopping = false;
  const running = new Map<string, Child>();
  const timers = new Set<NodeJS.Timeout>();

  const start = async (name: string, folder: string, deaths: number): Promise<void> => {
    const startedMs = performance.now();
    const { presence, onState } = options;
    const child = startDeviceProcess({ name, data: folder, presence, onState: (state) => onState(name, state) });
    running.set(name, child);
    child.say(await options.invite());
    const { code, problem } = await child.ended;
    running.delete(name);
    if (stopping) return;
    const reason = problem?.message ?? `it ended with code ${code}`;
    if (code === EXIT.refused || code === EXIT.usage)
      return options.onProblem(name, `${reason}; it is not started again`);
    const afresh = performance.now() - startedMs >= SETTLED_MS ? 0 : deaths;
    const waitMs = Math.min(RESTART_MS_MAX, RESTART_MS_MIN * 2 ** afresh);
    options.onProblem(name, `${reason}; starting it again in ${waitMs / 1_000} s`);
    later(waitMs, name, folder, afresh + 1);
  };
  const launch = (name: string, folder: string, deaths: number): void => {
    start(name, folder, deaths).catch((error: unknown) => {
      if (stopping) return;
      options.onProblem(name, (error as Error).message);
      later(RESTART_MS_MAX, name, folder, deaths);
    });
  };
  const later = (waitMs: number, name: string, folder: string, deaths: number): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      launch(name, folder, deaths);
    }, waitMs);
    timers.add(timer);
  };

  const machine = hostname().split('.')[0] ?? 'device';
  for (let number = 1; number <= options.count; number++) {
    launch(`${machine}-${number}`.slice(-64), join(options.data, 'devices', `local-${number}`), 0);
  }
  return {
    async stop() {
      stopping = true;
      for (const timer of timers) clearTimeout(timer);
      await Promise.all([...running.values()].map((child) => child.stop(STOP_MS)));
    },
  };
}
