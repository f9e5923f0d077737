/**
 * Somebody tries what opens doors in one community at those of the other: keys, invites, tickets of devices, ids of
 * keys, devices and models, the same Idempotency-Key. All of it is refused, which is for `invariants/crossing.ts`.
 */
import { codeOf, joinTokenOf } from '@idlewild/protocol';
import type { Chance } from '../chance.ts';
import type { HubProcess } from '../machines/hub-process.ts';
import type { World } from '../world.ts';

type Try = (at: HubProcess, from: World, chance: Chance) => Promise<unknown>;

const actorOf = (at: HubProcess): string => at.hub.id;

const TRIES: Readonly<Record<string, Try>> = {
  'a key': (at, from, chance) => at.hub.keys.authenticate(chance.pick(from.callerKeys).key),
  'the id of a key': (at, from, chance) => {
    const { id } = chance.pick(from.callerKeys);
    return at.hub.keys.revoke({ territory: at.hub.territory.id, id, actor: actorOf(at) });
  },
  'the id of a device': (at, from, chance) => {
    const { id } = chance.pick(from.devices);
    return at.hub.devices.revoke({ territory: at.hub.territory.id, id, actor: actorOf(at) });
  },
  'a tier': (at, from, chance) => {
    const { id } = chance.pick(from.devices);
    return at.hub.deviceTrust.set({ territory: at.hub.territory.id, id, tier: 'vetted', actor: actorOf(at) });
  },
  'an invite': async (at, from) => {
    const { hub } = from.process() ?? {};
    if (hub === undefined) throw new Error('nobody invites');
    const { secret } = await hub.invites.create({
      territory: hub.territory.id,
      uses: 1,
      expiresInMs: 60_000,
      createdBy: hub.id,
    });
    const device = { publicKey: new Uint8Array(32), name: 'x', consent: new Uint8Array(1), profile: {} as never };
    return at.hub.invites.redeem(at.hub.territory.id, joinTokenOf(secret), device);
  },
  'a ticket': async (at, from, chance) => {
    const { ticket } = chance.pick(from.devices.filter((device) => device.ticket() !== undefined)) ?? {};
    const holder = await at.hub.ticketHolders.holderOf(ticket?.() ?? 'none');
    if (holder === undefined) throw new Error('it is of nobody');
  },
  'a model': async (at, from, chance) => {
    const { cid } = chance.pick(from.models);
    const model = await at.hub.models.resolve(at.hub.territory.id, cid);
    return model;
  },
};

const PER_MINUTE = 240;

/** From now on until `end`, in both directions. */
export function startTrespassing(one: World, other: World): { end(): void } {
  let ended = false;
  const chance = one.chance('trespass');
  const kinds = Object.entries(TRIES);
  const next = (): void =>
    one.agenda.at(one.clock.monotonic() + chance.gapMs(PER_MINUTE), async () => {
      if (ended) return;
      const [what, attempt] = chance.pick(kinds);
      const [at, from] = chance.happens(0.5) ? [one, other] : [other, one];
      const process = at.process();
      if (process !== undefined) await tryOnce(what, attempt, process, at, from, chance);
      next();
    });
  next();
  return {
    end: () => {
      ended = true;
    },
  };
}

/** A process that is paused or dies in the middle answers nobody. */
async function tryOnce(
  what: string,
  attempt: Try,
  process: HubProcess,
  at: World,
  from: World,
  chance: Chance,
): Promise<void> {
  const shut = new Promise<'shut'>((resolve) => process.onShut(() => resolve('shut')));
  const tried = attempt(process, from, chance).then(
    () => 'opened' as const,
    (error: unknown) => codeOf(error) ?? 'refused',
  );
  const came = await Promise.race([tried, shut]);
  if (came !== 'shut') at.record.note({ e: 'trespass', what, opened: came === 'opened', code: came });
}
