/**
 * The rooms of one process that more than one community lives in: the real house and the real front, over one database,
 * store and bus.
 */
import {
  createFront,
  createHub,
  createLocalBusHub,
  openHouse,
  type House,
  type Hub,
  type HubDeps,
} from '@idlewild/hub';
import type { Channel } from '@idlewild/protocol';

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
