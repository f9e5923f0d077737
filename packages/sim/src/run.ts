/**
 * One run of one seed: a world is made, all its devices join at once, people ask while things go wrong, and at the end,
 * when all faults are over, everything must come to rest. The checkers watch throughout.
 */
import { HUB_LIMITS, type Hub } from '@idlewild/hub';
import { sql } from 'kysely';
import type { Timed } from './events.ts';
import { startDemand } from './callers/demand.ts';
import { familyOf } from './machines/device.ts';
import type { HubProcess } from './machines/hub-process.ts';
import { startFaults, type Faults } from './faults/faults.ts';
import { INVARIANTS, type Invariant } from './invariants/all.ts';
import type { Checker, CreateChecker, Facts } from './invariants/checker.ts';
import { readBooks } from './members/booked.ts';
import { fillPools } from './members/members.ts';
import {
  NO_PROCESS_FAULTS,
  RATES,
  REPLICA_RATES,
  STEWARD_RATES,
  type Rates,
  type ReplicaRates,
  type StewardRates,
} from './rates.ts';
import { takeSnapshot, type Snapshot } from './snapshot.ts';
import { startSealing } from './callers/sealed-callers.ts';
import { startTrespassing } from './faults/trespass.ts';
import { overhear } from './watch.ts';
import { CONTEXT_TOKENS, NEIGHBOURS_FROM, createWorld, type Breakage, type World } from './world.ts';

export interface SimulationOptions {
  readonly seed: number;
  /** 200. */
  readonly devices?: number;
  /** Virtual minutes of faults, before the settling; 2. */
  readonly virtualMinutes?: number;
  readonly rates?: Partial<Rates & ReplicaRates & StewardRates>;
  /** 1, which is a hub that is alone. */
  readonly replicas?: number;
  /** Devices of a second community in the same hub; 0, and then there is none. */
  readonly neighbours?: number;
  /** Sealed prompts in a virtual minute; 0. */
  readonly sealed?: number;
  /** People with keys, projects, caps and pools, and stewards who change them; 0. */
  readonly members?: number;
  /** Models; 1. With more, no device has room for all. */
  readonly models?: number;
  /** Whether every device may see every text; by the dice. */
  readonly trusting?: boolean;
  /** Lines of the trace that are kept; 400. */
  readonly traceLinesMax?: number;
  readonly breakage?: Breakage;
  /** Hears everything that the checkers hear. */
  readonly onEvent?: (event: Timed) => void;
}

export interface Violation {
  readonly invariant: Invariant;
  readonly community: 'first' | 'second';
  readonly atMs: number;
  readonly what: string;
}

export interface Report {
  readonly seed: number;
  readonly devices: number;
  readonly replicas: number;
  readonly members: number;
  readonly sealed: number;
  /** As asked for; the joining and the settling come on top. */
  readonly virtualMinutes: number;
  readonly virtualMs: number;
  /** Over all events with their times: the same for the same seed and code. */
  readonly hash: string;
  readonly violations: readonly Violation[];
  readonly figures: Figures;
  readonly faults: Readonly<{ [kind: string]: number }>;
  readonly trace: readonly string[];
}

export interface Figures {
  asked: number;
  accepted: number;
  tokens: number;
  attempts: number;
  failovers: number;
  inexact: number;
  receipts: number;
  hubCrashes: number;
  hubStops: number;
  /** Times that callers came back to an answer. */
  returns: number;
  /** By how a request ended: `done`, `hungUp`, `cutOff`, a code of its failure, or `refused` and a code. */
  readonly ends: { [how: string]: number };
}

const JOINING_MS = 4_000;
const SAMPLE_MS = 500;
const SETTLE_MS_MAX = 120_000;
/** For cancels to arrive, for the last devices to find their way back, and for partitions to be noticed. */
const REST_MS = 25_000;
/** For runs that nobody came back to, and for requests of replicas that are gone, to be closed by who has the duty. */
const REPLICAS_REST_MS = HUB_LIMITS.repeatGraceMs + HUB_LIMITS.replicaLiveMs + 3 * HUB_LIMITS.housekeepingMs;
const VIOLATIONS_MAX = 100;

