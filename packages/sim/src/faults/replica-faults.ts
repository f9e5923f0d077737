/**
 * What befalls a community of replicas beside what befalls every hub: one of them stands still and goes on later as if
 * nothing had been, leaves in good order, or is cut off from the bus; messages between them are lost and late; devices
 * are sent to others in the middle of their answers, and callers lose their lines.
 */
import type { Chance } from '../chance.ts';
import { untilShut, type HubProcess } from '../machines/hub-process.ts';
import type { ReplicaRates } from '../rates.ts';
import type { Fault, Strike } from './strike.ts';
import type { World } from '../world.ts';

export const REPLICA_KINDS: { readonly [Kind in Exclude<keyof ReplicaRates, 'keyedShare'>]: readonly [string, Fault] } =
  {
    replicaPauses: ['replica paused', (world, chance) => pause(world, chance, 'stopped')],
    replicaSleeps: ['replica asleep', (world, chance) => pause(world, chance, 'asleep')],
    replicaLeaves: ['replica leaving', leave],
    busFailures: ['bus down', busDown],
    busPartitions: ['bus partition', busPartition],
    busLosses: ['bus loses', busLoses],
    busDelays: ['bus is slow', busIsSlow],
    moves: ['move', move],
    lineBreaks: ['line broken', breakLine],
  };

/** Of pauses: of the one who has a duty, for longer than its lease. */
const HOLDER_SHARE = 0.5;

function pause(world: World, chance: Chance, how: 'stopped' | 'asleep'): Strike | undefined {
  const running = world.cluster.running().filter((process) => !process.isPaused());
  // With nobody left there would be nothing to see.
  if (running.length < 2) return undefined;
  const holder = running.find(({ id }) => id === world.holderOf('placement'));
  const isHolder = holder !== undefined && chance.happens(HOLDER_SHARE);
  const process = isHolder ? holder : chance.pick(running);
  const [wakes, turns] = [chance.whole(1, 60), chance.whole(0, 100)];
  process.pauseAfter(wakes, turns, how);
  const afterMs = isHolder ? chance.between(15_000, 60_000) : 2_000 * 30 ** chance.unit();
  return {
    what: `${process.id} in ${wakes} wakes and ${turns} turns, for ${(afterMs / 1_000).toFixed(1)} s`,
    heal: { afterMs, act: () => process.goOn() },
  };
}

function leave(world: World, chance: Chance): Strike | undefined {
  const staying = world.cluster.running().filter((process) => !process.isLeaving() && !process.isPaused());
  if (staying.length < 2) return undefined;
  const process = chance.pick(staying);
  if (chance.happens(0.3)) process.dieAfter(chance.whole(1, 200), chance.whole(0, 60));
  void process.leave();
  return { what: process.id, heal: { afterMs: chance.between(11_000, 20_000), act: () => startAgain(world, process) } };
}

/** Whoever is still there is ended first. */
export async function startAgain(world: World, old: HubProcess): Promise<void> {
  old.crash();
  await world.startHub(old.slot);
}

function busDown(world: World, chance: Chance): Strike | undefined {
  const { cluster } = world;
  const process = chance.happens(0.4) ? undefined : anyOf(cluster.running(), chance);
  cluster.setBusUp(false, process);
  return {
    what: process?.id ?? 'for all',
    heal: { afterMs: chance.between(300, 20_000), act: () => cluster.setBusUp(true, process) },
  };
}

const anyOf = (processes: readonly HubProcess[], chance: Chance): HubProcess | undefined =>
  processes.length === 0 ? undefined : chance.pick(processes);

/** What one of them says does not arrive, or what it is told, or both; it believes that all is well. */
function busPartition(world: World, chance: Chance): Strike | undefined {
  const { cluster } = world;
  const process = anyOf(cluster.running(), chance);
  const member = process === undefined ? undefined : cluster.memberOf(process);
  if (process === undefined || member === undefined || cluster.busFaults.isCut !== undefined) return undefined;
  const ways = chance.pick(['out', 'in', 'both'] as const);
  cluster.busFaults.isCut = (from, to) =>
    from !== to && ((ways !== 'in' && from === member) || (ways !== 'out' && to === member));
  const act = (): void => {
    delete cluster.busFaults.isCut;
  };
  return { what: `${process.id} ${ways}`, heal: { afterMs: chance.between(300, 25_000), act } };
}

function busLoses({ cluster: { busFaults } }: World, chance: Chance): Strike | undefined {
  if ((busFaults.dropRate ?? 0) > 0) return undefined;
  const share = chance.between(0.02, 0.4);
  busFaults.dropRate = share;
  const act = (): void => {
    busFaults.dropRate = 0;
  };
  return { what: `${Math.round(share * 100)} %`, heal: { afterMs: chance.between(500, 12_000), act } };
}

function busIsSlow({ cluster: { busFaults } }: World, chance: Chance): Strike | undefined {
  if ((busFaults.delayMsMax ?? 0) > 0) return undefined;
  const upToMs = chance.between(5, 900);
  busFaults.delayMsMax = upToMs;
  const act = (): void => {
    busFaults.delayMsMax = 0;
  };
  return { what: `up to ${Math.round(upToMs)} ms`, heal: { afterMs: chance.between(1_000, 15_000), act } };
}

/** Devices that answer, mostly. */
function move(world: World, chance: Chance): Strike | undefined {
  const process = anyOf(
    world.cluster.running().filter((each) => !each.isPaused()),
    chance,
  );
  const devices = [...(process?.hub.local.list() ?? [])];
  const busy = devices.filter(({ leases }) => leases.size > 0);
  const among = busy.length > 0 && chance.happens(0.8) ? busy : devices;
  if (process === undefined || among.length === 0) return undefined;
  const device = chance.pick(among);
  process.hub.local.move([device], 0, 'another replica has more room');
  return { what: `${device.id} from ${process.id}` };
}

function breakLine(world: World, chance: Chance): Strike | undefined {
  const waiting = world.keyedCallers.waiting();
  if (waiting.length === 0) return undefined;
  const request = chance.pick(waiting);
  world.keyedCallers.breakOff(request);
  return { what: `request ${request}` };
}

/** An act of the steward through any replica that answers, as long as that does. */
export async function stewardly(
  world: World,
  what: string | undefined,
  act: (what: string) => Promise<void>,
): Promise<Strike | undefined> {
  const process = world.process();
  if (process === undefined || what === undefined) return undefined;
  try {
    await untilShut(process, act(what));
  } catch (error) {
    if (process.isLive() && world.cluster.size === 1) throw error;
  }
  return { what };
}
