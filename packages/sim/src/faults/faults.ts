/**
 * What befalls a world: each kind of fault comes by its own dice at its own rate, strikes somebody, preferably a device
 * that is answering, and most are healed after a while. At the end all that is not healed yet is healed at once.
 */
import { DEVICE_TIERS } from '@idlewild/protocol';
import { sql } from 'kysely';
import { MODEL } from '../callers/callers.ts';
import type { Chance } from '../chance.ts';
import type { SimDevice } from '../machines/device.ts';
import { afterTurns, type HubProcess } from '../machines/hub-process.ts';
import { LIES } from './lies.ts';
import type { Direction } from '../machines/link.ts';
import { STEWARD_KINDS } from '../members/stewardship.ts';
import { NO_PROCESS_FAULTS, type Rates, type ReplicaRates, type StewardRates } from '../rates.ts';
import { REPLICA_KINDS, startAgain, stewardly } from './replica-faults.ts';
import type { Fault, Strike } from './strike.ts';
import type { World } from '../world.ts';

export interface Faults {
  /** No more faults; what is not healed is healed now. */
  end(): Promise<void>;
  /** How often each kind struck. */
  readonly counts: Readonly<{ [kind: string]: number }>;
}

const KINDS: { readonly [Kind in keyof Rates]?: readonly [string, Fault] } = {
  deviceDeaths: ['device death', (world, chance) => death(world, chance, false)],
  powerCuts: ['power cut', (world, chance) => death(world, chance, true)],
  engineDeaths: ['engine death', engineDeath],
  engineStalls: ['engine stall', engineStall],
  slownesses: ['slowness', slowness],
  pauses: ['pause', pause],
  cuts: ['cut', cut],
  partitions: ['partition', partition],
  clones: ['clone', clone],
  lies: ['lie', lie],
  drains: ['drain', drain],
  tierChanges: ['tier change', changeTier],
  deviceRevocations: ['device revoked', revokeDevice],
  keyRevocations: ['key revoked', revokeKey],
  meddling: ['meddling', meddling],
  hubCrashes: ['hub crash', hubCrash],
  hubStops: ['hub stop', hubStop],
  diskFaults: ['disk', diskFault],
};

/** Kinds that befall whoever is in the same processes. */
const OF_PROCESSES = new Set(
  Object.entries({ ...KINDS, ...REPLICA_KINDS }).flatMap(([name, [kind]]) => (name in NO_PROCESS_FAULTS ? [kind] : [])),
);

export function startFaults(world: World, rates: Rates & ReplicaRates & StewardRates): Faults {
  const counts: { [kind: string]: number } = {};
  const pending = new Set<() => Promise<void>>();
  let ended = false;

  function note(e: 'fault' | 'healed', kind: string, what: string): void {
    world.record.note({ e, kind, what });
    // The processes and the database are the neighbours', too.
    if (OF_PROCESSES.has(kind)) world.neighbour?.record.note({ e, kind, what });
  }

  async function strike(kind: string, fault: Fault, chance: Chance): Promise<void> {
    const struck = await fault(world, chance);
    if (struck === undefined) return;
    counts[kind] = (counts[kind] ?? 0) + 1;
    note('fault', kind, struck.what);
    const { heal } = struck;
    if (heal === undefined) return;
    const healOnce = async (): Promise<void> => {
      if (!pending.delete(healOnce)) return;
      await heal.act();
      note('healed', kind, struck.what);
    };
    pending.add(healOnce);
    world.agenda.at(world.clock.monotonic() + heal.afterMs, healOnce);
  }

  const kinds = {
    ...KINDS,
    ...(world.cluster.size === 1 ? {} : REPLICA_KINDS),
    ...(world.members === undefined ? {} : STEWARD_KINDS),
  };
  for (const [name, [kind, fault]] of Object.entries(kinds)) {
    const chance = world.chance(`fault ${kind}`);
    const rate = rates[name as keyof typeof rates];
    const next = (): void => {
      const gapMs = chance.gapMs(rate);
      if (!Number.isFinite(gapMs)) return;
      world.agenda.at(world.clock.monotonic() + gapMs, async () => {
        if (ended) return;
        await strike(kind, fault, chance);
        next();
      });
    };
    next();
  }
  return {
    counts,
    async end() {
      ended = true;
      for (const heal of pending) await heal();
    },
  };
}

const ANSWERING_SHARE = 0.75;

