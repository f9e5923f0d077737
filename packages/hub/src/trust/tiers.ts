/** Which devices may see which texts, where a territory's policies say nothing else. */
import type { DataClass } from '@idlewild/protocol';
import type { Tier } from '../policy/port.ts';

export const DEFAULT_TIERS: Readonly<Record<DataClass, ReadonlySet<Tier>>> = {
  public: new Set<Tier>(['own', 'vetted', 'member', 'public']),
  internal: new Set<Tier>(['own', 'vetted', 'member']),
  confidential: new Set<Tier>(['own', 'vetted']),
};
