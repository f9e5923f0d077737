/** How long a device may be silent before its answer is somebody else's. */
import { HUB_LIMITS } from '../limits.ts';

/** `sharers`: answers that it makes side by side, this one included; `tokensPerSecond` of one alone. */
export const stallMsOf = (sharers: number, tokensPerSecond = 1): number =>
  Math.max(HUB_LIMITS.stallMsMin, HUB_LIMITS.stallTokensMax * ((1000 * sharers) / tokensPerSecond));
