/**
 * A lender's own devices, in every territory of this hub where she lends any: seen, drained and taken back by her.
 *
 * Nobody else is seen through it. A session shows those of the territories that it speaks for (`proved.ts`), a key of
 * hers those of its own. To take a device back needs nobody's leave there, also not while she is suspended: it is hers.
 * It counts as having left, so an invite lets it in again.
 */
import { IdlewildError, type Clock, type DeviceTier } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { leave } from '../identity/leaving.ts';
import { personOf, type Principal } from '../identity/principal.ts';
import { communitiesOf } from './communities.ts';
import { HOW_TO_PROVE, provedCommunities } from './proved.ts';

export interface OwnDevice {
  readonly id: string;
  readonly name: string;
  readonly territory: { readonly id: string; readonly name: string };
  readonly tier: DeviceTier;
  readonly lastSeenAtMs: number;
  readonly enrolledAtMs: number;
}

export interface OwnDeviceAct {
  readonly asker: Principal;
  readonly id: string;
  /** Where it is lent; absent: wherever there is one of this id. */
  readonly territory?: string | undefined;
}

export interface OwnDevices {
  /** By territory and name. Throws `forbidden` where nobody is behind the asker. */
  list(asker: Principal): Promise<OwnDevice[]>;
  /** Writes down that she has it drained, which is still to be done. Throws `not_found`. */
  drain(act: OwnDeviceAct): Promise<OwnDevice>;
  /** It is lent no longer; whoever has its channel drops it. */
  takeBack(act: OwnDeviceAct): Promise<OwnDevice>;
}

export interface OwnDevicesDeps {
  readonly db: Database;
  readonly clock: Clock;
  readonly audit: Audit;
}

export function createOwnDevices({ db, clock, audit }: OwnDevicesDeps): OwnDevices {
  async function list(asker: Principal): Promise<OwnDevice[]> {
    const person = personOf(asker);
    if (person === undefined)
      throw new IdlewildError('forbidden', 'a key of the territory is nobody and lends nothing; sign in');
    const places =
      asker.kind === 'person'
        ? await provedCommunities(db, asker)
        : (await communitiesOf(db, person)).filter(({ id }) => id === asker.territory);
    if (places.length === 0) return [];
    const names = new Map(places.map(({ id, name }) => [id, name]));
    const rows = await db
      .selectFrom('devices')
      .select(['id', 'name', 'territory_id', 'tier', 'last_seen_at_ms', 'enrolled_at_ms'])
      .where('territory_id', 'in', [...names.keys()])
      .where('person_id', '=', person)
      .where('revoked_at_ms', 'is', null)
      .orderBy('territory_id')
      .orderBy('name')
      .orderBy('id')
      .execute();
    return rows.map((row) => ({
      id: row.id,
      name: row.name,
      territory: { id: row.territory_id, name: names.get(row.territory_id) ?? '' },
      tier: row.tier,
      lastSeenAtMs: row.last_seen_at_ms,
      enrolledAtMs: row.enrolled_at_ms,
    }));
  }

  async function meant({ asker, id, territory }: OwnDeviceAct): Promise<OwnDevice> {
    const mine = (await list(asker)).filter((device) => device.id === id);
    const found = territory === undefined ? mine : mine.filter((device) => device.territory.id === territory);
    const [device, other] = found;
    if (device === undefined) {
      // The same whether or not there is one where this session proves nothing.
      const elsewhere = territory === asker.territory ? '' : `; if it is lent in another community, ${HOW_TO_PROVE}`;
      throw new IdlewildError('not_found', `you lend no device ${id} here; see: devices mine${elsewhere}`);
    }
    if (other === undefined) return device;
    const where = found.map((each) => each.territory.id).join(' and ');
    throw new IdlewildError('conflict', `${device.name} is lent in ${where}; say in which`);
  }

  return {
    list,
    async drain(act) {
      const device = await meant(act);
      const { id, territory } = device;
      const actor = personOf(act.asker) ?? '';
      await transact(db, (transaction) =>
        audit.append(transaction, { territory: territory.id, actor, action: 'drainDevice', subject: id }),
      );
      return device;
    },
    async takeBack(act) {
      const device = await meant(act);
      const actor = personOf(act.asker) ?? '';
      await leave({ db, clock, audit }, { territory: device.territory.id, id: device.id, actor });
      return device;
    },
  };
}
