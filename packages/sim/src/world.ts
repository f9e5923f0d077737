/**
 * A world from a seed: a real hub on a real database, devices of many kinds, and people who ask, on one virtual clock
 * over links in memory. It makes things and connects them; what befalls them is `faults.ts`, what must hold of them
 * stands in `invariants/`.
 */
import { codeOf, createMemoryBlobStore, type BlobStore, type Crypto } from '@idlewild/protocol';
import { createMemorySecrets, type AnswerSink, type Hub } from '@idlewild/hub';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, storeTinyModel, type FakeClock } from '@idlewild/protocol/testing';
import { createAgenda, type Agenda } from './agenda.ts';
import { MODEL, createCallers, type CallerKey, type Callers } from './callers/callers.ts';
import { createChance, type Chance } from './chance.ts';
import { createCluster, type Cluster } from './machines/cluster.ts';
import type { SimDevice } from './machines/device.ts';
import { CROWDED_BYTES, createDevices } from './machines/fleet.ts';
import type { Timed } from './events.ts';
import { untilShut, type HubProcess } from './machines/hub-process.ts';
import { createKeyedCallers, type KeyedCallers } from './callers/keyed-callers.ts';
import { hostNeighbours, neighboursIn, toldToBoth } from './machines/neighbours.ts';
import { createTemporaryFolder, yieldToPlatform } from './node/platform.ts';
import { keepBooks } from './members/booked.ts';
import { admitMembers, type Members } from './members/members.ts';
import { createRecord, type Record } from './record.ts';
import { createRememberingCrypto } from './machines/remembering-crypto.ts';
import { createCauses } from './machines/shared-bus.ts';
import type { SealedLies } from './callers/sealed-lies.ts';
import { createSteward, type Steward } from './steward.ts';
import { followDuties, followLeases, overhear, type Watched } from './watch.ts';

export const CONTEXT_TOKENS = 4_096;
const CALLERS = 6;
/** A day, as caps count it, ends while members ask. */
const MIDNIGHT_MS = 1_800_057_600_000;
const BEFORE_MIDNIGHT_MS = 16_000;

export interface WorldOptions {
  readonly seed: number;
  readonly devices: number;
  readonly traceLinesMax: number;
  readonly breakage?: Breakage | undefined;
  /** Models, of which no device has room for more than a few; 1, for which there is room everywhere. */
  readonly models: number;
  /** Every device may see every text. */
  readonly trusting: boolean;
  /** 1: a hub that is alone. */
  readonly replicas: number;
  /** Of a second community in the same hub; 0: there is none. */
  readonly neighbours: number;
  /** People of the first, with keys, projects and pools; 0: there are keys alone. */
  readonly members: number;
  readonly onEvent: (event: Timed, isNeighbour: boolean) => void;
  /** A hub that is alone has started again, and nobody has connected yet. */
  readonly onRestarted: (world: World) => Promise<void>;
}

/** How a test breaks a world, to see that it is noticed. */
export interface Breakage {
  wrapSink?(sink: AnswerSink): AnswerSink;
  /** Between what a device sent and what the hub makes of it. */
  rewrite?(frame: Uint8Array, device: string): Uint8Array;
  /** What a hub that lies makes of what it tells callers who seal. */
  readonly sealed?: SealedLies;
  /** Between replicas. */
  rewriteBus?(subject: string, bytes: Uint8Array): Uint8Array;
  /** After each start of the hub. */
  onHub?(hub: Hub): Promise<void>;
  /** Once, when all have joined. */
  meanwhile?(world: World): void;
  /** Whether a revoked device is disconnected, and a pausing lender heeded. */
  readonly dropsRevoked?: boolean;
  readonly heedsLender?: boolean;
}

