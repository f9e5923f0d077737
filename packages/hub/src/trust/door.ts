/**
 * The door through which devices come in: whoever is admitted has a standing from its first moment on, and who is
 * refused is told of, so that a stolen invite which somebody tries again leaves a trace. Whoever has no key that is
 * known here is told of without it: keys cost nothing to make.
 */
import { codeOf, idOfKey, type Crypto, type IdlewildError } from '@idlewild/protocol';
import type { AuditDesk } from '../audit/desk.ts';
import type { Database } from '../db/schema.ts';
import { together } from '../db/together.ts';
import type { Enrolment } from '../identity/enrolment.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Enrolment as Door } from '../session/handshake.ts';
import { UNKNOWN_STANDING, readStandings, type Standing } from './standing.ts';
import type { Trust } from './trust.ts';

export interface DoorDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly territory: string;
  readonly enrolment: Enrolment;
  readonly trust: Pick<Trust, 'version'>;
  onRefused: AuditDesk['onRefusedDevice'];
}

export function createDoor({
  db,
  crypto,
  territory,
  enrolment,
  trust,
  onRefused,
}: DoorDeps): Pick<Door, 'find' | 'unproved'> {
  const readStanding = together<string, Standing>(HUB_LIMITS.handshakesMax, async (ids) => {
    const known = await readStandings(db, territory, ids, trust.version());
    return ids.map((device) => known.get(device) ?? UNKNOWN_STANDING);
  });
  const knownId = async (consent: Uint8Array | undefined, publicKey: Uint8Array): Promise<string | undefined> =>
    consent === undefined ? undefined : idOfKey('dev', publicKey, crypto);
  return {
    // Whose key it is was not proved: anybody may claim any.
    unproved: (error) => onRefused({ error }),
    async find(publicKey) {
      const { consent, admit } = await enrolment.find(publicKey);
      return {
        consent,
        async admit(checked) {
          try {
            const device = await admit(checked);
            return { ...device, standing: await readStanding(device.id) };
          } catch (error) {
            const code = codeOf(error);
            if (code === 'join_token_invalid' || code === 'device_revoked')
              onRefused({ device: await knownId(consent, publicKey), error: error as IdlewildError });
            throw error;
          }
        },
      };
    },
  };
}
