/** Bounds of trust, each with its reason. */
export const TRUST_LIMITS = {
  /** What is read of each device to judge an act on it. */
  poolsOfDeviceMax: 64,
  /** Keys by which stewards vouch, those that were removed included: callers pin a few, and nobody reads more. */
  stewardKeysMax: 256,
} as const;