export interface World {
  readonly seed: number;
  /** The second community; its cluster is the same, seen from there. */
  readonly neighbour: World | undefined;
  /** The other community, from either. */
  stranger(): World | undefined;
  /** Requests of a community are numbered from here. */
  readonly firstRequest: number;
  readonly clock: FakeClock;
  readonly agenda: Agenda;
  readonly record: Record;
  readonly devices: readonly SimDevice[];
  readonly callers: Callers;
  readonly keyedCallers: KeyedCallers;
  readonly cluster: Cluster;
  readonly steward: Steward;
  readonly callerKeys: readonly CallerKey[];
  /** Where there are some. */
  readonly members: Members | undefined;
  /** Keys and devices whose revocation the hub has acknowledged. */
  readonly revoked: ReadonlySet<string>;
  /** Devices that must not come back: superseded by a clone, or told that they are revoked. */
  readonly over: ReadonlySet<string>;
  /** The first model; in a crowded world there are more. */
  readonly model: string;
  readonly models: readonly WorldModel[];
  /** One that answers. */
  process(): HubProcess | undefined;
  /** Requests that were given to a device at least once and are not over. */
  begun(): number;
  deviceOf(id: string): SimDevice | undefined;
  /** The replica that has a duty, as the database saw it last. */
  holderOf(duty: string): string | undefined;
  /** A stream of chance of its own. */
  chance(stream: string): Chance;
  startHub(slot: number): Promise<void>;
  /** Calls `act` as soon as the device proves itself to the hub again, which has not finished with it by then. */
  atProof(device: string, act: () => void): void;
  /** Revoking again changes nothing. */
  revokeDevice(id: string): Promise<void>;
  revokeKey(id: string): Promise<void>;
  /** Starts a device that is not running; whatever ended it before is forgotten. */
  restart(device: SimDevice, how: { diskIsLost: boolean }): Promise<void>;
  /** Lets virtual time pass, doing what is on the agenda. */
  run(ms: number): Promise<void>;
  close(): Promise<void>;
}

export interface WorldModel {
  readonly cid: string;
  readonly name: string;
  readonly bytes: number;
}

/** What the parts of a world share while it is put together. */
interface Making extends Watched {
  readonly options: WorldOptions;
  readonly devices: number;
  readonly isNeighbour: boolean;
  readonly clock: FakeClock;
  readonly crypto: Crypto;
  readonly cluster: Cluster;
  readonly byId: Map<string, SimDevice>;
  /** What the hub has acknowledged, and what was asked of it. */
  readonly revoked: Set<string>;
  readonly revoking: Set<string>;
  readonly over: Set<string>;
}

export async function createWorld(options: WorldOptions): Promise<World> {
  const { seed, breakage = {}, replicas, neighbours } = options;
  const clock = createFakeClock(yieldToPlatform, options.members > 0 ? MIDNIGHT_MS - BEFORE_MIDNIGHT_MS : undefined);
  const record = createRecord(clock, options.traceLinesMax);
  const nextRecord = createRecord(clock, options.traceLinesMax);
  const folder = createTemporaryFolder();
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  const crypto = createRememberingCrypto(nodeCrypto);
  const secrets = createMemorySecrets();
  const causes = createCauses();
  const parts: Part[] = [];
  const cluster = await createCluster({
    size: replicas,
    seed,
    clock,
    crypto,
    secrets,
    hasNeighbours: neighbours > 0,
    record: neighbours > 0 ? toldToBoth(record, nextRecord) : record,
    store,
    causes,
    folder: folder.path,
    rewriteBus(subject, bytes) {
      overhear(record, `a message on ${subject}`, bytes);
      return breakage.rewriteBus?.(subject, bytes) ?? bytes;
    },
    onDead(process) {
      for (const part of parts) bury(part, part.making.isNeighbour ? process.neighbour() : process);
    },
  });
  record.listen((event) => options.onEvent(event, false));
  nextRecord.listen((event) => options.onEvent(event, true));
  const common = { ...{ options, clock, crypto, causes }, rewrite: breakage.rewrite };
  const making = { ...emptyNotes(), ...common, record, cluster, devices: options.devices, isNeighbour: false };
  const agenda = createAgenda();
  const part = createPart(making, parts);
  for (let slot = 0; slot < replicas; slot++) await startHub(making, slot);
  if (options.members > 0) await keepBooks(cluster.shared?.db ?? (cluster.running()[0] as HubProcess).hub.db);
  await populate(part, store);
  let neighbour: World | undefined;
  if (neighbours > 0) {
    await hostNeighbours(cluster, secrets, clock, createChance(seed, 'neighbours'));
    const beside = { ...common, record: nextRecord, cluster: neighboursIn(cluster), devices: neighbours };
    const next = createPart({ ...emptyNotes(), ...beside, isNeighbour: true }, parts);
    await populate(next, store);
    next.first = () => world;
    neighbour = createView(next, agenda, undefined);
  }
  const world: World = {
    ...createView(part, agenda, neighbour),
    async startHub(slot) {
      if ((await startHub(making, slot)) && replicas === 1) await options.onRestarted(world);
    },
    async close() {
      for (const { devices } of parts) for (const device of devices) device.die(true);
      await cluster.close();
      folder.remove();
    },
  };
  return world;
}

