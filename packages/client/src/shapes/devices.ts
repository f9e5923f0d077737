/**
 * What the hub's routes take and give of devices and invites: the contract as callers see it, by hand.
 *
 * Instants are ISO 8601 texts, sizes are bytes, CIDs are texts. A field that this version does not know is kept out of
 * the types and left in the values.
 */
import type { Consent, DeviceModel, DeviceProfile, DeviceState, DeviceTier, Lent } from '@idlewild/protocol';

export interface Device {
  readonly id: string;
  readonly name: string;
  readonly state: DeviceState;
  /** Names of the models that it holds. */
  readonly models: readonly string[];
  /** Of the fastest of them, one answer alone; `null` where none makes text. */
  readonly tokensPerSecond: number | null;
  readonly pauseReasons: readonly string[];
  readonly lastSeenAt: string | null;
  readonly enrolledAt: string;
  readonly active: number;
  readonly slots: number;
  /** Its Ed25519 public key in base64url; its id is made of it. */
  readonly key: string;
  /** How far it is trusted. */
  readonly tier: DeviceTier;
  /** Id of the member who lends it, where that is known. */
  readonly person: string | null;
  readonly pools: readonly string[];
  /** Until when a steward vouches for it. */
  readonly vouchedUntil: string | null;
}

export interface DeviceModelState {
  readonly name: string | null;
  readonly cid: string;
  readonly state: DeviceModel['state'];
  /** Fetched share of the bytes, 0 to 1. */
  readonly fraction: number;
  readonly tokensPerSecond?: number | null;
  readonly numericClass?: string | null;
  /** Resident bytes, measured when it was loaded last. */
  readonly memoryBytes?: number | null;
  readonly reason?: string | null;
}

export interface DeviceDetails extends Device {
  readonly profile: DeviceProfile | null;
  /** How much of the machine is lent; `null` while the device is away. */
  readonly lent: Lent | null;
  /** Which texts its lender lends for; `null` while the device is away. */
  readonly lends: Pick<Consent, 'kinds' | 'classes' | 'causes' | 'refused'> | null;
  readonly modelStates: readonly DeviceModelState[];
}

export interface InviteRequest {
  readonly uses: number;
  readonly expiresInSeconds: number;
  /** What the devices become that join with it; absent: `member`. */
  readonly tier?: DeviceTier | undefined;
  /** Id of the member whose devices they are. */
  readonly for?: string | undefined;
  /** Name of the pool into which they are put. */
  readonly pool?: string | undefined;
}

/** One that a steward vouches for, and of whose secret the hub sees nothing. */
export interface VouchedInviteRequest extends InviteRequest {
  readonly vouched: {
    /** SHA-256 of what `inviteToken` makes of the secret, in hex. */
    readonly tokenHash: string;
    /** A Signed `invite-vouch` statement in base64url. */
    readonly vouch: string;
  };
}

/** Keys in base64url. */
export interface InvitePlace {
  readonly url: string;
  readonly territory: string;
  readonly pin: string | null;
  readonly session: boolean;
  readonly expiresAt: string;
}

export interface CreatedInvite {
  readonly url: string;
  readonly token: string;
  readonly expiresAt: string;
}