export async function simulate(options: SimulationOptions): Promise<Report> {
  const {
    seed,
    devices = 200,
    virtualMinutes = 2,
    traceLinesMax = 400,
    models = 1,
    breakage,
    replicas = 1,
    neighbours = 0,
    sealed = 0,
    members = 0,
  } = options;
  const rates = { ...RATES, ...REPLICA_RATES, ...STEWARD_RATES, ...options.rates };
  const violations: Violation[] = [];
  const figures = createFigures();
  const courts: Court[] = [swearIn(violations, replicas), swearIn(violations, replicas)];
  const inspect = async ({ jury, world }: Court, when: Snapshot['when']): Promise<void> => {
    if (world?.process() === undefined) return;
    const snapshot = await takeSnapshot(world, when);
    for (const checker of jury) checker.inspect?.(snapshot);
    if (world.firstRequest === 0) figures.receipts = snapshot.receipts.length;
  };
  const world = await createWorld({
    seed,
    devices,
    traceLinesMax,
    breakage,
    models,
    trusting: options.trusting ?? false,
    replicas,
    neighbours,
    members,
    onEvent(event, isNeighbour) {
      count(figures, event);
      for (const checker of courts[Number(isNeighbour)]?.jury ?? []) checker.see?.(event);
      options.onEvent?.(event);
    },
    // What the crash left must be accounted for before anything new begins.
    onRestarted: async () => {
      for (const court of courts) await inspect(court, 'recovered');
    },
  });
  const worlds = world.neighbour === undefined ? [world] : [world, world.neighbour];
  for (const [at, each] of worlds.entries()) Object.assign(courts[at] ?? {}, { world: each });
  try {
    for (const device of worlds.flatMap(({ devices: all }) => all)) await device.start({ diskIsLost: false });
    await world.run(JOINING_MS);
    if (world.members !== undefined)
      await fillPools(world.steward, world.process() as HubProcess, world.chance('pools'));
    breakage?.meanwhile?.(world);
    for (const each of worlds) sample(each);
    const sealing = sealed > 0 ? await startSealing(world, sealed, breakage?.sealed) : undefined;
    const asking: { end(): void }[] = worlds.map((each) => startDemand(each, rates));
    // What befalls processes befalls both.
    const faults = worlds.map((each) => startFaults(each, each === world ? rates : { ...rates, ...NO_PROCESS_FAULTS }));
    if (world.neighbour !== undefined) asking.push(startTrespassing(world, world.neighbour));
    if (sealing !== undefined) asking.push(sealing);
    await world.run(virtualMinutes * 60_000);
    for (const each of asking) each.end();
    await settle(worlds, faults);
    await readRecords(world, sealing !== undefined);
    for (const court of courts) await inspect(court, 'rest');
    return {
      seed,
      devices,
      replicas,
      members,
      sealed,
      virtualMinutes,
      virtualMs: world.clock.monotonic(),
      hash: world.record.hash(),
      violations,
      figures,
      faults: faults[0]?.counts ?? {},
      trace: world.record.lines(),
    };
  } finally {
    await world.close();
  }
}

/** What the run left in databases, for whoever judges it. */
async function readRecords(world: World, isSealed: boolean): Promise<void> {
  await readWritten(world);
  await readBooked(world);
  if (isSealed) await searchDatabase(world);
}

async function settle(worlds: readonly World[], faults: readonly Faults[]): Promise<void> {
  for (const each of faults) await each.end();
  const [world] = worlds as readonly [World];
  const untilMs = world.clock.monotonic() + SETTLE_MS_MAX;
  const { cluster } = world;
  const isBusy = ({ callers, keyedCallers, cluster: own }: World): boolean =>
    callers.waiting().length + keyedCallers.waiting().length > 0 ||
    own.running().length === 0 ||
    own.running().some(({ hub }) => hub.answers.counts().open > 0);
  while (worlds.some(isBusy) && world.clock.monotonic() < untilMs) await world.run(1_000);
  await world.run(cluster.size === 1 ? REST_MS : REPLICAS_REST_MS);
}

/** Who judges one community. */
interface Court {
  readonly world: World | undefined;
  readonly jury: readonly Checker[];
}

