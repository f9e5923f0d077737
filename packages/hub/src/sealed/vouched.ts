/**
 * Devices that a steward vouches for, as the database has it. The chains are for callers, who hold them against keys that
 * they pinned; the hub itself decides nothing by them but whom not to offer in vain.
 */
import { decodeCbor, messageOf, type Clock, type VouchChain } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';

export interface Vouched {
  /** Resolves when what is known is at most `keysReadMs` old. */
  refresh(): Promise<void>;
  /** As known at the last refresh. */
  has(device: string): boolean;
  /** `undefined` where nobody vouches for it any more. */
  chainOf(device: string): Promise<VouchChain | undefined>;
}

export interface VouchedDeps {
  readonly db: Database;
  readonly territory: string;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** The database's. */
  readonly wallClock: Pick<Clock, 'now'>;
  readonly log: Log;
}

export function createVouched({ db, territory, clock, wallClock, log }: VouchedDeps): Vouched {
  let devices: ReadonlySet<string> = new Set();
  let readAtMs = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | undefined;

  const rows = () =>
    db
      .selectFrom('device_vouches')
      .innerJoin('steward_keys', (join) =>
        join
          .onRef('steward_keys.id', '=', 'device_vouches.steward_id')
          .onRef('steward_keys.territory_id', '=', 'device_vouches.territory_id'),
      )
      .where('device_vouches.territory_id', '=', territory)
      .where('steward_keys.removed_at_ms', 'is', null)
      .where('device_vouches.expires_at_ms', '>', Math.floor(wallClock.now()));

  async function read(): Promise<void> {
    const startedAtMs = clock.monotonic();
    const found = await rows().select('device_vouches.device_id').execute();
    devices = new Set(found.map((row) => row.device_id));
    readAtMs = startedAtMs;
  }

  return {
    refresh() {
      if (clock.monotonic() - readAtMs < HUB_LIMITS.keysReadMs) return Promise.resolve();
      return (reading ??= read().finally(() => (reading = undefined)));
    },
    has: (device) => devices.has(device),
    async chainOf(device) {
      const row = await rows()
        .select('device_vouches.chain')
        .where('device_vouches.device_id', '=', device)
        .executeTakeFirst();
      if (row === undefined) return undefined;
      try {
        const chain = decodeCbor(new Uint8Array(row.chain), 'what vouches for a device') as unknown[];
        return chain.map((statement) => statement as Uint8Array);
      } catch (error) {
        log.error({ device, why: messageOf(error) }, 'what vouches for a device cannot be read');
        return undefined;
      }
    },
  };
}
