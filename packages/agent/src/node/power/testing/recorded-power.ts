/**
 * Files of machines that tell their energy, as Linux has them, over which time can be let pass. The names, ranges and
 * units are those of a two-socket server, of a laptop of AMD, and of batteries that tell power or current.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import type { KindPorts } from '../machine-kind.ts';
import type { Bench, Spoilt } from './reader-conformance.ts';

export interface RecordedPower extends KindPorts {
  readonly clock: FakeClock;
  readonly files: Map<string, string>;
  /** Files that are there and may not be read. */
  readonly denied: Set<string>;
  readonly commands: Map<string, string>;
  ownTicks(): number;
  pass: Bench['pass'];
  spoil: Bench['spoil'];
}

export interface Recording {
  readonly platform?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly denied?: readonly string[];
  /** By the command and its arguments. */
  readonly commands?: Readonly<Record<string, string>>;
}

const RAPL = '/sys/class/powercap';
const zone = (name: string, says: string, energy: number, range = '262143328850'): Record<string, string> => ({
  [`${RAPL}/${name}/name`]: `${says}\n`,
  [`${RAPL}/${name}/energy_uj`]: `${energy}\n`,
  [`${RAPL}/${name}/max_energy_range_uj`]: `${range}\n`,
});
const STAT = 'cpu  1000 200 300 90000 400 0 50 0 0 0\ncpu0 500 100 150 45000 200 0 25 0 0 0\n';

/** Two packages with memory; what is within them, the mirror and the platform's own sum are not to be counted twice. */
export const SERVER: Recording = {
  files: {
    '/proc/stat': STAT,
    [`${RAPL}/intel-rapl/enabled`]: '1\n',
    ...zone('intel-rapl:0', 'package-0', 261_000_000_000),
    ...zone('intel-rapl:0:0', 'core', 10),
    ...zone('intel-rapl:0:1', 'dram', 65_000_000_000, '65712999613'),
    ...zone('intel-rapl:1', 'package-1', 5_000_000),
    ...zone('intel-rapl:1:0', 'dram', 7_000_000, '65712999613'),
    ...zone('intel-rapl:2', 'psys', 3),
    ...zone('intel-rapl-mmio:0', 'package-0', 4),
  },
};

/** As every user but root sees it since 2020. */
export const SERVER_OF_A_USER: Recording = {
  ...SERVER,
  denied: Object.keys(SERVER.files ?? {}).filter((path) => path.endsWith('energy_uj')),
};

const battery = (figures: Readonly<Record<string, string>>): Recording => ({
  files: {
    '/proc/stat': STAT,
    '/sys/class/power_supply/AC/type': 'Mains\n',
    '/sys/class/power_supply/AC/online': '0\n',
    '/sys/class/power_supply/hidpp_battery_0/type': 'Battery\n',
    '/sys/class/power_supply/hidpp_battery_0/scope': 'Device\n',
    '/sys/class/power_supply/hidpp_battery_0/status': 'Discharging\n',
    '/sys/class/power_supply/hidpp_battery_0/power_now': '900000\n',
    '/sys/class/power_supply/BAT0/type': 'Battery\n',
    '/sys/class/power_supply/BAT0/status': 'Discharging\n',
    ...Object.fromEntries(
      Object.entries(figures).map(([name, text]) => [`/sys/class/power_supply/BAT0/${name}`, `${text}\n`]),
    ),
  },
});

export const POWER_NOW = battery({ power_now: '8000000' });
/** A driver that tells voltage and current, and which way it flows. */
export const CURRENT_NOW = battery({ voltage_now: '12500000', current_now: '-640000' });

/** What tells energy, among all the files. */
const TELLS = /\/(energy_uj|power_now|current_now)$/;

export function recordedPower({
  platform = 'linux',
  files = {},
  denied = [],
  commands = {},
}: Recording): RecordedPower {
  const clock = createFakeClock(() => nextTurn());
  const all = new Map(Object.entries(files));
  let ownTicks = 0;
  let spoilt: Spoilt | undefined;
  const locked = new Set(denied);
  const peek = (path: string): string | undefined => {
    if (locked.has(path)) return undefined;
    const text = all.get(path);
    if (spoilt === undefined || text === undefined || !TELLS.test(path)) return text;
    if (spoilt === 'empty') return '\n';
    if (spoilt === 'garbage') return '0x1f nonsense\n';
    return spoilt === 'cut short' ? `${text.slice(0, 1)}e` : undefined;
  };
  return {
    platform,
    clock,
    files: all,
    denied: locked,
    commands: new Map(Object.entries(commands)),
    peek,
    read: async (path) => peek(path),
    list: (folder) => [
      ...new Set(
        [...all.keys()]
          .filter((path) => path.startsWith(`${folder}/`))
          .map((path) => path.slice(folder.length + 1).split('/')[0] as string),
      ),
    ],
    run: async (command, args) => commands[[command, ...args].join(' ')],
    ownTicks: () => ownTicks,
    async pass(forMs, { watts, busyMs, ownMs }) {
      for (const name of ['power_now', 'current_now']) setPower(all, name, watts);
      // In steps: somebody may look in the middle of it.
      const steps = Math.max(1, Math.ceil(forMs / 1_000));
      for (let step = 0; step < steps; step++) {
        const part = (ms: number): number =>
          Math.round((ms / 10 / steps) * (step + 1)) - Math.round((ms / 10 / steps) * step);
        ownTicks += part(ownMs);
        addBusy(all, part(busyMs));
        addEnergy(all, (watts * forMs) / steps / 1_000);
        await clock.advance(forMs / steps);
      }
    },
    spoil(how) {
      spoilt = how;
    },
  };
}

function addBusy(files: Map<string, string>, ticks: number): void {
  const text = files.get('/proc/stat') ?? '';
  files.set(
    '/proc/stat',
    text.replace(/^cpu +(\d+)/, (_, user: string) => `cpu  ${Number(user) + ticks}`),
  );
}

/** A tenth of it is the memory's; each counter goes round at its own range. */
function addEnergy(files: Map<string, string>, joules: number): void {
  const counters = [...files.keys()].filter((path) => path.endsWith('/energy_uj') && !path.includes('mmio'));
  const said = (path: string): string => files.get(path.replace('energy_uj', 'name'))?.trim() ?? '';
  for (const [kind, share] of [
    ['package', 0.9],
    ['dram', 0.1],
  ] as const) {
    const paths = counters.filter((path) => said(path).startsWith(kind));
    for (const path of paths) {
      const range = Number(files.get(path.replace('energy_uj', 'max_energy_range_uj')));
      const next = Number(files.get(path)) + Math.round((joules * 1e6 * share) / paths.length);
      files.set(path, `${next % range}\n`);
    }
  }
}

function setPower(files: Map<string, string>, name: string, watts: number): void {
  const path = `/sys/class/power_supply/BAT0/${name}`;
  if (!files.has(path)) return;
  const volts = Number(files.get('/sys/class/power_supply/BAT0/voltage_now') ?? Number.NaN) / 1e6;
  files.set(path, name === 'power_now' ? `${watts * 1e6}\n` : `-${Math.round((watts / volts) * 1e6)}\n`);
}
