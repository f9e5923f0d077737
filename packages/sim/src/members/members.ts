/**
 * People of a community, their projects and their keys, and pools of its devices: who may spend how much, and who is
 * answered by which devices alone. What stewards change of it later is `stewardship.ts`.
 */
import { addMember } from '@idlewild/hub';
import type { CallerKey } from '../callers/callers.ts';
import type { Chance } from '../chance.ts';
import type { HubProcess } from '../machines/hub-process.ts';
import type { Steward } from '../steward.ts';

export interface Members {
  /** Ids of people. */
  readonly people: readonly string[];
  readonly projects: readonly string[];
  /** Their keys, and keys of the community that ask for projects or on pools. */
  readonly keys: readonly CallerKey[];
  /** Bindings of keys to pools. */
  readonly bindings: readonly { readonly key: string; readonly pool: string }[];
}

export const POOLS = ['lab', 'attic'] as const;
const PROJECTS = ['maps', 'birds'] as const;
/** What a project begins with: some dozens of answers. */
const GRANTED_TOKENS = 12_000;
const TERM_MS = 30 * 86_400_000;
/** What asks nothing of its own accord: for keys that may ask on pools alone. */
const NOWHERE = 'guest';
/** Of devices that are in a pool at first. */
const IN_POOL_SHARE = 0.5;

export async function admitMembers(
  steward: Steward,
  { chance, nowMs }: { readonly chance: Chance; readonly nowMs: () => number },
  count: number,
): Promise<Members> {
  const { act } = steward;
  const people: string[] = [];
  for (let nth = 0; nth < count; nth++)
    people.push(
      await act('manageMembers', async (hub, territory, { keyId: actor }) => {
        const deps = { clock: { now: nowMs }, random: chance, audit: hub.audit };
        const order = { territory, name: `person ${nth}`, role: 'member', actor };
        const { id } = await hub.db.transaction().execute((tx) => addMember(tx, deps, order));
        return { action: 'addMember', subject: id, result: id };
      }),
    );
  const projects: string[] = [];
  for (const name of PROJECTS) {
    const project = await act('createProject', async ({ projects: desk }, _, maker) => {
      const order = { name, purpose: 'education', description: '', maker, actor: maker.keyId };
      const { id } = await desk.create(order);
      return { subject: id, result: id };
    });
    projects.push(project);
    await steward.allocate(project, GRANTED_TOKENS, TERM_MS);
  }
  await act('manageRoles', async (hub, territory, { keyId: actor }) => {
    await hub.people.roles.create({ territory, name: NOWHERE, permissions: ['listModels'], actor });
    return { action: 'createRole', subject: NOWHERE, result: undefined };
  });
  const keys: CallerKey[] = [];
  const bindings: { key: string; pool: string }[] = [];
  for (const [nth, person] of people.entries()) {
    keys.push(await steward.createKey(`key of person ${nth}`, { role: 'member', person }));
    const project = projects[nth % (projects.length + 1)];
    if (project !== undefined)
      keys.push(await steward.createKey(`key of person ${nth} in a project`, { role: 'member', person, project }));
  }
  for (const project of projects) keys.push(await steward.createKey('a kiosk', { role: 'caller', project }));
  for (const pools of [[POOLS[0]], [POOLS[1]], [...POOLS]]) {
    const key = await steward.createKey('of pools', { role: NOWHERE });
    for (const pool of pools) {
      await steward.bindToPool(key.id, pool, true);
      bindings.push({ key: key.id, pool });
    }
    keys.push({ ...key, isOfPools: true });
  }
  return { people, projects, keys, bindings };
}

/** Once devices are enrolled. */
export async function fillPools(steward: Steward, { hub }: HubProcess, dice: Chance): Promise<void> {
  for (const { id } of await hub.devices.list(hub.territory.id))
    for (const pool of POOLS) if (dice.happens(IN_POOL_SHARE)) await steward.poolDevice(id, pool, true);
}
