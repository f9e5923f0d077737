/** How often what happens: means per virtual minute over the whole world, unless it says otherwise. */
export interface Rates {
  readonly requests: number;
  /** Share of requests whose callers hang up before the end. */
  readonly hangUpShare: number;
  /** Many requests at one moment: more than all slots and the queue take. */
  readonly floods: number;
  readonly deviceDeaths: number;
  /** Deaths of which nobody is told. */
  readonly powerCuts: number;
  readonly engineDeaths: number;
  readonly engineStalls: number;
  readonly slownesses: number;
  readonly pauses: number;
  readonly cuts: number;
  readonly partitions: number;
  /** A second process under a device's identity. */
  readonly clones: number;
  readonly lies: number;
  readonly drains: number;
  /** A steward thinks otherwise of a device. */
  readonly tierChanges: number;
  readonly deviceRevocations: number;
  readonly keyRevocations: number;
  /** Callers who try what only stewards may. */
  readonly meddling: number;
  readonly hubCrashes: number;
  readonly hubStops: number;
  readonly diskFaults: number;
}

/** A bad day: at 200 devices an answer in three meets a fault. */
export const RATES: Rates = {
  requests: 80,
  hangUpShare: 0.12,
  floods: 0.2,
  deviceDeaths: 14,
  powerCuts: 6,
  engineDeaths: 14,
  engineStalls: 8,
  slownesses: 6,
  pauses: 12,
  cuts: 12,
  partitions: 8,
  clones: 4,
  lies: 16,
  drains: 2,
  tierChanges: 6,
  deviceRevocations: 3,
  keyRevocations: 1,
  meddling: 1,
  hubCrashes: 1.4,
  hubStops: 0.5,
  diskFaults: 1.5,
};

/** Nothing goes wrong. */
export const CALM: Rates = {
  requests: 80,
  hangUpShare: 0,
  floods: 0,
  deviceDeaths: 0,
  powerCuts: 0,
  engineDeaths: 0,
  engineStalls: 0,
  slownesses: 0,
  pauses: 0,
  cuts: 0,
  partitions: 0,
  clones: 0,
  lies: 0,
  drains: 0,
  tierChanges: 0,
  deviceRevocations: 0,
  keyRevocations: 0,
  meddling: 0,
  hubCrashes: 0,
  hubStops: 0,
  diskFaults: 0,
};

/** What befalls replicas, where there are several. */
export interface ReplicaRates {
  /** Of requests: those whose callers come back when their stream breaks. */
  readonly keyedShare: number;
  readonly replicaPauses: number;
  /** Pauses in which the replica's own clock stands still. */
  readonly replicaSleeps: number;
  readonly replicaLeaves: number;
  readonly busFailures: number;
  readonly busPartitions: number;
  readonly busLosses: number;
  readonly busDelays: number;
  /** Devices that are sent to another replica. */
  readonly moves: number;
  /** Connections of callers. */
  readonly lineBreaks: number;
}

export const REPLICA_RATES: ReplicaRates = {
  keyedShare: 0.75,
  replicaPauses: 1,
  replicaSleeps: 0.7,
  replicaLeaves: 0.7,
  busFailures: 1.2,
  busPartitions: 1.2,
  busLosses: 1,
  busDelays: 1,
  moves: 12,
  lineBreaks: 8,
};

export const CALM_REPLICAS: ReplicaRates = {
  keyedShare: 0.75,
  replicaPauses: 0,
  replicaSleeps: 0,
  replicaLeaves: 0,
  busFailures: 0,
  busPartitions: 0,
  busLosses: 0,
  busDelays: 0,
  moves: 0,
  lineBreaks: 0,
};

/** What stewards do to members, where there are some. */
export interface StewardRates {
  readonly capChanges: number;
  readonly floorChanges: number;
  /** Allocations that are granted, changed and ended. */
  readonly grants: number;
  readonly suspensions: number;
  readonly modelStops: number;
  readonly poolChanges: number;
  readonly bindingChanges: number;
  readonly ruleChanges: number;
}

export const STEWARD_RATES: StewardRates = {
  capChanges: 30,
  floorChanges: 4,
  grants: 8,
  suspensions: 4,
  modelStops: 1,
  poolChanges: 20,
  bindingChanges: 4,
  ruleChanges: 2,
};

export const CALM_STEWARDS: StewardRates = {
  capChanges: 0,
  floorChanges: 0,
  grants: 0,
  suspensions: 0,
  modelStops: 0,
  poolChanges: 0,
  bindingChanges: 0,
  ruleChanges: 0,
};

/** Of a community whose processes are another's, too. */
export const NO_PROCESS_FAULTS = {
  hubCrashes: 0,
  hubStops: 0,
  diskFaults: 0,
  replicaPauses: 0,
  replicaSleeps: 0,
  replicaLeaves: 0,
  busFailures: 0,
  busPartitions: 0,
  busLosses: 0,
  busDelays: 0,
} as const satisfies Partial<Rates & ReplicaRates>;
