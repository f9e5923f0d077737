/**
 * How busy graphics processors are. AMD's driver says it; Intel's says how long the processor slept, and the rest of
 * the time is what it was busy; NVIDIA's is asked by its own command, rarely, and only while the card is awake.
 *
 * No model of ours runs on a graphics processor, and one is tried before anybody looks, so all of it is others'.
 * What programs use, one by one, is in `graphics-clients.ts`.
 */
import type { Clock } from '@idlewild/protocol';
import type { Signals } from '../../../core/lending/idleness/port.ts';
import { SIGNAL_LIMITS } from '../limits.ts';
import { numberOf, within, type Probe, type Sources } from '../probe.ts';
import type { System } from '../system.ts';

const DRM = '/sys/class/drm';
const NVIDIA = '/proc/driver/nvidia/gpus';

export function createGpuProbe(system: System, clock: Clock): Probe {
  let slept = new Map<string, number>();
  /** Where sleeping is switched off the counter stands still, and says nothing. */
  const counting = new Set<string>();
  let sleptAtMs = 0;
  let sources: Sources = {};

  /** Of the time since the last call, by what each Intel card slept. */
  function intelLoads(cards: readonly string[]): number[] {
    const now = clock.monotonic();
    const passedMs = now - sleptAtMs;
    const sleeps = new Map(
      cards.flatMap((card) => {
        const ms = sleepMs(system, `${DRM}/${card}`);
        return ms === undefined ? [] : [[card, ms] as const];
      }),
    );
    const loads = [...sleeps].flatMap(([card, ms]) => {
      const before = slept.get(card);
      // The counter of some has 32 bits and starts again.
      if (before === undefined || passedMs <= 0 || ms < before) return [];
      if (ms > before) counting.add(card);
      return counting.has(card) ? [within(1 - (ms - before) / passedMs, 0, 1)] : [];
    });
    [slept, sleptAtMs] = [sleeps, now];
    return loads;
  }

  return {
    sources: () => sources,
    read() {
      const cards = system.list(DRM).filter((name) => /^card\d+$/.test(name));
      const amd = cards
        .filter((card) => isAwake(system, `${DRM}/${card}/device`))
        .map((card) => numberOf(system.peek(`${DRM}/${card}/device/gpu_busy_percent`)))
        .filter((percent) => percent !== undefined)
        .map((percent) => within(percent / 100, 0, 1));
      const intel = intelLoads(cards);
      const drivers = [
        ...(amd.length > 0 ? ['amdgpu'] : []),
        ...(counting.size > 0 ? ['the time it does not sleep'] : []),
      ];
      sources = drivers.length > 0 ? { otherGpu: `graphics load: ${drivers.join(', ')}` } : {};
      const loads = [...amd, ...intel];
      return loads.length === 0 ? {} : { otherGpu: Math.max(...loads) };
    },
  };
}

const isAwake = (system: System, device: string): boolean =>
  system.peek(`${device}/power/runtime_status`)?.trim() !== 'suspended';

function sleepMs(system: System, card: string): number | undefined {
  const files = ['gt/gt0/rc6_residency_ms', 'power/rc6_residency_ms', 'device/tile0/gt0/gtidle/idle_residency_ms'];
  return files.map((file) => numberOf(system.peek(`${card}/${file}`))).find((ms) => ms !== undefined);
}

/** Load and temperature of NVIDIA's cards; dear, so whoever calls it paces it. */
export function createNvidiaProbe(system: System): Probe {
  let sources: Sources = {};
  return {
    sources: () => sources,
    async read() {
      const cards = system.list(NVIDIA);
      if (cards.length === 0) {
        sources = {};
        return {};
      }
      sources = { otherGpu: 'graphics load (nvidia-smi)', celsius: 'graphics (nvidia-smi)' };
      const awake = cards.filter((address) => isAwake(system, `/sys/bus/pci/devices/${address}`));
      // A card that sleeps is idle, and asking would wake it and empty the battery.
      if (awake.length === 0) return { otherGpu: 0 };
      const query = ['--query-gpu=utilization.gpu,temperature.gpu', '--format=csv,noheader,nounits'];
      const out = await system.run('nvidia-smi', query);
      if (out === undefined) sources = {};
      return readNvidia(out ?? '');
    },
  };
}

function readNvidia(out: string): Signals {
  const rows = out.split('\n').map((line) => line.split(',').map(numberOf));
  const loads = rows.flatMap(([load]) => (load === undefined ? [] : [within(load / 100, 0, 1)]));
  const heats = rows.flatMap(([, celsius]) =>
    celsius !== undefined && celsius >= SIGNAL_LIMITS.celsiusMin && celsius <= SIGNAL_LIMITS.celsiusMax
      ? [celsius]
      : [],
  );
  return {
    ...(loads.length === 0 ? {} : { otherGpu: Math.max(...loads) }),
    ...(heats.length === 0 ? {} : { celsius: Math.max(...heats) }),
  };
}
