/**
 * Who may be a device here: asked once per handshake, after the device proved its key.
 *
 * A known device comes in by its key alone, and what it says of itself is brought up to date; a new one needs a join
 * token, and so does one that left. The token of a known device is not looked at: nothing is used up by joining twice.
 */
import { IdlewildError, LIMITS, type CheckedDevice } from '@idlewild/protocol';
import type { Device, Devices } from './devices.ts';
import type { Farewell } from './farewell.ts';
import { admitted, type Invites } from './invites.ts';
import { plainName } from '../sign-in/plain-text.ts';

export interface Enrolment {
  /** To be asked once the device has proved that it has the key. */
  find(publicKey: Uint8Array): Promise<Applicant>;
}

/** One that would be a device here, as the database knows it at this moment. */
export interface Applicant {
  /** As it was verified before it was kept; of a device that is not known there is none. */
  readonly consent: Uint8Array | undefined;
  /** Throws `join_token_invalid`, with what it was told at its leaving as `left` if it left; or `device_revoked`. */
  admit(checked: CheckedDevice): Promise<Device>;
}

export interface EnrolmentDeps {
  /** Id of the territory that devices join here. */
  readonly territory: string;
  readonly devices: Devices;
  readonly invites: Invites;
  readonly farewell: Pick<Farewell, 'again'>;
}

export function createEnrolment({ territory, devices, invites, farewell }: EnrolmentDeps): Enrolment {
  async function admit(
    publicKey: Uint8Array,
    known: Device | undefined,
    { name: said, consent, profile, joinToken, byInvite }: CheckedDevice['proof'],
  ): Promise<Device> {
    // Its lender chose it, and stewards read it among those of others.
    const name = plainName(said, LIMITS.nameCharactersMax) || 'a device';
    if (known === undefined) {
      if (joinToken === undefined) {
        throw new IdlewildError(
          'join_token_invalid',
          'this device is not enrolled here and sent no join token; ask a steward for an invite',
          { details: { reason: 'none' } },
        );
      }
      return invites.redeem(territory, joinToken, { publicKey, name, consent, profile, byInvite });
    }
    if (known.leftAtMs !== undefined) {
      if (joinToken !== undefined)
        return invites.redeem(territory, joinToken, { publicKey, name, consent, profile, byInvite });
      const when = new Date(known.leftAtMs).toISOString();
      throw new IdlewildError(
        'join_token_invalid',
        `this device left the community at ${when} and sent no join token; ask a steward for an invite`,
        { details: { reason: 'none', left: await farewell.again(known, known.leftAtMs) } },
      );
    }
    admitted(known);
    await devices.describe(known, { name, consent, profile });
    return { ...known, name, consent, profile };
  }
  return {
    async find(publicKey) {
      const known = await devices.findByKey(territory, publicKey);
      return { consent: known?.consent, admit: ({ proof }) => admit(publicKey, known, proof) };
    },
  };
}
