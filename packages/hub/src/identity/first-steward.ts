/**
 * The first steward's key: made where no steward has a key that works, which is at the first start or after the last
 * has expired. Of replicas that start at once, one makes it.
 */
import type { Clock } from '@idlewild/protocol';
import { inTurn } from '../db/one-at-a-time.ts';
import type { Database } from '../db/schema.ts';
import type { Keys, NewKey } from './keys.ts';

export interface FirstStewardDeps {
  readonly db: Database;
  readonly keys: Keys;
  readonly clock: Clock;
}

export interface FirstStewardOrder {
  readonly territory: string;
  /** Id of the hub, for the audit log. */
  readonly actor: string;
  /** Keeps the text before the key becomes valid. */
  readonly keep: (key: string) => void;
}

/** `undefined` where a steward has a key, here or by another replica. Who moved its file away keeps the key. */
export function firstStewardKey(deps: FirstStewardDeps, order: FirstStewardOrder): Promise<NewKey | undefined> {
  const { db, keys, clock } = deps;
  return inTurn(db, 'first steward', async () => {
    const nowMs = clock.now();
    const isLive = (await keys.list(order.territory)).some(
      (key) =>
        key.role === 'steward' &&
        // A person's own ends with the person.
        key.person === undefined &&
        key.revokedAtMs === undefined &&
        (key.expiresAtMs === undefined || key.expiresAtMs > nowMs),
    );
    return isLive ? undefined : keys.create({ ...order, role: 'steward', name: 'first steward' });
  });
}