/** One community of a world, while it is put together. */
interface Part {
  readonly making: Making;
  readonly devices: SimDevice[];
  readonly callers: Callers;
  readonly keyedCallers: KeyedCallers;
  readonly holders: ReadonlyMap<string, string>;
  people?: People;
  /** Of a second community. */
  first?: () => World;
}

function createPart(making: Making, parts: Part[]): Part {
  followLeases(making);
  const part: Part = { making, devices: [], holders: followDuties(making.record), ...createAsking(making) };
  parts.push(part);
  return part;
}

function bury({ making, devices, callers, keyedCallers }: Part, process: HubProcess | undefined): void {
  if (making.options.replicas === 1) making.leases.clear();
  if (process === undefined) return;
  for (const device of devices) device.link.cut('the hub died', process);
  callers.cutOff(process);
  keyedCallers.cutOff(process);
}

function createView(part: Part, agenda: Agenda, neighbour: World | undefined): World {
  const { making, devices, callers, keyedCallers, holders } = part;
  const { options, clock, record, cluster, isNeighbour } = making;
  const { steward, models, callerKeys, members } = part.people as People;
  const world: World = {
    seed: options.seed,
    neighbour,
    stranger: () => (isNeighbour ? part.first?.() : neighbour),
    firstRequest: isNeighbour ? NEIGHBOURS_FROM : 0,
    clock,
    record,
    agenda,
    devices,
    callers,
    keyedCallers,
    cluster,
    steward,
    callerKeys,
    members,
    model: models[0]?.cid ?? '',
    models,
    process: cluster.awake,
    revoked: making.revoked,
    over: making.over,
    begun: () => making.leases.size,
    deviceOf: (id) => making.byId.get(id),
    holderOf: (duty) => holders.get(duty),
    chance: (stream) => chanceOf(making, stream),
    startHub: async () => {},
    atProof: (device, act) => void making.atProof.set(device, act),
    revokeDevice: (id) => revokeOnce(making, world, id, steward.revokeDevice),
    revokeKey: (id) => revokeOnce(making, world, id, steward.revokeKey),
    async restart(device, how) {
      making.over.delete(device.id);
      await device.start(how);
    },
    run: (ms) => run(clock, agenda, ms),
    close: async () => {},
  };
  return world;
}

/** Beyond all that the first community asks. */
export const NEIGHBOURS_FROM = 1_000_000;

const chanceOf = ({ options, isNeighbour }: Pick<Making, 'options' | 'isNeighbour'>, stream: string): Chance =>
  createChance(options.seed, isNeighbour ? `neighbours: ${stream}` : stream);

const emptyNotes = (): Pick<Making, 'leases' | 'byId' | 'revoked' | 'revoking' | 'over' | 'atProof'> => ({
  leases: new Map(),
  byId: new Map(),
  revoked: new Set(),
  revoking: new Set(),
  over: new Set(),
  atProof: new Map(),
});

interface People {
  readonly steward: Steward;
  readonly models: readonly WorldModel[];
  readonly callerKeys: readonly CallerKey[];
  readonly members: Members | undefined;
}