function swearIn(violations: Violation[], replicas: number): Court {
  const court: { world: World | undefined; jury: Checker[] } = { world: undefined, jury: [] };
  const facts: Facts = {
    contextTokens: CONTEXT_TOKENS,
    replicas,
    isAlone: replicas === 1,
    slots: () => court.world?.devices.reduce((sum, { traits }) => sum + traits.slots, 0) ?? 0,
    deviceOf: (id) => court.world?.deviceOf(id),
    saltOf: (family) => familyOf(family).salt,
    requests: {
      get from() {
        return court.world?.firstRequest ?? 0;
      },
      get to() {
        return (court.world?.firstRequest ?? 0) + NEIGHBOURS_FROM;
      },
    },
    models: () => new Set(court.world?.models.map(({ cid }) => cid)),
    strangers: () => idsOf(court.world?.stranger()),
    keyOf: (id) => court.world?.callerKeys.find((key) => key.id === id),
  };
  court.jury = Object.entries(INVARIANTS).map(([name, create]: [string, CreateChecker]) =>
    create((what) => {
      const atMs = court.world?.clock.monotonic() ?? 0;
      const community = (court.world?.firstRequest ?? 0) === 0 ? 'first' : 'second';
      if (violations.length < VIOLATIONS_MAX) violations.push({ invariant: name as Invariant, community, atMs, what });
      court.world?.record.remark(`BROKEN ${name}: ${what}`);
    }, facts),
  );
  return court;
}

/** Every row and every byte that the hub has written. */
async function searchDatabase({ process, record }: World): Promise<void> {
  const { db } = process()?.hub ?? {};
  if (db === undefined) throw new Error('there is no database to look into');
  for (const { name } of await db.introspection.getTables()) {
    const { rows } = await sql<Readonly<{ [column: string]: unknown }>>`select * from ${sql.table(name)}`.execute(db);
    for (const value of rows.flatMap((row) => Object.values(row)))
      if (typeof value === 'string' || value instanceof Uint8Array)
        overhear(record, `the table ${name}`, typeof value === 'string' ? Buffer.from(value) : value);
  }
}

const idsOf = (world: World | undefined): Set<string> =>
  new Set(
    world === undefined
      ? []
      : [...world.callerKeys, ...world.devices].map(({ id }) => id).concat(world.models.map(({ cid }) => cid)),
  );

function sample(world: World): void {
  const { cluster, record, agenda, clock } = world;
  const round = async (): Promise<void> => {
    const hubs = cluster.running().map(({ hub }) => hub);
    const leasesOf = (hub: Hub): number => [...hub.local.list()].reduce((sum, { leases }) => sum + leases.size, 0);
    const begun = hubs.reduce((left, hub) => left - leasesOf(hub), world.begun());
    for (const hub of hubs) record.note({ e: 'counted', ...hub.answers.counts(), interrupted: Math.max(0, begun) });
    await readWritten(world);
    await readBooked(world);
    agenda.at(clock.monotonic() + SAMPLE_MS, round);
  };
  void round();
}

async function readWritten({ cluster, record }: World): Promise<void> {
  for (const written of (await cluster.shared?.written()) ?? []) record.note({ e: 'wrote', ...written });
}

async function readBooked({ members, cluster, process, record }: World): Promise<void> {
  const running = process();
  if (members === undefined || running === undefined) return;
  const { hub } = running;
  for (const fact of await readBooks(cluster.shared?.db ?? hub.db, hub.territory.id))
    record.note({ e: 'booked', fact });
  record.note({ e: 'read' });
}

const createFigures = (): Figures => ({
  asked: 0,
  accepted: 0,
  tokens: 0,
  attempts: 0,
  failovers: 0,
  inexact: 0,
  receipts: 0,
  hubCrashes: 0,
  hubStops: 0,
  returns: 0,
  ends: {},
});

function count(figures: Figures, event: Timed): void {
  const end = (how: string): void => {
    figures.ends[how] = (figures.ends[how] ?? 0) + 1;
  };
  switch (event.e) {
    case 'asked':
      return void figures.asked++;
    case 'accepted':
      return void figures.accepted++;
    case 'token':
      return void figures.tokens++;
    case 'ordered':
      return void figures.attempts++;
    case 'finished':
      figures.failovers += event.outcome.failovers;
      figures.inexact += event.outcome.exact ? 0 : 1;
      return end('done');
    case 'failed':
      return end(event.code);
    case 'refused':
      return end(`refused ${event.code}`);
    case 'broke':
      return void figures.returns++;
    case 'hungUp':
    case 'cutOff':
      return end(event.e);
    case 'hub':
      figures.hubCrashes += event.what === 'crashed' ? 1 : 0;
      figures.hubStops += event.what === 'stopped' ? 1 : 0;
      return;
    default:
  }
}
