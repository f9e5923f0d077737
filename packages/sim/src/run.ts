/**
 * One run of one seed: a world is made, all its devices join at once, people ask while things go wrong, and at the end,
 * when all faults are over, everything must come to rest. The checkers watch throughout.
 */
import type { Timed } from './events.ts';
import { startDemand } from './demand.ts';
import { familyOf } from './device.ts';
import { startFaults, type Faults } from './faults.ts';
import { INVARIANTS, type Invariant } from './invariants/all.ts';
import type { Checker, CreateChecker, Facts } from './invariants/checker.ts';
import { RATES, type Rates } from './rates.ts';
import { takeSnapshot, type Snapshot } from './snapshot.ts';
import { CONTEXT_TOKENS, createWorld, type Breakage, type World } from './world.ts';

export interface SimulationOptions {
  readonly seed: number;
  /** 200. */
  readonly devices?: number;
  /** Virtual minutes of faults, before the settling; 2. */
  readonly virtualMinutes?: number;
  readonly rates?: Partial<Rates>;
  /** Models; 1. With more, no device has room for all. */
  readonly models?: number;
  /** Lines of the trace that are kept; 400. */
  readonly traceLinesMax?: number;
  readonly breakage?: Breakage;
  /** Hears everything that the checkers hear. */
  readonly onEvent?: (event: Timed) => void;
}

export interface Violation {
  readonly invariant: Invariant;
  readonly atMs: number;
  readonly what: string;
}

export interface Report {
  readonly seed: number;
  readonly devices: number;
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
  /** By how a request ended: `done`, `hungUp`, `cutOff`, a code of its failure, or `refused` and a code. */
  readonly ends: { [how: string]: number };
}

const JOINING_MS = 4_000;
const SAMPLE_MS = 500;
const SETTLE_MS_MAX = 120_000;
/** For cancels to arrive, for the last devices to find their way back, and for partitions to be noticed. */
const REST_MS = 25_000;
const VIOLATIONS_MAX = 100;

export async function simulate(options: SimulationOptions): Promise<Report> {
  const { seed, devices = 200, virtualMinutes = 2, traceLinesMax = 400, models = 1, breakage } = options;
  const rates: Rates = { ...RATES, ...options.rates };
  const violations: Violation[] = [];
  const figures = createFigures();
  const court: { world: World | undefined } = { world: undefined };
  const jury = swearIn(court, violations);
  const inspect = (snapshot: Snapshot): void => {
    for (const checker of jury) checker.inspect?.(snapshot);
    figures.receipts = snapshot.receipts.length;
  };
  const world = await createWorld({
    seed,
    devices,
    traceLinesMax,
    breakage,
    models,
    onEvent(event) {
      count(figures, event);
      for (const checker of jury) checker.see?.(event);
      options.onEvent?.(event);
    },
    // What the crash left must be accounted for before anything new begins.
    onRestarted: async (restarted) => inspect(await takeSnapshot(restarted, 'recovered')),
  });
  court.world = world;
  try {
    for (const device of world.devices) await device.start({ diskIsLost: false });
    await world.run(JOINING_MS);
    breakage?.meanwhile?.(world);
    sample(world);
    const demand = startDemand(world, rates);
    const faults = startFaults(world, rates);
    await world.run(virtualMinutes * 60_000);
    demand.end();
    await settle(world, faults);
    inspect(await takeSnapshot(world, 'rest'));
    return {
      seed,
      devices,
      virtualMinutes,
      virtualMs: world.clock.monotonic(),
      hash: world.record.hash(),
      violations,
      figures,
      faults: faults.counts,
      trace: world.record.lines(),
    };
  } finally {
    await world.close();
  }
}

async function settle(world: World, faults: Faults): Promise<void> {
  await faults.end();
  const untilMs = world.clock.monotonic() + SETTLE_MS_MAX;
  const isBusy = (): boolean =>
    world.callers.waiting().length > 0 || (world.process()?.hub.answers.counts().open ?? 1) > 0;
  while (isBusy() && world.clock.monotonic() < untilMs) await world.run(1_000);
  await world.run(REST_MS);
}

function swearIn(court: { world: World | undefined }, violations: Violation[]): Checker[] {
  const facts: Facts = {
    contextTokens: CONTEXT_TOKENS,
    deviceOf: (id) => court.world?.deviceOf(id),
    saltOf: (family) => familyOf(family).salt,
  };
  return Object.entries(INVARIANTS).map(([name, create]: [string, CreateChecker]) =>
    create((what) => {
      const atMs = court.world?.clock.monotonic() ?? 0;
      if (violations.length < VIOLATIONS_MAX) violations.push({ invariant: name as Invariant, atMs, what });
      court.world?.record.remark(`BROKEN ${name}: ${what}`);
    }, facts),
  );
}

function sample(world: World): void {
  const round = (): void => {
    const hub = world.process()?.hub;
    if (hub !== undefined) {
      const running = [...hub.sessions.list()].reduce((sum, { leases }) => sum + leases.size, 0);
      world.record.note({ e: 'counted', ...hub.answers.counts(), interrupted: Math.max(0, world.begun() - running) });
    }
    world.agenda.at(world.clock.monotonic() + SAMPLE_MS, round);
  };
  round();
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