/** Makes who and what a hub knows, and adds the devices. */
async function populate(part: Part, store: BlobStore): Promise<void> {
  const { making, devices } = part;
  const { record, cluster, clock, byId, options } = making;
  const dropsRevoked = options.breakage?.dropsRevoked ?? true;
  const steward = await createSteward({ record, process: cluster.awake, nowMs: clock.now, dropsRevoked });
  const models = await publish(store, options.models, steward, making.isNeighbour ? 'their ' : '');
  const callerKeys: CallerKey[] = [];
  for (let caller = 0; caller < CALLERS; caller++) callerKeys.push(await steward.createKey(`caller ${caller}`));
  const fleet = {
    ...making,
    isCrowded: options.models > 1,
    isTrusting: options.trusting,
    hasReplicas: options.replicas > 1,
    heedsLender: options.breakage?.heedsLender ?? true,
    chance: (stream: string) => chanceOf(making, stream),
  };
  devices.push(...(await createDevices(fleet, steward)));
  for (const device of devices) byId.set(device.id, device);
  const chance = chanceOf(making, 'members');
  const isEmpty = options.members === 0 || making.isNeighbour;
  const members = isEmpty ? undefined : await admitMembers(steward, { chance, nowMs: clock.now }, options.members);
  part.people = { steward, models, members, callerKeys: [...callerKeys, ...(members?.keys ?? [])] };
}

/** Those who ask, with and without keys to come back by. */
function createAsking(making: Making): { callers: Callers; keyedCallers: KeyedCallers } {
  const { options, record, causes, cluster, clock } = making;
  const common = {
    record,
    via: () => causes.via,
    wrapSink: (sink: AnswerSink) => options.breakage?.wrapSink?.(sink) ?? sink,
  };
  const chance = chanceOf(making, 'keyed callers');
  return {
    callers: createCallers({ ...common, random: chanceOf(making, 'ids of requests'), process: cluster.pick }),
    keyedCallers: createKeyedCallers({ ...common, clock, chance, pick: cluster.pick }),
  };
}

const RETRY_MS = 2_000;

/** When the hub dies meanwhile nobody knows whether it is done, and the steward asks again. */
async function revokeOnce(
  making: Making,
  world: World,
  id: string,
  revoke: (id: string, process: HubProcess) => Promise<void>,
): Promise<void> {
  const { revoked, revoking, cluster } = making;
  if (revoked.has(id) || revoking.has(id)) return;
  revoking.add(id);
  const process = cluster.awake();
  const again = (): void =>
    world.agenda.at(world.clock.monotonic() + RETRY_MS, async () => {
      revoking.delete(id);
      await untilShut(cluster.awake(), revokeOnce(making, world, id, revoke));
    });
  if (process === undefined) return again();
  try {
    await revoke(id, process);
  } catch (error) {
    if (process.isLive() && codeOf(error) !== 'database_unavailable') throw error;
    return again();
  }
  if (process.isLive()) revoked.add(id);
  else again();
}

/** So small that what is put on the agenda for soon is not late by much. */
const STRIDE_MS = 50;

async function run(clock: FakeClock, agenda: Agenda, ms: number): Promise<void> {
  const untilMs = clock.monotonic() + ms;
  while (clock.monotonic() < untilMs) {
    const nextMs = Math.min(untilMs, agenda.nextAtMs(), clock.monotonic() + STRIDE_MS);
    await clock.advance(Math.max(0, nextMs - clock.monotonic()));
    while (agenda.nextAtMs() <= clock.monotonic()) {
      await agenda.take()?.();
      await clock.settle();
    }
  }
}

/** Whether nobody was there. */
async function startHub({ cluster, options }: Making, slot: number): Promise<boolean> {
  const started = await cluster.start(slot);
  if (started !== undefined) await options.breakage?.onHub?.(started.hub);
  return started !== undefined;
}

/**
 * Models of a few bytes. The simulated engine reads none of them, but they go the way of all models. In a crowded
 * world they are larger, each another size, so that devices give them to each other and have room for a few.
 */
async function publish(store: BlobStore, count: number, steward: Steward, whose: string): Promise<WorldModel[]> {
  const models: WorldModel[] = [];
  for (let index = 0; index < count; index++) {
    const text = `${whose}model ${index} of very few parameters`;
    const file = count === 1 ? text : text.padEnd(CROWDED_BYTES * (1 + (index % 4)), '.');
    const cid = await storeTinyModel(store, file, { crypto: nodeCrypto, contextTokens: CONTEXT_TOKENS });
    const name = index === 0 ? MODEL : `${MODEL}-${index}`;
    await steward.addModel(cid, name);
    models.push({ cid, name, bytes: file.length });
  }
  return models;
}
