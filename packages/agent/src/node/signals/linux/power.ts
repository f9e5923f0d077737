/**
 * What the machine runs on, and how full its battery is (`/sys/class/power_supply`). Batteries of mice and pens are
 * none of its own. A machine without a battery is on mains, and says so. The firmware may take milliseconds to answer.
 */
import { numberOf, within, type Probe } from '../probe.ts';
import type { System } from '../system.ts';

const FOLDER = '/sys/class/power_supply';

interface Supply {
  readonly type: string;
  readonly isOnline: boolean;
  readonly status: string;
  readonly full: number | undefined;
  readonly now: number | undefined;
}

export function createPowerProbe(system: System): Probe {
  const canSeeSupplies = system.list('/sys/class').includes('power_supply');
  let supplies: readonly Supply[] = [];
  const batteries = (): Supply[] => supplies.filter(({ type }) => type === 'Battery' || type === 'UPS');
  return {
    sources() {
      if (batteries().length > 0) return { onBattery: `the battery (${FOLDER})`, charge: `the battery (${FOLDER})` };
      return canSeeSupplies ? { onBattery: 'there is no battery, so it is on mains' } : {};
    },
    async read() {
      const names = system.list(FOLDER);
      const found = await Promise.all(names.map((name) => readSupply(system, `${FOLDER}/${name}`)));
      supplies = found.filter((supply) => supply !== undefined);
      if (batteries().length === 0) return canSeeSupplies ? { onBattery: false } : {};
      const charge = chargeOf(batteries());
      return { onBattery: isOnBattery(supplies), ...(charge === undefined ? {} : { charge }) };
    },
  };
}

async function readSupply(system: System, folder: string): Promise<Supply | undefined> {
  const read = async (name: string): Promise<string | undefined> => (await system.read(`${folder}/${name}`))?.trim();
  const [type, scope, online, status] = await Promise.all(['type', 'scope', 'online', 'status'].map(read));
  // `Device`: the battery of something that is connected, like a mouse.
  if (type === undefined || scope === 'Device') return undefined;
  const figures = ['energy_now', 'energy_full', 'charge_now', 'charge_full', 'capacity'];
  const [energy, energyFull, amount, amountFull, percent] = (await Promise.all(figures.map(read))).map(numberOf);
  const [now, full] = energyFull === undefined ? [amount, amountFull] : [energy, energyFull];
  const isWhole = now !== undefined && full !== undefined && full > 0;
  return {
    type,
    isOnline: online === '1',
    status: status ?? '',
    now: isWhole ? now : percent,
    full: isWhole ? full : percent === undefined ? undefined : 100,
  };
}

/** Mains that are plugged in decide; without any, a battery says itself whether it is being emptied. */
function isOnBattery(supplies: readonly Supply[]): boolean {
  const mains = supplies.filter(({ type }) => type !== 'Battery' && type !== 'UPS');
  if (mains.some(({ isOnline }) => isOnline)) return false;
  const stores = supplies.filter((supply) => !mains.includes(supply));
  if (stores.some(({ status }) => status === 'Discharging')) return true;
  // Full, or held at a limit to spare it, and no plug: a moment after it was pulled.
  return mains.some(({ type }) => type === 'Mains') && stores.every(({ status }) => status !== 'Charging');
}

/** Two batteries count alike. */
function chargeOf(batteries: readonly Supply[]): number | undefined {
  const shares = batteries.flatMap(({ now, full }) => (now === undefined || full === undefined ? [] : [now / full]));
  if (shares.length === 0) return undefined;
  return within(shares.reduce((sum, share) => sum + share, 0) / shares.length, 0, 1);
}