/** A device that is answering, mostly; else any that runs. */
function victim(world: World, chance: Chance): SimDevice | undefined {
  const connected = [...(world.process()?.hub.sessions.list() ?? [])];
  const busy = connected.filter(({ leases }) => leases.size > 0).flatMap(({ id }) => world.deviceOf(id) ?? []);
  if (busy.length > 0 && chance.happens(ANSWERING_SHARE)) return chance.pick(busy);
  const running = world.devices.filter((device) => device.isRunning());
  return running.length > 0 ? chance.pick(running) : undefined;
}

function onVictim(world: World, chance: Chance, strike: (device: SimDevice) => Strike | undefined): Strike | undefined {
  const device = victim(world, chance);
  return device === undefined ? undefined : strike(device);
}

function death(world: World, chance: Chance, silently: boolean): Strike | undefined {
  return onVictim(world, chance, (device) => {
    const diskIsLost = chance.happens(0.3);
    device.die(silently);
    return {
      what: device.id,
      heal: {
        afterMs: chance.between(500, 25_000),
        async act() {
          if (!device.isRunning()) await world.restart(device, { diskIsLost });
        },
      },
    };
  });
}

function engineDeath(world: World, chance: Chance): Strike | undefined {
  return onVictim(world, chance, (device) => {
    const engine = device.engines()?.engines.get(world.model);
    engine?.kill('it was killed');
    return engine === undefined ? undefined : { what: device.id };
  });
}

function engineStall(world: World, chance: Chance): Strike | undefined {
  return onVictim(world, chance, (device) => {
    const engine = device.engines()?.engines.get(world.model);
    engine?.setStalled(true);
    if (engine === undefined) return undefined;
    return { what: device.id, heal: { afterMs: chance.between(500, 30_000), act: () => engine.setStalled(false) } };
  });
}

function slowness(world: World, chance: Chance): Strike | undefined {
  return onVictim(world, chance, ({ id, link }) => {
    link.slowDown(chance.between(200, 3_000));
    return { what: id, heal: { afterMs: chance.between(2_000, 30_000), act: () => link.slowDown(0) } };
  });
}

function pause(world: World, chance: Chance): Strike | undefined {
  return onVictim(world, chance, (device) => {
    const reason = chance.pick(['the lender wants it', 'on battery', 'too hot']);
    device.pause(reason);
    return { what: device.id, heal: { afterMs: chance.between(200, 20_000), act: () => device.resume(reason) } };
  });
}

function cut(world: World, chance: Chance): Strike | undefined {
  return onVictim(world, chance, ({ id, link }) => {
    link.cut('the line was cut');
    return { what: id };
  });
}

const WAYS: readonly (readonly Direction[])[] = [['toHub'], ['toDevice'], ['toHub', 'toDevice']];
/** Of partitions: those that part a whole region from the hub. */
const REGION_SHARE = 0.2;

function partition(world: World, chance: Chance): Strike | undefined {
  return onVictim(world, chance, (device) => {
    const ways = chance.pick(WAYS);
    const region = chance.happens(REGION_SHARE) ? world.devices.filter(() => chance.happens(0.2)) : [device];
    for (const { link } of region) link.block(ways);
    const act = (): void => {
      for (const { link } of region) link.unblock();
    };
    const what = `${region.length > 1 ? `${region.length} devices` : device.id} ${ways.join(' and ')}`;
    return { what, heal: { afterMs: chance.between(500, 40_000), act } };
  });
}

async function clone(world: World, chance: Chance): Promise<Strike | undefined> {
  const device = victim(world, chance);
  if (device === undefined || !device.isRunning()) return undefined;
  await device.start({ diskIsLost: false });
  return { what: device.id };
}

function lie(world: World, chance: Chance): Strike | undefined {
  return onVictim(world, chance, ({ id, liar }) => {
    const told = chance.pick(LIES);
    liar.begin(told, chance.whole(1, 4));
    return { what: `${id} ${told}` };
  });
}

function drain(world: World, chance: Chance): Promise<Strike | undefined> {
  return stewardly(world, connectedVictim(world, chance), (id) => world.steward.drainDevice(id));
}

