/**
 * What a device is told at its leaving, signed by the hub: that it is written down, and what the device gave.
 *
 * The moment is the one that was committed and never changes. What it gave is counted when it is said: an answer whose
 * end was still on its way to the database when the device left is in what it is told the next time.
 */
import { signLeft, type Crypto, type KeyPair } from '@idlewild/protocol';
import type { Device } from './devices.ts';
import type { Certificate } from './territory.ts';
import { given, leave, type Left, type LeavingDeps } from './leaving.ts';

export interface Farewell {
  /** Writes down that it left, and says so. Throws as `leave` does. */
  say(device: Pick<Device, 'id' | 'publicKey'>): Promise<Uint8Array>;
  /** To one that left before. */
  again(device: Pick<Device, 'id' | 'publicKey'>, leftAtMs: number): Promise<Uint8Array>;
}

export interface FarewellDeps extends LeavingDeps {
  readonly crypto: Crypto;
  readonly territory: { readonly id: string; readonly publicKey: Uint8Array };
  readonly hubKey: KeyPair;
  /** Signed by the territory. */
  readonly certificate: Certificate;
}

export function createFarewell(deps: FarewellDeps): Farewell {
  const { db, crypto, territory, hubKey, certificate } = deps;
  const sign = async (device: Uint8Array, left: Left): Promise<Uint8Array> =>
    signLeft({ territory: territory.publicKey, device, certificate: await certificate(), ...left }, hubKey, crypto);
  return {
    say: async ({ id, publicKey }) => sign(publicKey, await leave(deps, { territory: territory.id, id })),
    again: async ({ id, publicKey }, atMs) => sign(publicKey, { atMs, ...(await given(db, territory.id, id)) }),
  };
}
