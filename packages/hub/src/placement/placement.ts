/**
 * Tells each device which models to hold: the shell around `place.ts`. It gathers what there is (models, devices, what
 * they lend and have, what is asked for and who may serve it), and sends each device its list when that has changed.
 *
 * Everything here can be lost: what devices hold they say themselves when they come back. It is looked at again when a
 * device comes, goes or changes, when models change or who may see what, when one is asked for that nobody who may
 * serve has ready, and now and then.
 */
import { codeOf, messageOf, type Clock, type Timer, type WantedModel } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import { FLEET_LIMITS } from '../replicas/limits.ts';
import type { Duty } from '../replicas/port.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import {
  circleOf,
  differencesOf,
  inCircle,
  keyOf,
  mayServe,
  type Ask,
  type Circle,
  type Differences,
} from './circle.ts';
import { isLive, isReadyFor, outlookFor, type Outlook } from './coming.ts';
import type { Holding, Need, PlacedDevice, PlacedModel } from './community.ts';
import { createDemand } from './demand.ts';
import type { FreshEyes } from './eyes.ts';
import { PLACEMENT_LIMITS } from './limits.ts';
import { createNarrowDemand, type NarrowDemand, type SaidNarrow } from './narrow.ts';
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
  readonly eyes: FreshEyes;
  /** Who places: one replica for all. */
  readonly duty: Pick<Duty, 'isMine' | 'epoch' | 'onChange'>;
}

