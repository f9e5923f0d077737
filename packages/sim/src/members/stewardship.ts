/**
 * What stewards do to members while they ask: they cap and grant, change the floor, suspend and resume, stop a model
 * and allow it again, put devices into pools and take them out, bind and unbind, and make rules of use.
 */
import type { Chance } from '../chance.ts';
import type { Fault, Strike } from '../faults/strike.ts';
import { stewardly } from '../faults/replica-faults.ts';
import type { StewardRates } from '../rates.ts';
import type { World } from '../world.ts';
import { POOLS, type Members } from './members.ts';

export const STEWARD_KINDS: { readonly [Kind in keyof StewardRates]: readonly [string, Fault] } = {
  capChanges: ['cap', withMembers(cap)],
  floorChanges: ['floor', withMembers(changeFloor)],
  grants: ['grant', withMembers(grant)],
  suspensions: ['suspended', withMembers(suspend)],
  modelStops: ['model stopped', stopModel],
  poolChanges: ['pool', withMembers(changePool)],
  bindingChanges: ['binding', withMembers(changeBinding)],
  ruleChanges: ['rule', changeRules],
};

type Act = (world: World, members: Members, chance: Chance) => Promise<Strike | undefined>;

function withMembers(act: Act): Fault {
  return async (world, chance) => (world.members === undefined ? undefined : act(world, world.members, chance));
}

/** Mostly so small that it bites, and at times none. */
function amount(chance: Chance, most: number): number | 'none' {
  return chance.happens(0.2) ? 'none' : Math.ceil(most * chance.unit() ** 2);
}

function cap(world: World, { people, projects, keys }: Members, chance: Chance): Promise<Strike | undefined> {
  const territory = world.process()?.hub.territory.id;
  const [kind, subject, most] = chance.pick([
    ['territory', '', 40_000],
    ['key', chance.pick(keys).id, 6_000],
    ['project', chance.pick(projects), 12_000],
    ['person', chance.pick(people), 9_000],
    ['person', '', 9_000],
  ] as const);
  const tokensPerDay = amount(chance, most);
  const requestsPerDay = chance.happens(0.4) ? amount(chance, most / 300) : undefined;
  const what = territory === undefined ? undefined : `${kind} ${subject}`;
  return stewardly(world, what, () => world.steward.cap({ kind, subject, caps: { tokensPerDay, requestsPerDay } }));
}

function changeFloor(world: World, _: Members, chance: Chance): Promise<Strike | undefined> {
  const floor = {
    floorTokens: chance.happens(0.2) ? 0 : chance.whole(100, 3_000),
    floorRequests: chance.whole(0, 12),
    allocations: chance.happens(0.3) ? ('required' as const) : ('optional' as const),
  };
  return stewardly(world, `${floor.floorTokens} tokens`, () => world.steward.setFloor(floor));
}

function grant(world: World, { projects }: Members, chance: Chance): Promise<Strike | undefined> {
  const project = chance.pick(projects);
  const how = chance.unit();
  const tokens = chance.whole(1, 12_000);
  return stewardly(world, project, () => {
    if (how < 0.4) return world.steward.allocate(project, tokens, chance.whole(1_000, 100_000_000));
    return world.steward.regrant(project, how < 0.8 ? tokens : 'end');
  });
}

async function suspend(world: World, { people }: Members, chance: Chance): Promise<Strike | undefined> {
  const person = chance.pick(people);
  const struck = await stewardly(world, person, (id) => world.steward.suspend(id, true));
  const act = async (): Promise<void> =>
    void (await stewardly(world, person, (id) => world.steward.suspend(id, false)));
  return struck && { ...struck, heal: { afterMs: chance.between(300, 12_000), act } };
}

async function stopModel(world: World, chance: Chance): Promise<Strike | undefined> {
  const { cid, name } = chance.pick(world.models);
  const struck = await stewardly(world, cid, () => world.steward.stopModel(cid, name, true));
  const act = async (): Promise<void> =>
    void (await stewardly(world, cid, () => world.steward.stopModel(cid, name, false)));
  return struck && { ...struck, heal: { afterMs: chance.between(1_200, 5_000), act } };
}

async function changePool(world: World, _: Members, chance: Chance): Promise<Strike | undefined> {
  const connected = [...(world.process()?.hub.sessions.list() ?? [])];
  const busy = connected.filter(({ leases }) => leases.size > 0);
  const among = busy.length > 0 && chance.happens(0.75) ? busy : connected;
  if (among.length === 0) return undefined;
  const { id, standing } = chance.pick(among);
  const pool = chance.pick(POOLS);
  const isIn = standing.pools.includes(pool);
  return stewardly(world, id, () => world.steward.poolDevice(id, pool, !isIn));
}

async function changeBinding(world: World, { bindings }: Members, chance: Chance): Promise<Strike | undefined> {
  const { key, pool } = chance.pick(bindings);
  if (world.revoked.has(key)) return undefined;
  const struck = await stewardly(world, `${key} ${pool}`, () => world.steward.bindToPool(key, pool, false));
  const act = async (): Promise<void> => {
    // Nobody binds a key that was revoked meanwhile.
    if (!world.revoked.has(key)) await stewardly(world, key, () => world.steward.bindToPool(key, pool, true));
  };
  return struck && { ...struck, heal: { afterMs: chance.between(300, 8_000), act } };
}

async function changeRules(world: World, chance: Chance): Promise<Strike | undefined> {
  const struck = await stewardly(world, 'on', () => world.steward.rule(true));
  const act = async (): Promise<void> => void (await stewardly(world, 'off', () => world.steward.rule(false)));
  return struck && { ...struck, heal: { afterMs: chance.between(500, 10_000), act } };
}
