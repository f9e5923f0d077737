/** The energy of a device on the machine that this process runs on. */
import type { Clock } from '@idlewild/protocol';
import type { Log } from '../../core/agent.ts';
import type { Energy } from '../../core/lending/energy/energy.ts';
import type { LendingSettings } from '../../core/lending/terms/settings.ts';
import { localDay } from '../local-time.ts';
import { TICK_MS, createOwnProcesses } from '../signals/linux/own-processes.ts';
import { createNodeSystem } from '../signals/node-system.ts';
import { openEnergy, type DeviceEnergy } from './open-energy.ts';

export interface EnergyHere {
  /** The device's. */
  readonly folder: string;
  readonly clock: Clock;
  readonly cores: number;
  readonly lending: LendingSettings | undefined;
  readonly log: Log;
  onDrawn(energy: Energy): void;
}

export function energyHere({ folder, clock, cores, lending, log, onDrawn }: EnergyHere): Promise<DeviceEnergy> {
  const system = createNodeSystem();
  const ours = createOwnProcesses(system);
  let counted = { atMs: Number.NEGATIVE_INFINITY, ticks: 0 };
  return openEnergy({
    folder,
    clock,
    cores,
    ports: system,
    dayOf: localDay,
    ownTicks: (atMs) => ours.ticks(atMs),
    ownCpuMs() {
      const { user, system: kernel } = process.cpuUsage();
      return (user + kernel) / 1_000;
    },
    systemCpuMs() {
      if (system.platform !== 'linux') return undefined;
      const atMs = clock.monotonic();
      // A piece of work asks four times, and within a tick the kernel has counted nothing new.
      if (atMs - counted.atMs >= TICK_MS) counted = { atMs, ticks: ours.ticks(atMs) };
      return counted.ticks > 0 ? counted.ticks * TICK_MS : undefined;
    },
    place: lending?.place,
    settings: lending?.energy,
    onDrawn,
    warn: (message) => log('warn', message),
  });
}
