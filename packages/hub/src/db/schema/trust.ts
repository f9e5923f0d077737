/** Tables of who vouches for devices, by keys that no hub has. */

/** Stewards' public keys, as the territory's people told them. Callers pin them from elsewhere and believe no hub. */
export interface StewardKeys {
  /** Made from the key. */
  id: string;
  territory_id: string;
  /** Ed25519, 32 bytes. */
  public_key: Uint8Array;
  /** What people call the steward. */
  name: string;
  added_at_ms: number;
  /** Who told it. */
  added_by: string;
  /** What it signed is shown no more since then. */
  removed_at_ms: number | null;
}

/** The last word on each device: a chain of `protocol/src/identity/vouch.ts`, as CBOR of a list of statements. */
export interface DeviceVouches {
  territory_id: string;
  device_id: string;
  steward_id: string;
  chain: Uint8Array;
  issued_at_ms: number;
  expires_at_ms: number;
}
