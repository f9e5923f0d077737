/**
 * Energy of processors and memory, as they count it themselves (RAPL, of Intel and AMD since about 2011 and 2017), by
 * Linux's powercap. Whole packages and the memory beside them are summed; what is within a package is in its sum
 * already, and the second door to the same counters (`intel-rapl-mmio`) is left shut.
 *
 * The counters are microjoules, go round at `max_energy_range_uj`, and are for root alone on most systems: since 2020
 * (CVE-2020-8694) they are known to tell more than energy. Idlewild asks for no rights to read them.
 */
import type { Clock } from '@idlewild/protocol';
import { ENERGY_LIMITS } from '../../core/lending/energy/limits.ts';
import type { Drawn, PowerReader } from '../../core/lending/energy/energy.ts';
import { countOf, type PowerFiles } from './files.ts';
import type { ProcessorTime } from './processor-time.ts';

const FOLDER = '/sys/class/powercap';
/** `intel-rapl:0` is a package, `intel-rapl:0:1` a part of one; also on machines of AMD. */
const ZONE = /^intel-rapl:\d+(:\d+)?$/;

interface Zone {
  readonly folder: string;
  readonly rangeMicrojoules: number;
}

interface Sample {
  readonly atMs: number;
  readonly microjoules: readonly number[];
  readonly busyMs: number;
  readonly ownMs: number;
}

export type RaplFound =
  | { readonly reader: PowerReader }
  /** Why not, for people. */
  | { readonly why: string };

export function openRapl(files: PowerFiles, processors: ProcessorTime, clock: Clock): RaplFound {
  const names = files.list(FOLDER).filter((name) => ZONE.test(name));
  if (names.length === 0) return { why: 'its processors tell Linux no energy' };
  const counted = names.filter((name) =>
    /^(package-\d+|dram)$/.test(files.peek(`${FOLDER}/${name}/name`)?.trim() ?? ''),
  );
  const zones = counted.flatMap((name): Zone[] => {
    const folder = `${FOLDER}/${name}`;
    const rangeMicrojoules = countOf(files.peek(`${folder}/max_energy_range_uj`));
    const isReadable = countOf(files.peek(`${folder}/energy_uj`)) !== undefined;
    return isReadable && rangeMicrojoules !== undefined && rangeMicrojoules > 0 ? [{ folder, rangeMicrojoules }] : [];
  });
  if (zones.length === 0) return { why: `the counters of its processors (${FOLDER}) are for root alone` };
  return { reader: createReader(files, processors, clock, zones) };
}

function createReader(files: PowerFiles, processors: ProcessorTime, clock: Clock, zones: readonly Zone[]): PowerReader {
  let before: Sample | undefined;
  return {
    name: 'rapl',
    text: `measured: counters of the processors (RAPL, ${zones.length} of them)`,
    async take() {
      const now = sample(files, processors, clock, zones);
      const drawn = before === undefined || now === undefined ? undefined : between(before, now, zones);
      before = now;
      return drawn;
    },
  };
}

function sample(
  files: PowerFiles,
  processors: ProcessorTime,
  clock: Clock,
  zones: readonly Zone[],
): Sample | undefined {
  const atMs = clock.monotonic();
  const times = processors.now(atMs);
  const microjoules = zones.flatMap(({ folder }) => countOf(files.peek(`${folder}/energy_uj`)) ?? []);
  return times === undefined || microjoules.length < zones.length ? undefined : { atMs, microjoules, ...times };
}

function between(before: Sample, now: Sample, zones: readonly Zone[]): Drawn | undefined {
  const ms = now.atMs - before.atMs;
  const [busyMs, ownMs] = [now.busyMs - before.busyMs, now.ownMs - before.ownMs];
  if (ms <= 0 || ms > ENERGY_LIMITS.counterMsMax || busyMs < 0) return undefined;
  let microjoules = 0;
  for (const [at, { rangeMicrojoules }] of zones.entries()) {
    const step = (now.microjoules[at] ?? 0) - (before.microjoules[at] ?? 0);
    microjoules += step < 0 ? step + rangeMicrojoules : step;
  }
  // A counter that was set back by sleep or firmware looks like one that went round.
  const isLikely = microjoules >= 0 && microjoules / 1_000 / ms <= ENERGY_LIMITS.wattsMax;
  return isLikely ? { ms, joules: microjoules / 1e6, busyMs, ownMs: Math.max(0, ownMs) } : undefined;
}
