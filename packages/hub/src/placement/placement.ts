/**
 * Tells each device which models to hold: the shell around `place.ts`. It gathers what there is (models, devices, what
 * they lend and have, what is asked for), and sends each device its list when that has changed.
 *
 * Everything here can be lost: what devices hold they say themselves when they come back. It is looked at again when a
 * device comes, goes or changes, when models change, when one is asked for that nobody has ready, and now and then.
 */
import {
  codeOf,
  messageOf,
  type Clock,
  type DeviceFeature,
  type DeviceModel,
  type Timer,
  type WantedModel,
} from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import { FLEET_LIMITS } from '../replicas/limits.ts';
import type { Duty } from '../replicas/port.ts';
import { stateOf, type ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { createDemand } from './demand.ts';
import type { Holding, PlacedDevice, PlacedModel } from './community.ts';
import { place } from './place.ts';

/** A model of the territory. */
export interface PlaceableModel {
  readonly cid: string;
  readonly name: string;
  /** Of all its files. */
  readonly bytes: number;
  readonly pinned: boolean;
}

export interface PlacementDeps {
  readonly clock: Clock;
  readonly sessions: Pick<Sessions, 'list' | 'get' | 'hold'>;
  readonly log: Log;
  models(): Promise<readonly PlaceableModel[]>;
  /** Answers that wait for a device here, by model. */
  queued(): ReadonlyMap<string, number>;
  /** Who places: one replica for all. */
  readonly duty: Pick<Duty, 'isMine' | 'epoch' | 'onChange'>;
}

export interface Placement {
  /** Somebody asks for the model. */
  asked(model: string): void;
  /** Whether a device that can do this, and may, is about to have the model ready, so that it is worth waiting for. */
  isComing(model: string, features: readonly DeviceFeature[], maySee: (device: ConnectedDevice) => boolean): boolean;
  onJoin(device: ConnectedDevice): void;
  onStatus(device: ConnectedDevice): void;
  onGone(device: ConnectedDevice): void;
  /** What was asked for here since the last call, and what waits: for the replica that places. */
  said(): Said;
  /** What another replica said. */
  heard(replica: string, said: Said): void;
  /** Models were added, removed or pinned; resolves when every device has been told. */
  refresh(): Promise<void>;
  stop(): void;
}

/** Requests by model. */
export interface Said {
  readonly asked: Readonly<Record<string, number>>;
  readonly queued: Readonly<Record<string, number>>;
}

/** What a device was told last. */
interface Told {
  holdings: readonly Holding[];
  /** What was sent in this session; empty before anything was. */
  text: string;
  session: string;
  /** When it was sent. */
  atMs: number;
}

interface State extends PlacementDeps {
  readonly demand: ReturnType<typeof createDemand>;
  readonly told: Map<string, Told>;
  /** What was seen of each device when places were given last. */
  readonly seen: Map<string, string>;
  /** Demand as devices are told it: it moves in steps of two, so that they are not told at every request. */
  readonly levels: Map<string, number>;
  readonly memoryBytes: Map<string, number>;
  /** Since it was said last. */
  asked: Map<string, number>;
  /** What waits on other replicas, as they said last. */
  readonly queuedElsewhere: Map<string, { readonly queued: Said['queued']; readonly atMs: number }>;
  list: readonly PlaceableModel[];
  next: Timer | undefined;
  ranAtMs: number;
  /** With very many devices a look takes long; there is time for other things between two. */
  tookMs: number;
  stopped: boolean;
}

export function createPlacement(deps: PlacementDeps): Placement {
  const state: State = {
    ...deps,
    demand: createDemand(HUB_LIMITS.demandHalfLifeMs),
    told: new Map(),
    seen: new Map(),
    levels: new Map(),
    memoryBytes: new Map(),
    asked: new Map(),
    queuedElsewhere: new Map(),
    list: [],
    next: undefined,
    ranAtMs: Number.NEGATIVE_INFINITY,
    tookMs: 0,
    stopped: false,
  };
  const { clock, sessions } = deps;
  deps.duty.onChange(() => soon(state));
  return {
    asked(model) {
      state.demand.asked(model, clock.monotonic());
      state.asked.set(model, (state.asked.get(model) ?? 0) + 1);
      for (const device of sessions.list()) if (modelOf(device, model)?.state === 'warm') return;
      soon(state);
    },
    isComing: (model, features, maySee) =>
      isComing(state, model, (device) => canDo(device, features) && maySee(device)),
    onJoin: () => soon(state),
    onStatus(device) {
      for (const { cid, memoryBytes } of device.status.models) {
        if (memoryBytes !== undefined) state.memoryBytes.set(cid, memoryBytes);
      }
      if (state.seen.get(device.id) !== signatureOf(device)) soon(state);
    },
    onGone(device) {
      state.seen.delete(device.id);
      soon(state);
    },
    said() {
      const asked = Object.fromEntries(state.asked);
      state.asked = new Map();
      return { asked, queued: Object.fromEntries(deps.queued()) };
    },
    heard(replica, { asked, queued }) {
      const nowMs = clock.monotonic();
      for (const [model, count] of Object.entries(asked)) state.demand.asked(model, nowMs, count);
      state.queuedElsewhere.set(replica, { queued, atMs: nowMs });
      const isColdModel = (model: string): boolean =>
        ![...sessions.list()].some((device) => modelOf(device, model)?.state === 'warm');
      if (Object.keys(asked).some(isColdModel)) soon(state);
    },
    async refresh() {
      state.list = await deps.models();
      run(state);
    },
    stop() {
      state.stopped = true;
      state.next?.cancel();
    },
  };
}

/** One look for everything that changes within a moment. */
function soon(state: State, afterMs = 0): void {
  if (state.stopped) return;
  const { clock, ranAtMs, tookMs } = state;
  const gapMs = Math.max(HUB_LIMITS.placementGapMs, HUB_LIMITS.placementRestFactor * tookMs);
  const waitMs = Math.max(afterMs, ranAtMs + gapMs - clock.monotonic(), 0);
  state.next?.cancel();
  state.next = clock.after(waitMs, () => run(state));
}

function run(state: State): void {
  const { clock, sessions, log, duty } = state;
  if (!duty.isMine()) return;
  const beganAtMs = clock.monotonic();
  state.ranAtMs = beganAtMs;
  try {
    const devices = [...sessions.list()];
    const demand = demandOf(state);
    const holds = place(
      devices.map((device) => placedOf(state, device)),
      state.list.map((model) => placedModelOf(state, model)),
      demand,
      state.ranAtMs,
    );
    for (const device of devices) tell(state, device, holds.get(device.id) ?? [], demand);
    forget(state);
  } catch (error) {
    log.error({ code: codeOf(error), why: messageOf(error) }, 'models could not be placed');
  }
  state.tookMs = clock.monotonic() - beganAtMs;
  state.ranAtMs = clock.monotonic();
  soon(state, HUB_LIMITS.placementMs);
}

/** Requests per minute by CID; a request that waits counts as one more in every minute. */
function demandOf({ clock, demand, list, queued, queuedElsewhere }: State): Map<string, number> {
  const waiting = queued();
  const nowMs = clock.monotonic();
  for (const [replica, { atMs }] of queuedElsewhere)
    if (nowMs - atMs > HUB_LIMITS.replicaLiveMs) queuedElsewhere.delete(replica);
  const elsewhere = (cid: string): number =>
    [...queuedElsewhere.values()].reduce((sum, { queued: there }) => sum + (there[cid] ?? 0), 0);
  return new Map(list.map(({ cid }) => [cid, demand.of(cid, nowMs) + (waiting.get(cid) ?? 0) + elsewhere(cid)]));
}

const modelOf = (device: ConnectedDevice, cid: string): DeviceModel | undefined =>
  device.status.models.find((model) => model.cid === cid);

const isLive = (device: ConnectedDevice): boolean =>
  device.lends.kinds.includes('answers') && ['ready', 'busy'].includes(stateOf(device));

const failedOf = ({ status }: ConnectedDevice): string[] =>
  status.models.filter(({ state }) => state === 'failed').map(({ cid }) => cid);

/** What decides about a device's place, beside what everybody asks for. */
const signatureOf = (device: ConnectedDevice): string =>
  JSON.stringify([device.session, isLive(device), device.status.lent, failedOf(device)]);

function placedOf({ told, seen, clock }: State, device: ConnectedDevice): PlacedDevice {
  seen.set(device.id, signatureOf(device));
  const { lent, models } = device.status;
  const found = (): Holding[] =>
    models.map(({ cid, state }) => ({
      cid,
      warm: state === 'warm' || state === 'loading',
      sinceMs: clock.monotonic(),
    }));
  return {
    id: device.id,
    live: isLive(device),
    memoryBytes: lent?.memoryBytes ?? Number.POSITIVE_INFINITY,
    diskBytes: lent?.diskBytes ?? Number.POSITIVE_INFINITY,
    tokensPerSecond: Math.max(0, ...models.map(({ tokensPerSecond }) => tokensPerSecond ?? 0)),
    holding: told.get(device.id)?.holdings ?? found(),
    failed: new Set(failedOf(device)),
  };
}

const placedModelOf = ({ memoryBytes }: State, { cid, bytes, pinned }: PlaceableModel): PlacedModel => ({
  cid,
  bytes,
  pinned,
  memoryBytes: memoryBytes.get(cid) ?? Math.ceil(bytes * HUB_LIMITS.memoryPerModelByte),
});

function tell(
  state: State,
  device: ConnectedDevice,
  holdings: readonly Holding[],
  demand: ReadonlyMap<string, number>,
): void {
  const models = holdings.flatMap(({ cid }): WantedModel[] => {
    const model = state.list.find((each) => each.cid === cid);
    if (model === undefined) return [];
    const { name, bytes, pinned } = model;
    return [{ cid, name, bytes, demand: levelOf(state, cid, demand.get(cid) ?? 0), ...(pinned ? { pinned } : {}) }];
  });
  const text = JSON.stringify(models);
  const before = state.told.get(device.id);
  const nowMs = state.clock.monotonic();
  const isSame = before?.text === text && before.session === device.session;
  // When the bus has lost the word, or another told it something else, its home does not show it.
  const isShown = device.wanted.length === models.length && models.every(({ cid }) => device.wanted.includes(cid));
  if (isSame && (isShown || nowMs - before.atMs < FLEET_LIMITS.orderMs)) {
    state.told.set(device.id, { ...before, holdings });
    return;
  }
  state.told.set(device.id, { holdings, text, session: device.session, atMs: nowMs });
  state.sessions.hold(device, models, state.duty.epoch());
}

/** The demand in steps of two, which it keeps until it is well beyond them. */
function levelOf({ levels }: State, cid: string, demand: number): number {
  const before = levels.get(cid) ?? 0;
  const isSame = before === 0 ? demand < 1 : demand > before * 0.6 && demand < before * 1.8;
  if (isSame) return before;
  const level = demand < 0.5 ? 0 : 2 ** Math.round(Math.log2(demand));
  levels.set(cid, level);
  return level;
}

/** What is known of models that are gone, and of devices that have been away for longer than a restart takes. */
function forget({ list, told, levels, memoryBytes, demand, sessions }: State): void {
  const cids = new Set(list.map(({ cid }) => cid));
  demand.keep(cids);
  for (const known of [levels, memoryBytes]) for (const cid of known.keys()) if (!cids.has(cid)) known.delete(cid);
  for (const device of told.keys()) {
    if (told.size <= HUB_LIMITS.placesRememberedMax) return;
    if (sessions.get(device) === undefined) told.delete(device);
  }
}

const canDo = (device: ConnectedDevice, features: readonly DeviceFeature[]): boolean =>
  features.every((feature) => device.features.includes(feature));

function isComing(
  { told, sessions, duty }: State,
  model: string,
  isOne: (device: ConnectedDevice) => boolean,
): boolean {
  for (const device of sessions.list()) {
    if (!isLive(device) || !isOne(device)) continue;
    const held = modelOf(device, model);
    if (held?.state === 'loading') return true;
    const isMeant = duty.isMine()
      ? told.get(device.id)?.holdings.some(({ cid, warm }) => cid === model && warm) === true
      : device.wanted.includes(model);
    if (held?.state === 'held' && held.reason === undefined && isMeant) return true;
  }
  return false;
}
