/** Who holds how many bytes of a quota, by name: holding again under the same name replaces the old figure. */
import { IdlewildError } from '../errors.ts';

export interface Quota {
  /** Throws `quota_exceeded` when there is no room for what is asked beyond what `name` holds already. */
  hold(name: string, bytes: number): void;
  /** Counts what is on disk already, room or not: a quota may have been lowered since. */
  count(name: string, bytes: number): void;
  release(name: string): void;
  heldBy(name: string): number;
  usage(): { readonly bytes: number; readonly quotaBytes: number };
}

export function createQuota(quotaBytes: number): Quota {
  const held = new Map<string, number>();
  let total = 0;
  const set = (name: string, bytes: number): void => {
    total += bytes - (held.get(name) ?? 0);
    if (bytes === 0) held.delete(name);
    else held.set(name, bytes);
  };
  return {
    hold(name, bytes) {
      const more = bytes - (held.get(name) ?? 0);
      const free = Math.max(0, quotaBytes - total);
      if (more > free) {
        throw new IdlewildError(
          'quota_exceeded',
          `${name} needs ${more} more bytes; ${free} of ${quotaBytes} are free`,
        );
      }
      set(name, bytes);
    },
    count: set,
    release: (name) => set(name, 0),
    heldBy: (name) => held.get(name) ?? 0,
    usage: () => ({ bytes: total, quotaBytes }),
  };
}