export interface Placement {
  /** Somebody asks for models. */
  asked(ask: Ask): void;
  /** Whether a device that may serve it is about to have the models ready, so that it is worth waiting for. */
  outlook(ask: Ask): Outlook;
  onJoin(device: ConnectedDevice): void;
  onStatus(device: ConnectedDevice): void;
  onGone(device: ConnectedDevice): void;
  /** How far devices are trusted changed, or who may see what. */
  onTrust(): void;
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
  /** Of what was asked, that for which not every device will do; absent from older replicas. */
  readonly narrow?: readonly SaidNarrow[] | undefined;
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
  readonly narrow: NarrowDemand;
  /** By circle, for a moment. */
  readonly narrowness: Map<string, { readonly isNarrow: boolean; readonly untilMs: number }>;
  /** Looked up again after a device has come or gone. */
  differences: Differences | undefined;
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
    narrow: createNarrowDemand({
      halfLifeMs: HUB_LIMITS.demandHalfLifeMs,
      keptMs: PLACEMENT_LIMITS.narrowKeptMs,
      narrowMax: PLACEMENT_LIMITS.narrowMax,
    }),
    narrowness: new Map(),
    differences: undefined,
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
    asked: (ask) => asked(state, ask),
    outlook(ask) {
      const modelAt = (cid: string): PlacedModel | undefined => {
        const model = state.list.find((each) => each.cid === cid);
        return model === undefined ? undefined : placedModelOf(state, model);
      };
      const narrow = state.narrow.isEmpty() ? undefined : state.narrow.find(ask.models, circleIn(state, ask));
      return outlookFor(ask, {
        devices: sessions.list(),
        maySee: (device) => mayServe(device, ask, deps.eyes),
        isMeant: (device, cid) => isMeant(state, device, cid),
        modelAt,
        narrow,
        nowMs: clock.monotonic(),
      });
    },
    onJoin() {
      forgetDifferences(state);
      soon(state);
    },
    onStatus(device) {
      for (const { cid, memoryBytes } of device.status.models) {
        if (memoryBytes !== undefined) state.memoryBytes.set(cid, memoryBytes);
      }
      if (state.seen.get(device.id) !== signatureOf(device)) soon(state);
    },
    onGone(device) {
      state.seen.delete(device.id);
      forgetDifferences(state);
      soon(state);
    },
    onTrust() {
      forgetDifferences(state);
      if (!state.narrow.isEmpty()) soon(state);
    },
    said() {
      const asked = Object.fromEntries(state.asked);
      state.asked = new Map();
      const narrow = state.narrow.said();
      const queued = Object.fromEntries(deps.queued());
      return { asked, queued, ...(narrow.length === 0 ? {} : { narrow }) };
    },
    heard(replica, { asked, queued, narrow = [] }) {
      const nowMs = clock.monotonic();
      for (const [model, count] of Object.entries(asked)) state.demand.asked(model, nowMs, count);
      state.queuedElsewhere.set(replica, { queued, atMs: nowMs });
      state.narrow.heard(narrow, nowMs);
      const isCold = (models: readonly string[], isIn: (device: ConnectedDevice) => boolean = () => true): boolean =>
        ![...sessions.list()].some((device) => isReadyFor(device, models) && isIn(device));
      if (
        Object.keys(asked).some((model) => isCold([model])) ||
        narrow.some((said) => isCold(said.models, inCircle(said, deps.eyes)))
      )
        soon(state);
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

function asked(state: State, ask: Ask): void {
  const nowMs = state.clock.monotonic();
  for (const model of ask.models) {
    state.demand.asked(model, nowMs);
    state.asked.set(model, (state.asked.get(model) ?? 0) + 1);
  }
  const circle = circleIn(state, ask);
  const served = servedNow(state, ask);
  const isNarrow = served === 'by the asker alone' ? false : isNarrowNow(state, circle);
  if (isNarrow) state.narrow.asked(ask.models, circle, served === 'yes', nowMs);
  if (served === 'no') soon(state);
}

/** A device of the asker's own tells nothing of whom others could be served by. */
function servedNow({ sessions, eyes }: State, ask: Ask): 'yes' | 'by the asker alone' | 'no' {
  const { person } = ask.text;
  const anybody: Ask = { ...ask, text: { ...ask.text, person: undefined } };
  let isOwn = false;
  for (const device of sessions.list()) {
    if (!isLive(device) || !isReadyFor(device, ask.models)) continue;
    if (mayServe(device, anybody, eyes)) return 'yes';
    isOwn ||= person !== undefined && mayServe(device, ask, eyes);
  }
  return isOwn ? 'by the asker alone' : 'no';
}

/** Whether some may serve it and others may not; looked up now and then, for it is asked at every request. */
function isNarrowNow({ narrowness, sessions, eyes, clock }: State, circle: Circle): boolean {
  const key = keyOf(circle);
  const nowMs = clock.monotonic();
  const known = narrowness.get(key);
  if (known !== undefined && nowMs < known.untilMs) return known.isNarrow;
  const isIn = inCircle(circle, eyes);
  let [isOpen, isHopeless] = [true, true];
  for (const device of sessions.list()) {
    // Whoever pauses comes back.
    if (isIn(device)) isHopeless = false;
    else if (isLive(device)) isOpen = false;
  }
  if (narrowness.size >= PLACEMENT_LIMITS.narrowMax) narrowness.clear();
  const isNarrow = !isOpen && !isHopeless;
  narrowness.set(key, { isNarrow, untilMs: nowMs + PLACEMENT_LIMITS.hopeLookMs });
  return isNarrow;
}

function forgetDifferences(state: State): void {
  state.differences = undefined;
  state.narrowness.clear();
}

function circleIn(state: State, ask: Ask): Circle {
  state.differences ??= differencesOf(state.sessions.list());
  return circleOf(ask, state.differences, PLACEMENT_LIMITS.circlePoolsMax);
}

/** One look for everything that changes within a moment. */
function soon(state: State, afterMs = 0): void {
  if (state.stopped) return;
  const { clock, ranAtMs, tookMs } = state;
  const gapMs = Math.max(HUB_LIMITS.placementGapMs, HUB_LIMITS.placementRestFactor * tookMs);
  const waitMs = Math.max(afterMs, ranAtMs + gapMs - clock.monotonic(), 0);
  state.next?.cancel();
  state.next = clock.after(waitMs, () => look(state));
}

/** By what holds now: with nothing that only some may serve there is nothing to ask. */
function look(state: State): void {
  const fresh = state.duty.isMine() ? refreshed(state) : undefined;
  if (fresh === undefined) return run(state);
  const onUnread = (error: unknown): void => {
    state.log.error({ code: codeOf(error), why: messageOf(error) }, 'who may serve what could not be read');
    soon(state, HUB_LIMITS.placementMs);
  };
  fresh.then(() => run(state), onUnread);
}

function refreshed({ narrow, eyes, clock }: State): Promise<void> | undefined {
  if (narrow.isEmpty()) return undefined;
  const isSealed = narrow.list(clock.monotonic()).some(([{ circle }]) => circle.features.includes('sealed'));
  const fresh = eyes.refresh(isSealed);
  return fresh instanceof Promise ? fresh : undefined;
}

function run(state: State): void {
  const { clock, sessions, log, duty } = state;
  if (state.stopped || !duty.isMine()) return;
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
      needsOf(state, devices, demand),
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

/** A request that waits counts where its like are asked for. */
function needsOf(
  { clock, demand, narrow, eyes }: State,
  devices: readonly ConnectedDevice[],
  total: ReadonlyMap<string, number>,
): Need[] {
  const nowMs = clock.monotonic();
  const circles = new Map<string, ReadonlySet<string>>();
  return narrow.list(nowMs).map(([{ models, circle }, perMinute]) => {
    const key = keyOf(circle);
    const isIn = inCircle(circle, eyes);
    const among = circles.get(key) ?? new Set(devices.filter(isIn).map(({ id }) => id));
    circles.set(key, among);
    const cid = models[0] ?? '';
    const asked = demand.of(cid, nowMs);
    return { cids: models, among, perMinute: asked > 0 ? (perMinute * (total.get(cid) ?? 0)) / asked : perMinute };
  });
}

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

/** As far as this replica knows: whoever places knows what it means, others what devices were told. */
const isMeant = ({ told, duty }: State, device: ConnectedDevice, model: string): boolean =>
  duty.isMine()
    ? told.get(device.id)?.holdings.some(({ cid, warm }) => cid === model && warm) === true
    : device.wanted.includes(model);
