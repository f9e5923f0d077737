/**
 * The replicas of a world: their places, what they share, and the balancer before them, which sends whoever comes to
 * one of them at random. A world of one replica has a hub that is alone, on a database of its own.
 */
import { join } from 'node:path';
import {
  HUB_LIMITS,
  createLocalBusHub,
  createRegister,
  openDatabase,
  silentLog,
  type BusFaults,
  type LocalBusHub,
  type LocalBusMember,
  type Secrets,
} from '@idlewild/hub';
import type { BlobStore, Clock, Crypto } from '@idlewild/protocol';
import { createChance } from '../chance.ts';
import { startHubProcess, type Ground, type HubProcess, type Machine } from './hub-process.ts';
import type { Record } from '../record.ts';
import { createGatedBus, type Causes } from './shared-bus.ts';
import { openSharedDatabase, type SharedDatabase } from './shared-database.ts';

export interface Cluster {
  readonly size: number;
  /** Those that live, paused ones among them. */
  running(): readonly HubProcess[];
  /** Where the balancer sends somebody. */
  pick(): HubProcess | undefined;
  /** One that answers. */
  awake(): HubProcess | undefined;
  /** Nothing where one runs. */
  start(slot: number): Promise<HubProcess | undefined>;
  /** What befalls messages between replicas. */
  readonly busFaults: BusFaults;
  /** Of one replica, or of all. */
  setBusUp(isUp: boolean, process?: HubProcess): void;
  /** Its number on the bus. */
  memberOf(process: HubProcess): number | undefined;
  /** Where there are several replicas. */
  readonly shared: SharedDatabase | undefined;
  close(): Promise<void>;
}

export interface ClusterDeps {
  readonly size: number;
  readonly seed: number;
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly record: Record;
  readonly store: BlobStore;
  readonly secrets: Secrets;
  readonly hasNeighbours: boolean;
  readonly folder: string;
  readonly causes: Causes;
  readonly rewriteBus: (subject: string, bytes: Uint8Array) => Uint8Array;
  onDead(process: HubProcess): void;
}

/** A balancer that looks at /readyz once a second has noticed by then. */
const NOTICED_MS = 2_000;

export async function createCluster(deps: ClusterDeps): Promise<Cluster> {
  const { size, seed, clock, folder } = deps;
  const file = join(folder, 'hub.db');
  const chance = createChance(seed, 'balancer');
  const busFaults: BusFaults = {};
  const random = createChance(seed, 'bus');
  const buses = createLocalBusHub({ clock, log: silentLog, random, faults: busFaults });
  const shared = size === 1 ? undefined : await openSharedDatabase(file, clock, HUB_LIMITS.dutyLeaseMs);
  const members = new Map<string, LocalBusMember>();
  const slots: (HubProcess | undefined)[] = Array.from({ length: size });
  const ground = shared === undefined ? aloneIn(file) : sharing(deps, { shared, buses, members });
  const machine: Machine = { ...deps, ground };
  let starts = 0;
  /** For all. */
  let isBusUp = true;

  const running = (): HubProcess[] => slots.filter((process) => process !== undefined);
  const isAway = (process: HubProcess): boolean =>
    process.isLeaving() || (process.isPaused() && clock.monotonic() - process.pausedAtMs() > NOTICED_MS);
  const one = (among: readonly HubProcess[]): HubProcess | undefined =>
    among.length > 1 ? chance.pick(among) : among[0];

  return {
    size,
    busFaults,
    shared,
    running,
    pick: () => one(running().filter((process) => !isAway(process))),
    awake() {
      const awake = running().filter((process) => !process.isPaused());
      const staying = awake.filter((process) => !process.isLeaving());
      return one(staying.length > 0 ? staying : awake);
    },
    async start(slot) {
      if (slots[slot] !== undefined) return undefined;
      const own = createChance(seed, `hub ${starts++}`);
      const process = await startHubProcess(machine, { chance: own, slot }, (dead) => {
        slots[slot] = undefined;
        deps.onDead(dead);
      });
      slots[slot] = process;
      if (!isBusUp) members.get(process.id)?.setUp(false);
      return process;
    },
    setBusUp(isUp, process) {
      if (process === undefined) {
        isBusUp = isUp;
        buses.setUp(isUp);
      } else if (isBusUp || !isUp) members.get(process.id)?.setUp(isUp);
    },
    memberOf: ({ id }) => members.get(id)?.member,
    async close() {
      if (size === 1) await slots[0]?.stop();
      for (const process of running()) process.crash();
      await shared?.close();
    },
  };
}

const aloneIn =
  (file: string): Machine['ground'] =>
  async (_id, gate) => ({ database: await openDatabase({ file, clock: gate.clock, sync: 'off' }) });

interface Common {
  readonly shared: SharedDatabase;
  readonly buses: LocalBusHub;
  readonly members: Map<string, LocalBusMember>;
}

const sharing =
  ({ clock, causes, rewriteBus: rewrite, seed }: ClusterDeps, { shared, buses, members }: Common): Machine['ground'] =>
  async (id, gate, wake): Promise<Ground> => {
    const member = buses.connect();
    members.set(id, member);
    return {
      database: shared.connect(id, gate),
      shared: {
        bus: createGatedBus({ member, gate, causes, wake, rewrite }),
        register: (database, hub) =>
          createRegister({
            database,
            replica: {
              id,
              version: '0.1.0',
              hasBus: true,
              address: () => 'http://127.0.0.1',
              counts: () => ({ devices: hub()?.local.count() ?? 0, answers: hub()?.answers.counts().open ?? 0 }),
            },
            clock: gate.clock,
            random: createChance(seed, `register ${id}`),
            log: silentLog,
            onRefused() {
              throw new Error(`${id} was refused at ${clock.monotonic()}, although all have the bus`);
            },
          }),
      },
    };
  };
