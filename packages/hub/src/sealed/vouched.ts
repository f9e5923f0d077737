/**
 * Which connected devices a steward vouches for, as the database had it a moment ago: whom to offer, and what to show
 * with it. The hub decides nothing else by it; callers hold the chains against keys that they pinned.
 */
import type { Clock, VouchChain } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Trust } from '../trust/trust.ts';
import type { KnownVouch, Vouches } from '../trust/vouches.ts';

export interface Vouched {
  /** Resolves when what is known is fresh, of devices that came since, too. */
  refresh(): Promise<void>;
  /** As known at the last refresh; `undefined` where nobody vouches for it. */
  chainOf(device: ConnectedDevice): VouchChain | undefined;
}

export interface VouchedDeps {
  readonly vouches: Pick<Vouches, 'of'>;
  readonly territory: string;
  readonly devices: () => Iterable<ConnectedDevice>;
  /** Counts every change of what is said of devices. */
  readonly trust: Pick<Trust, 'version'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** The database's. */
  readonly wallClock: Pick<Clock, 'now'>;
}

export function createVouched({ vouches, territory, devices, trust, clock, wallClock }: VouchedDeps): Vouched {
  /** Of devices that were looked up; `undefined` where there was nothing. */
  let known = new Map<string, KnownVouch | undefined>();
  let version = Number.NaN;
  let readAtMs = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | undefined;

  async function read(): Promise<void> {
    const next = trust.version();
    const isStale = next !== version || clock.monotonic() - readAtMs >= HUB_LIMITS.vouchesReadMs;
    const startedAtMs = clock.monotonic();
    const here = [...devices()].map(({ id }) => id);
    const wanted = isStale ? here : here.filter((id) => !known.has(id));
    if (wanted.length === 0) return;
    const found = await vouches.of(territory, wanted);
    if (isStale) {
      known = new Map();
      version = next;
      readAtMs = startedAtMs;
    }
    for (const id of wanted) known.set(id, found.get(id));
  }

  return {
    refresh: () => (reading ??= read().finally(() => (reading = undefined))),
    chainOf({ id }) {
      const vouch = known.get(id);
      return vouch === undefined || vouch.expiresAtMs <= wallClock.now() ? undefined : vouch.chain;
    },
  };
}
