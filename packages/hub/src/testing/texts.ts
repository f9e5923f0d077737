/** Texts that say nothing of themselves, and devices that nobody said anything of: for tests of other matters. */
import { CONSENT_UNSAID } from '@idlewild/protocol';
import { EVERYWHERE } from '../policy/reach.ts';
import type { Seer, TextDemand } from '../trust/barred.ts';
import { DEFAULT_TIERS } from '../trust/tiers.ts';
import type { AskedText } from '../trust/text.ts';

export const PLAIN_TEXT: AskedText = { dataClass: 'internal', cause: undefined, person: undefined };
export const PLAIN_DEMAND: TextDemand = { ...PLAIN_TEXT, tiers: DEFAULT_TIERS.internal, reach: EVERYWHERE };

export const plainSeer = (): Seer => ({
  standing: { tier: 'member', person: undefined, pools: [], asOf: 0 },
  lends: { ...CONSENT_UNSAID, kinds: ['answers'] },
  refusals: new Set(),
});
