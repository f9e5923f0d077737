/**
 * What a machine draws from its battery while it runs on it (`/sys/class/power_supply`): the power that the battery
 * tells, or its voltage times its current. That is the whole machine, its screen included, so it is right only as far
 * as that stays as it was in the rest before.
 *
 * A battery tells a moment: between two looks the mean of both is taken. While one charges, or nothing is drawn from
 * any, nothing is told.
 */
import type { Clock } from '@idlewild/protocol';
import { ENERGY_LIMITS } from '../../core/lending/energy/limits.ts';
import type { PowerReader } from '../../core/lending/energy/energy.ts';
import { SUPPLIES, batteriesOf, countOf, type PowerFiles } from './files.ts';
import type { ProcessorTime } from './processor-time.ts';

interface Sample {
  readonly atMs: number;
  readonly watts: number;
  readonly busyMs: number;
  readonly ownMs: number;
}

/** Absent where the machine has no battery that tells its power. */
export async function openBattery(
  files: PowerFiles,
  processors: ProcessorTime,
  clock: Clock,
): Promise<PowerReader | undefined> {
  const batteries: string[] = [];
  for (const folder of await batteriesOf(files))
    if ((await wattsOf(files, folder)) !== undefined) batteries.push(folder);
  if (batteries.length === 0) return undefined;
  let before: Sample | undefined;
  return {
    name: 'battery',
    text: `measured while on battery: what the battery gives (${SUPPLIES})`,
    async take() {
      const watts = await drawnFrom(files, batteries);
      const atMs = clock.monotonic();
      const times = processors.now(atMs);
      const now = watts === undefined || times === undefined ? undefined : { atMs, watts, ...times };
      const was = before;
      before = now;
      if (was === undefined || now === undefined) return undefined;
      const ms = now.atMs - was.atMs;
      const busyMs = now.busyMs - was.busyMs;
      if (ms <= 0 || ms > ENERGY_LIMITS.batteryMsMax || busyMs < 0) return undefined;
      const joules = (((was.watts + now.watts) / 2) * ms) / 1_000;
      return { ms, joules, busyMs, ownMs: Math.max(0, now.ownMs - was.ownMs) };
    },
  };
}

/** Of all of them together; absent unless one is emptied and none is filled. */
async function drawnFrom(files: PowerFiles, batteries: readonly string[]): Promise<number | undefined> {
  let sum: number | undefined;
  for (const folder of batteries) {
    const status = (await files.read(`${folder}/status`))?.trim();
    if (status === 'Charging') return undefined;
    if (status !== 'Discharging') continue;
    const watts = await wattsOf(files, folder);
    if (watts === undefined || watts > ENERGY_LIMITS.wattsMax) return undefined;
    sum = (sum ?? 0) + watts;
  }
  return sum;
}

/** In microwatts, or microvolts and microamperes; some drivers write a current that leaves the battery as negative. */
async function wattsOf(files: PowerFiles, folder: string): Promise<number | undefined> {
  const amount = async (name: string): Promise<number | undefined> =>
    countOf((await files.read(`${folder}/${name}`))?.trim().replace(/^-/, ''));
  const microwatts = await amount('power_now');
  if (microwatts !== undefined) return microwatts / 1e6;
  const [microvolts, microamperes] = [await amount('voltage_now'), await amount('current_now')];
  return microvolts === undefined || microamperes === undefined ? undefined : (microvolts * microamperes) / 1e12;
}
