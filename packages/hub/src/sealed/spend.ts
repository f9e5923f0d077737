/**
 * What one sealed answer may use of what is held for its request. Nobody but the device can end such an answer at a
 * length, so more is held as it grows; where there is no more it is over, in the middle if need be.
 */
import type { Hold } from '../projects/spending.ts';
import { PROJECT_LIMITS } from '../projects/limits.ts';

/** What is held for it. */
export type SealedHold = Pick<Hold, 'id' | 'tokens' | 'extend'>;

export interface SealedSpend {
  /** Whether so many tokens of prompt and answer are covered; asks for more in time. */
  covers(tokens: number): boolean;
}

/** `undefined`: nothing bounds it. */
export function createSealedSpend(hold: SealedHold | undefined): SealedSpend {
  if (hold === undefined) return { covers: () => true };
  let held = hold.tokens;
  let state: 'some' | 'asking' | 'none' = 'some';
  return {
    covers(tokens) {
      if (state === 'some' && tokens + PROJECT_LIMITS.sealedAheadTokens > held) {
        state = 'asking';
        const more = Math.max(PROJECT_LIMITS.sealedMoreTokens, tokens - held);
        void hold.extend(more).then((got) => {
          held += got;
          state = got > 0 ? 'some' : 'none';
        });
      }
      // What comes while it is asked is let through, as far as it may have more.
      return tokens <= held + (state === 'asking' ? PROJECT_LIMITS.sealedMoreTokens : 0);
    },
  };
}
