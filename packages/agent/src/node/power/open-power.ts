/**
 * What tells the energy of this machine: on Linux the processors' own counters, else the battery while it runs on it;
 * elsewhere nothing does without rights that a lender should not have to give, and all is modelled.
 */
import type { Clock } from '@idlewild/protocol';
import type { PowerReader } from '../../core/lending/energy/energy.ts';
import { openBattery } from './battery.ts';
import type { KindPorts } from './machine-kind.ts';
import { createProcessorTime } from './processor-time.ts';
import { openRapl } from './rapl.ts';

export interface PowerFound {
  readonly reader?: PowerReader;
  /** Why nothing measures, or not always; for people. */
  readonly why?: string;
}

export async function openPower(
  ports: KindPorts,
  clock: Clock,
  ownTicks: (atMs: number) => number,
): Promise<PowerFound> {
  if (ports.platform !== 'linux') return { why: 'this system lets no program of its user read energy' };
  const processors = createProcessorTime(ports, ownTicks);
  const rapl = openRapl(ports, processors, clock);
  if ('reader' in rapl) return rapl;
  const battery = await openBattery(ports, processors, clock);
  return battery === undefined ? { why: rapl.why } : { reader: battery, why: rapl.why };
}
