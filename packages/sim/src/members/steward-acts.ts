/**
 * Acts of stewards over members, each as its route does it. Whether one under which the hub died was done nobody knows:
 * what is tried and what was done are told apart, for whoever judges what follows (`invariants/pasts.ts`).
 */
import type { Hub } from '@idlewild/hub';
import type { Act } from '../act.ts';
import type { ChangeKind } from '../events.ts';
import type { Record } from '../record.ts';

export interface MemberActs {
  allocate(project: string, tokens: number, ms: number): Promise<void>;
  /** Of one that the project has, if it has any. */
  regrant(project: string, tokens: number | 'end'): Promise<void>;
  cap(change: Omit<Parameters<Hub['spendRules']['setCaps']>[0], 'actor'>): Promise<void>;
  setFloor(settings: Parameters<Hub['spendRules']['change']>[1]): Promise<void>;
  suspend(person: string, isOn: boolean): Promise<void>;
  stopModel(cid: string, name: string, isOn: boolean): Promise<void>;
  poolDevice(device: string, pool: string, isOn: boolean): Promise<void>;
  /** A key may be answered by devices of a pool. */
  bindToPool(key: string, pool: string, isOn: boolean): Promise<void>;
  /** A phrase that nobody may write. */
  rule(isOn: boolean): Promise<void>;
}

/** Among the words of prompts, by chance one in ten. */
export const PHRASE = 'lamp lamp';

export function createMemberActs(record: Record, act: Act, nowMs: () => number): MemberActs {
  const trying = (action: string, subject: string): void => record.note({ e: 'trying', action, subject });
  async function changing(
    what: ChangeKind,
    subject: string,
    isOn: boolean,
    change: () => Promise<void>,
  ): Promise<void> {
    record.note({ e: 'changing', what, subject, isOn });
    await change();
    record.note({ e: 'changed', what, subject, isOn });
  }
  return {
    async allocate(project, tokens, ms) {
      const id = await act('askAllocation', async ({ allocations }, _, { keyId: actor }) => {
        const fromMs = nowMs();
        const order = { project, tokens, deviceMs: undefined, bytes: 0, fromMs, toMs: fromMs + ms, why: '', actor };
        const asked = await allocations.ask(order);
        return { subject: asked.id, result: asked.id };
      });
      await act('grantAllocation', async ({ allocations }, _, { keyId: actor }) => {
        trying('grantAllocation', id);
        await allocations.grant({ id, note: '', actor });
        return { subject: id, result: undefined };
      });
    },
    regrant: (project, tokens) =>
      act('grantAllocation', async ({ allocations }, _, { keyId: actor }) => {
        const granted = (await allocations.list(project)).find(({ state }) => state === 'granted');
        if (granted === undefined) return { subject: '', result: undefined, isVain: true };
        const { id } = granted;
        trying('grantAllocation', id);
        if (tokens === 'end') await allocations.end({ id, note: '', actor });
        else await allocations.grant({ id, tokens, note: '', actor });
        return { subject: id, result: undefined };
      }),
    cap: (change) =>
      act('capSpending', async ({ spendRules }, territory, { keyId: actor }) => {
        const subject = change.subject === '' ? territory : change.subject;
        trying('capSpending', subject);
        await spendRules.setCaps({ ...change, actor });
        return { subject, result: undefined };
      }),
    setFloor: (settings) =>
      act('capSpending', async ({ spendRules }, territory, { keyId: actor }) => {
        trying('capSpending', territory);
        await spendRules.change(actor, settings);
        return { subject: territory, result: undefined };
      }),
    suspend: (person, isOn) =>
      act('manageMembers', async ({ people }, territory, { keyId: actor }) => {
        const action = isOn ? 'suspendMember' : 'resumeMember';
        const before = await people.members.get(territory, person);
        if ((before?.state === 'suspended') === isOn) return { subject: person, result: undefined, isVain: true };
        trying(action, person);
        const order = { territory, id: person, actor };
        await changing('suspended', person, isOn, async () => {
          await people.members[isOn ? 'suspend' : 'resume'](order);
        });
        return { action, subject: person, result: undefined };
      }),
    stopModel: (cid, name, isOn) =>
      act('stopModel', async ({ policyDesk, db }, territory, { keyId: actor }) => {
        const action = isOn ? 'stopModel' : 'allowModel';
        const stops = db.selectFrom('model_stops').select('cid').where('territory_id', '=', territory);
        const isStopped = (await stops.where('cid', '=', cid).executeTakeFirst()) !== undefined;
        if (isStopped === isOn) return { subject: cid, result: undefined, isVain: true };
        trying(action, cid);
        await changing('stopped', name, isOn, () => policyDesk[action](cid, { actor, why: 'to see', name }));
        return { action, subject: cid, result: undefined };
      }),
    poolDevice: (id, pool, isOn) =>
      act('poolDevice', async ({ deviceTrust }, territory, { keyId: actor }) => {
        const own = (await deviceTrust.pools(territory)).get(id) ?? [];
        if (own.includes(pool) === isOn) return { subject: id, result: undefined, isVain: true };
        trying('poolDevice', id);
        const order = { territory, id, pool, actor };
        await changing('pool', `${id} ${pool}`, isOn, () =>
          isOn ? deviceTrust.addToPool(order) : deviceTrust.removeFromPool(order),
        );
        return { subject: id, result: undefined };
      }),
    bindToPool: (key, pool, isOn) =>
      act('bindRole', async ({ people }, territory, { keyId: actor }) => {
        const { bindings } = people;
        const held = (await bindings.list({ territory, subject: key })).find(({ scope }) => scope.id === pool);
        if ((held !== undefined) === isOn) return { subject: key, result: undefined, isVain: true };
        let id = held?.id ?? '';
        await changing('bound', `${key} ${pool}`, isOn, async () => {
          const scope = { kind: 'pool', id: pool } as const;
          if (held === undefined)
            ({ id } = await bindings.create({
              territory,
              subject: { kind: 'key', id: key },
              role: 'caller',
              scope,
              actor,
            }));
          else await bindings.remove({ territory, id, actor });
        });
        return { action: isOn ? 'bindRole' : 'unbindRole', subject: id, result: undefined };
      }),
    rule: (isOn) =>
      act('changeUse', async ({ use }, territory, { keyId: actor }) => {
        trying('changeUse', territory);
        const rule = { kind: 'phrases' as const, id: 'lamps', phrases: [PHRASE], why: 'one lamp is enough' };
        await changing('ruled', '', isOn, async () => {
          await use.apply({ rules: isOn ? { v: 1, rules: [rule] } : { v: 1 }, actor });
        });
        return { subject: territory, result: undefined };
      }),
  };
}
