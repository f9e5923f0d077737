/**
 * Takes a policy away over the hub's own data: for a community whose policies let nobody in who could do it there. The
 * hub may be running; what it knows is then half a second old at most.
 *
 * Whoever can open the database could do anything with it; the audit log says that it was done, and when. It asks no
 * policy, and parses none: one that no longer holds is taken away like any other.
 */
import { createAudit } from '../audit/audit.ts';
import { findTerritory, openSource, type Place, type PlacePorts } from '../archive/place.ts';
import { removePolicyByHand } from './desk.ts';

export interface RescueOptions extends PlacePorts {
  readonly place: Place;
  /** Id or name of one of several; absent: the first of the hub. */
  readonly territory?: string | undefined;
  /** Of the policy. */
  readonly name: string;
  readonly why: string;
}

/** Of which territory it was. Throws `not_found`, `conflict`, `usage`. */
export async function rescuePolicy(options: RescueOptions): Promise<{ readonly id: string; readonly name: string }> {
  const { place, crypto, name, why } = options;
  const source = await openSource(place, options);
  try {
    const { db, clock } = source.database;
    const { id, name: called } = await findTerritory(source, options.territory, crypto);
    const deps = { db, clock, audit: createAudit({ db, crypto, clock }), territory: id };
    await removePolicyByHand(deps, name, { actor: 'command line', why });
    return { id, name: called };
  } finally {
    await source.database.close();
  }
}
