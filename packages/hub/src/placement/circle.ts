/**
 * Who may serve a request, in the words that policies and consents decide by: its class, its purpose, the pools that
 * its asker's right is for, what its device must be able to do. Never who asks: that a device is the asker's own is
 * known to the router alone, and is no reason to bring a model there.
 *
 * It names no devices. Who is in it is looked up whenever models are placed, by what the policies say then.
 */
import type { DataClass, DeviceFeature } from '@idlewild/protocol';
import { EVERYWHERE, type Reach } from '../policy/reach.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import { barOf, type TextDemand } from '../trust/barred.ts';
import type { AskedText } from '../trust/text.ts';

/** A request, as far as it matters what lies where. */
export interface Ask {
  /** What answers first, then what its device needs beside it to hold the text to rules. */
  readonly models: readonly string[];
  readonly features: readonly DeviceFeature[];
  readonly text: TextDemand;
}

export interface Circle {
  readonly dataClass: DataClass;
  /** Absent also where no lender has anything to say of it. */
  readonly cause?: string | undefined;
  /** One of these is enough; absent: pools make no difference. */
  readonly pools?: readonly string[] | undefined;
  /** In order. */
  readonly features: readonly string[];
}

/** What decides, beside devices themselves. */
export interface Eyes {
  /** With the tiers that may see its class. */
  demandOf(text: AskedText, permit: { reach(): Reach }): TextDemand;
  /** A steward vouches for it, and its key is there: prompts can be sealed to it. */
  isVouched(device: ConnectedDevice): boolean;
}

/** What lenders name in their consents, and what some devices cannot do: all else makes no difference between them. */
export interface Differences {
  readonly causes: ReadonlySet<string>;
  /** That every device has, or that says nothing of what a device can do. */
  readonly common: ReadonlySet<string>;
}

export function differencesOf(devices: Iterable<ConnectedDevice>): Differences {
  const causes = new Set<string>();
  let common: Set<string> | undefined;
  for (const { lends, features } of devices) {
    for (const cause of [...lends.causes, ...lends.refused]) causes.add(cause);
    const its = new Set(features);
    common = common === undefined ? its : new Set([...common].filter((feature) => its.has(feature)));
  }
  // Who can open a sealed prompt is not yet vouched for.
  common?.delete('sealed');
  return { causes, common: common ?? new Set() };
}

export function circleOf({ features, text }: Ask, { causes, common }: Differences, poolsMax: number): Circle {
  const { dataClass, cause, reach } = text;
  const pools = reach.pools()?.slice(0, poolsMax);
  return {
    dataClass,
    features: features.filter((feature) => !common.has(feature)).toSorted(),
    ...(cause !== undefined && causes.has(cause) ? { cause } : {}),
    ...(pools === undefined ? {} : { pools }),
  };
}

export const keyOf = ({ dataClass, cause = '', pools, features }: Circle): string =>
  JSON.stringify([dataClass, cause, pools ?? null, features]);

/** Whether the device may serve the request, and can, whatever models it has. */
export function mayServe(
  device: ConnectedDevice,
  { features, text }: Pick<Ask, 'features' | 'text'>,
  eyes: Eyes,
): boolean {
  if (!features.every((feature) => device.features.includes(feature))) return false;
  if (features.includes('sealed') && !eyes.isVouched(device)) return false;
  return barOf(device, text) === undefined;
}

/** Whether the device is in the circle: that it is somebody's own does not count. */
export function inCircle(
  { dataClass, cause, pools, features }: Circle,
  eyes: Eyes,
): (device: ConnectedDevice) => boolean {
  const reach: Reach =
    pools === undefined
      ? EVERYWHERE
      : { key: '', pools: () => pools, includes: (its) => its.some((pool) => pools.includes(pool)) };
  const text = eyes.demandOf({ dataClass, cause, person: undefined }, { reach: () => reach });
  const asked = { features: features as Ask['features'], text };
  return (device) => mayServe(device, asked, eyes);
}
