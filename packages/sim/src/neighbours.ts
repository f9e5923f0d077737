/**
 * A second community in the same process: a hub of its own behind the real house and the real front, over the same
 * database, store and bus.
 */
import {
  createFront,
  createHosting,
  createHub,
  createLocalBusHub,
  openHouse,
  type House,
  type Hub,
  type HubDeps,
  type Secrets,
} from '@idlewild/hub';
import type { Channel } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { FakeClock } from '@idlewild/protocol/testing';
import type { Chance } from './chance.ts';
import type { Cluster } from './cluster.ts';
import type { HubProcess } from './hub-process.ts';
import type { Record } from './record.ts';

interface Room {
  readonly hub: Hub;
  stop(): Promise<void>;
}

export interface Rooms {
  readonly house: House<Room>;
  accept(channel: Channel): void;
}

export async function openRooms(hub: Hub, deps: HubDeps): Promise<Rooms> {
  const { clock, log, random, database, replica } = deps;
  const { db } = database;
  const bus = replica?.bus ?? createLocalBusHub({ clock, log, random, faults: {} }).connect();
  const house = await openHouse<Room>(roomOf(hub), {
    db,
    bus,
    isAlone: replica === undefined,
    clock,
    log,
    open: async (territory) => roomOf(await createHub({ ...deps, territory })),
  });
  const behind = ({ hub: { territory, local } }: Room) => ({
    territory,
    serve: () => {},
    accept: (channel: Channel) => local.accept(channel),
  });
  const find = (territory: string) => {
    const room = house.get(territory);
    return room === undefined ? undefined : behind(room);
  };
  const front = createFront({ db, clock, log, behind: () => house.list().map(behind), find });
  return { house, accept: (channel) => front.accept(channel, undefined) };
}

const roomOf = (hub: Hub): Room => ({ hub, stop: () => hub.stop() });

/** The same replicas, as the second community has them. */
export function neighboursIn(cluster: Cluster): Cluster {
  const view = (process: HubProcess | undefined): HubProcess | undefined => process?.neighbour();
  return {
    ...cluster,
    shared: undefined,
    running: () => cluster.running().flatMap((process) => view(process) ?? []),
    pick: () => view(cluster.pick()),
    awake: () => view(cluster.awake()),
    close: async () => {},
  };
}

/** What happens to a process happens to both communities. */
export const toldToBoth = (record: Record, next: Record): Record => ({
  ...record,
  note(event) {
    record.note(event);
    next.note(event);
  },
});

/** Makes the second community, as whoever runs the hub does, and waits until all replicas serve it. */
export async function hostNeighbours(
  cluster: Cluster,
  secrets: Secrets,
  clock: FakeClock,
  random: Chance,
): Promise<void> {
  const [process] = cluster.running();
  const { hub, house } = process as HubProcess;
  if (house === undefined) throw new Error('this world has no place for a second community');
  const { db, audit } = hub;
  const hosting = createHosting({ db, house, secrets, crypto: nodeCrypto, random, clock, audit });
  await hosting.create({ name: 'the neighbours', actor: hub.id });
  for (let wait = 0; wait < 100 && neighboursIn(cluster).running().length < cluster.size; wait++)
    await clock.advance(50);
}