/** Mostly of one that is answering, and so perhaps of one that may see what it is answering no longer. */
function changeTier(world: World, chance: Chance): Promise<Strike | undefined> {
  const id = connectedVictim(world, chance);
  const now = id === undefined ? undefined : world.process()?.hub.sessions.get(id)?.standing.tier;
  const tier = chance.pick(DEVICE_TIERS.filter((each) => each !== now));
  return stewardly(world, id, (device) => world.steward.tierDevice(device, tier));
}

/** In mid-answer, or in mid-handshake, when the hub has perhaps asked already whether the device may come in. */
async function revokeDevice(world: World, chance: Chance): Promise<Strike | undefined> {
  const id = connectedVictim(world, chance);
  if (id === undefined || chance.happens(0.5)) return stewardly(world, id, world.revokeDevice);
  const turns = chance.whole(0, 60);
  let done = false;
  const revoke = async (): Promise<void> => {
    if (done) return;
    done = true;
    await stewardly(world, id, world.revokeDevice);
  };
  world.atProof(id, () => void afterTurns(turns, () => void revoke()));
  world.deviceOf(id)?.link.cut('the line was cut');
  return { what: `${id} in ${turns} turns`, heal: { afterMs: 10_000, act: revoke } };
}
function connectedVictim(world: World, chance: Chance): string | undefined {
  const device = victim(world, chance);
  const connected = device === undefined ? undefined : world.process()?.hub.sessions.get(device.id);
  return connected?.id;
}

/** The first two keys stay: somebody must ask. */
function revokeKey(world: World, chance: Chance): Promise<Strike | undefined> {
  return stewardly(world, chance.pick(world.callerKeys.slice(2)).id, (id) => world.revokeKey(id));
}

function meddling(world: World, chance: Chance): Promise<Strike | undefined> {
  const caller = chance.pick(world.callerKeys);
  return stewardly(world, caller.id, () => world.steward.meddle(caller));
}

/** Any of those that run. */
function someProcess({ cluster }: World, chance: Chance): HubProcess | undefined {
  const running = cluster.running();
  return running.length > 1 ? chance.pick(running) : running[0];
}

/** At any point: between two frames, or between two steps of what one of them began. */
function hubCrash(world: World, chance: Chance): Strike | undefined {
  const process = someProcess(world, chance);
  if (process === undefined) return undefined;
  const [wakes, turns] = [chance.whole(1, 40), chance.whole(0, 100)];
  process.dieAfter(wakes, turns);
  return {
    what: `${process.id} in ${wakes} wakes and ${turns} turns`,
    heal: { afterMs: chance.between(500, 6_000), act: () => startAgain(world, process) },
  };
}

/** At once, without a word to anybody before; see also `replica-faults.ts`. */
async function hubStop(world: World, chance: Chance): Promise<Strike | undefined> {
  const process = world.process();
  if (process === undefined) return undefined;
  if (chance.happens(0.3)) process.dieAfter(1, chance.whole(0, 60));
  process.wake();
  const stopping = process.stop();
  // A replica waits for others; one that is alone waits for nobody.
  if (world.cluster.size === 1) await stopping;
  return { what: MODEL, heal: { afterMs: chance.between(200, 4_000), act: () => startAgain(world, process) } };
}

const DISK_FAULTS = {
  opening: 'before insert on requests',
  closing: 'before update on requests',
  tokens: 'before insert on journal',
} as const;

/** Every write of one kind fails and rolls its batch back. */
async function diskFault(world: World, chance: Chance): Promise<Strike | undefined> {
  const process = world.process();
  if (process === undefined) return undefined;
  const what = chance.pick(Object.keys(DISK_FAULTS) as (keyof typeof DISK_FAULTS)[]);
  const { shared } = world.cluster;
  const db = shared?.db ?? process.hub.db;
  const refusal = "select raise(abort, 'the disk does not write');";
  const statement = `create temp trigger disk_fault ${DISK_FAULTS[what]} begin ${refusal} end`;
  if (!(await execute(process, statement))) return undefined;
  const act = async (): Promise<void> => void (await execute(process, 'drop trigger if exists disk_fault'));
  return { what, heal: { afterMs: chance.between(50, 3_000), act } };

  async function execute({ isLive }: HubProcess, text: string): Promise<boolean> {
    if (!isLive() && shared === undefined) return false;
    try {
      await sql.raw(text).execute(db);
      return true;
    } catch (error) {
      // One fault at a time, and none under a hub that has died meanwhile.
      if (isLive() && !(error as Error).message.includes('already exists')) throw error;
      return false;
    }
  }
}
