/**
 * The hottest of the sensors of processors and graphics (`/sys/class/hwmon`, `/sys/class/thermal`). Disks, batteries
 * and radios have sensors, too, and are none of these. A graphics card that sleeps is not woken to be asked.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import { numberOf, type Probe } from '../probe.ts';
import type { System } from '../system.ts';

const HWMON = '/sys/class/hwmon';
const ZONES = '/sys/class/thermal';
const CHIPS =
  /^(coretemp|k8temp|k10temp|zenpower|via_cputemp|(cpu|soc)_?thermal|amdgpu|radeon|nouveau|i915|xe|scpi_sensors)$/;
const ZONE_TYPES = /cpu|pkg|package|soc|core|cluster|gpu|x86/i;

interface Sensor {
  readonly path: string;
  /** Tells whether the device is awake; reading would wake it. */
  readonly awake: string | undefined;
}

export function createHeatProbe(system: System, clock: Clock): Probe {
  let sensors: readonly Sensor[] = [];
  let discoveredMs = -Infinity;
  let isTold = false;
  return {
    sources: () => (isTold ? { celsius: `the hottest of ${sensors.length} sensors of processors and graphics` } : {}),
    async read() {
      if (clock.monotonic() - discoveredMs >= SIGNAL_LIMITS.discoveryEveryMs) {
        discoveredMs = clock.monotonic();
        sensors = await discover(system);
      }
      const readings = await Promise.all(sensors.map((sensor) => readSensor(system, sensor)));
      const known = readings.filter((reading) => reading !== undefined);
      isTold = known.length > 0;
      return isTold ? { celsius: Math.max(...known) } : {};
    },
  };
}

async function readSensor(system: System, { path, awake }: Sensor): Promise<number | undefined> {
  if (awake !== undefined && system.peek(awake)?.trim() === 'suspended') return undefined;
  const celsius = (numberOf(await system.read(path)) ?? Number.NaN) / 1000;
  return celsius >= SIGNAL_LIMITS.celsiusMin && celsius <= SIGNAL_LIMITS.celsiusMax ? celsius : undefined;
}

async function discover(system: System): Promise<readonly Sensor[]> {
  const chips = await Promise.all(system.list(HWMON).map((name) => sensorsOfChip(system, `${HWMON}/${name}`)));
  const zones = await Promise.all(system.list(ZONES).map((name) => sensorOfZone(system, `${ZONES}/${name}`)));
  return [...chips.flat(), ...zones.flat()].slice(0, SIGNAL_LIMITS.sensorsMax);
}

async function sensorsOfChip(system: System, folder: string): Promise<Sensor[]> {
  const name = (await system.read(`${folder}/name`))?.trim() ?? '';
  if (!CHIPS.test(name)) return [];
  const inputs = system.list(folder).filter((file) => /^temp\d+_input$/.test(file));
  const labels = await Promise.all(inputs.map((file) => system.read(`${folder}/${file.replace('_input', '_label')}`)));
  // A package's sensor is as hot as its hottest core; asking every core would wake each of them. AMD's Tctl of some
  // processors is set higher than what is measured, which Tdie is not.
  const whole = inputs.filter((_, index) => /^(Package|Tdie)/.test(labels[index] ?? ''));
  const asked = whole.length > 0 ? whole : inputs;
  const state = `${folder}/device/power/runtime_status`;
  const awake = system.peek(state) === undefined ? undefined : state;
  return asked.map((file) => ({ path: `${folder}/${file}`, awake }));
}

async function sensorOfZone(system: System, folder: string): Promise<Sensor[]> {
  const type = await system.read(`${folder}/type`);
  return ZONE_TYPES.test(type ?? '') && /zone\d+$/.test(folder) ? [{ path: `${folder}/temp`, awake: undefined }] : [];
}
