/**
 * A device: a session with a hub, a lane of answers, a shelf of models, and the lender above all three.
 *
 * - The lender's consent and pauses are asked before every piece of work; the hub cannot overrule either.
 * - Losing the channel keeps the models warm, and the running answers for a while where hubs resume them.
 * - Every change is told once per tick: to the hub as a heartbeat, to the owner as a state.
 * It knows no platform: everything outside comes through ports, so that hundreds of agents run in one simulation.
 */
import {
  IdlewildError,
  LIMITS,
  asIdlewildError,
  idOfKey,
  type Consent,
  type DeviceFeature,
  type DeviceProfile,
  type DeviceStatus,
  type Lent,
  type Timer,
} from '@idlewild/protocol';
import type { Agent, AgentOptions, AgentState } from './agent-port.ts';
import { createAgreementKeys, type AgreementKeys } from './agreement-key.ts';
import { forbidden, lentBytes, openConsent, refusalOf, refusalOfProvider, type WorkAsked } from './consent.ts';
import { readManifest } from './fetch-model.ts';
import { createGiver, type Giver } from './give-blobs.ts';
import { createLane, type Lane } from './lane/lane.ts';
import { createSealedOrders, type SealedOrders } from './lane/sealed-orders.ts';
import { createPauses, type Pauses } from './lending/idleness/pauses.ts';
import { AGENT_LIMITS } from './limits.ts';
import type { WorkMessage } from './session-machine.ts';
import { createSession, type Session, type SessionOwner } from './session.ts';
import { createShelf, type Shelf, type ShelfPorts } from './shelf/shelf.ts';

export type { Agent, AgentOptions, AgentState, LendingLimits, Log } from './agent-port.ts';

/** What the functions below share. */
interface Parts {
  readonly options: AgentOptions;
  readonly deviceId: string;
  readonly consent: Consent;
  readonly session: Session;
  readonly lane: Lane;
  readonly sealed: SealedOrders;
  readonly shelf: Shelf;
  readonly giver: Giver;
  readonly lent: Lent;
  readonly keys: AgreementKeys;
  readonly pauses: Pauses;
  share: number;
  isIdle: boolean;
  /** By the hub's wish, until the next session; or because the agent stops. */
  drainingByHub: boolean;
  stopping: boolean;
  problem: IdlewildError | undefined;
  /** What the last hub that welcomed it calls the territory. */
  community: string | undefined;
  telling: Timer | undefined;
  toldState: string;
  toldStatus: string;
  /** Called at the next change of what runs. */
  onIdle: (() => void) | undefined;
  /** Set by the first stop that drains; all that do wait for the same. */
  drained: Promise<void> | undefined;
  ending: Promise<void> | undefined;
  finish(error: IdlewildError | undefined): void;
}

/** All that hubs ask for: models, texts and blobs are for answers. */
const ANSWERS = { kind: 'answers' } as const;

/**
 * Throws `signature_invalid` or `frame_invalid` for a consent that this identity did not sign, and `internal` for a
 * store that would take more than it lends.
 */
export async function createAgent(options: AgentOptions): Promise<Agent> {
  const { identity, crypto } = options;
  const consent = await openConsent(options.consent, identity.publicKey, crypto);
  const deviceId = await idOfKey('dev', identity.publicKey, crypto);
  const ended = Promise.withResolvers<IdlewildError | undefined>();
  const lent: Lent = {
    memoryBytes: options.limits.memoryBytesMax,
    diskBytes: lentBytes(consent, await options.store.usage()),
    uploadBytesPerSecond: consent.uploadBytesPerSecondMax ?? AGENT_LIMITS.uploadBytesPerSecond,
  };
  const parts = assemble({ options, consent, deviceId, lent, found: await findModels(options) }, ended.resolve);
  return {
    deviceId,
    ended: ended.promise,
    start: () => parts.session.start(),
    stop: ({ drain = false } = {}) => stop(parts, drain),
    pause: (name, text = name, told = text) => pause(parts, name, text, told),
    resume: (name) => resume(parts, name),
    halt: (is) => parts.shelf.halt(is),
    throttle: (share) => throttle(parts, share),
    idle(isIdle) {
      parts.isIdle = isIdle;
      parts.shelf.providersChanged();
    },
    state: () => stateOf(parts),
  };
}

/** Models that an earlier process left whole: the hub must know of them before it decides what lies where. */
async function findModels({ folders, store, log }: AgentOptions): Promise<string[]> {
  const found: string[] = [];
  for (const cid of await folders.list()) {
    try {
      if ((await readManifest(cid, { store })) !== undefined) found.push(cid);
    } catch (thrown) {
      log('warn', asIdlewildError(thrown, `looking at the model ${cid}`).message);
    }
  }
  return found.slice(0, LIMITS.modelsPerDeviceMax);
}

interface Given extends Pick<Parts, 'options' | 'consent' | 'deviceId' | 'lent'> {
  readonly found: readonly string[];
}

function assemble({ options, consent, deviceId, lent, found }: Given, finish: Parts['finish']): Parts {
  const { clock, random, crypto, identity, limits, log } = options;
  const onChanged = (): void => changed(parts);
  const keys = createAgreementKeys({
    clock,
    random,
    crypto,
    identity,
    onRotated: (key) => parts.session.send({ t: 'agreement', key }),
    onFailed: (error) => log('error', 'the agreement key could not be renewed', { error: String(error) }),
  });
  const shelf = createShelf(
    shelfPortsOf(options, consent, () => parts),
    found,
  );
  const giver = createGiver({
    clock,
    uploadBytesPerSecondMax: lent.uploadBytesPerSecond,
    mayGive: () => parts.lane.running() === 0 && refusal(parts, { gives: true }) === undefined,
    leaf: (cid) => shelf.leaf(cid),
    send: (message) => parts.session.send(message),
  });
  const lane = createLane({
    clock,
    crypto,
    identity,
    slotsMax: limits.slotsMax,
    oneModelAtOnce: consent.tokensPerSecondMax !== undefined,
    refusal: (text) => refusal(parts, { text }),
    warm: (cid) => parts.shelf.warm(cid),
    send: (message) => parts.session.send(message),
    backlogBytes: () => parts.session.backlogBytes(),
    energy: options.energy,
    onWork(work) {
      if (work.whole) shelf.finished(work.model);
      options.onWork?.(work);
    },
    onChanged() {
      shelf.answersEnded();
      onChanged();
    },
  });
  const sealed = sealedOrdersOf(options, () => parts);
  const session = createSession(
    options,
    sessionOwnerOf(options, lent, () => parts),
  );
  const parts: Parts = {
    options,
    deviceId,
    consent,
    session,
    lane,
    sealed,
    shelf,
    giver,
    lent,
    keys,
    finish,
    pauses: createPauses(clock),
    share: 1,
    isIdle: false,
    drainingByHub: false,
    stopping: false,
    problem: undefined,
    community: undefined,
    telling: undefined,
    toldState: '',
    toldStatus: '',
    onIdle: undefined,
    drained: undefined,
    ending: undefined,
  };
  return parts;
}

const sealedOrdersOf = ({ crypto, random, identity }: AgentOptions, parts: () => Parts): SealedOrders =>
  createSealedOrders({
    crypto,
    random,
    device: identity.publicKey,
    privateKeyOf: (key) => parts().keys.privateKeyOf(key),
    refusal: (text) => refusal(parts(), { text }),
    offer: (message, tell, text) => parts().lane.offer(message, tell, text),
    drop: (lease, epoch) => parts().lane.cancel(lease, epoch),
    send: (message) => parts().session.send(message),
  });

function sessionOwnerOf(options: AgentOptions, lent: Lent, parts: () => Parts): SessionOwner {
  const { log, profile } = options;
  return {
    ...options,
    profile: withFeatures(profile, [
      'resume',
      'sealed',
      'use',
      ...(lent.uploadBytesPerSecond === 0 ? [] : (['relay'] as const)),
    ]),
    agreementKey: () => parts().keys.signed(),
    status: () => statusOf(parts()),
    isPaused: () => parts().pauses.all().length > 0,
    attempts: () => parts().lane.attempts(),
    onTicket: (ticket) => parts().shelf.setTicket(ticket),
    onOpened(welcome) {
      parts().problem = undefined;
      parts().community = welcome.community;
      parts().drainingByHub = false;
      log('info', 'connected to the hub', { session: welcome.session });
      options.onEnrolled?.();
      parts().shelf.setTicket(welcome.ticket);
      parts().lane.joined(welcome.resumes === true);
      changed(parts());
    },
    onMoved(place) {
      log('info', 'the hub of this community has another address now', { url: place.url });
      options.onMoved?.(place);
    },
    onMessage: (message) => onMessage(parts(), message),
    onLost(reason) {
      log('info', 'the session with the hub ended', { reason });
      parts().shelf.setTicket(undefined);
      parts().sealed.dropAll();
      parts().lane.parted();
      changed(parts());
    },
    onBackOff(error, afterMs) {
      parts().problem = error;
      log('warn', error.message, { code: error.code, retryInMs: Math.round(afterMs) });
      changed(parts());
    },
    onEnded: (final) => void end(parts(), final),
  };
}

function shelfPortsOf(options: AgentOptions, consent: Consent, parts: () => Parts): ShelfPorts {
  const { limits, log } = options;
  return {
    ...options,
    memoryBytesMax: limits.memoryBytesMax,
    engineLimits: {
      threads: limits.threads,
      dutyShare: limits.dutyShare,
      memoryBytesMax: limits.memoryBytesMax,
      slotsMax: limits.slotsMax,
      cacheBytesMax: Math.floor(limits.memoryBytesMax * AGENT_LIMITS.cacheShare),
      tokensPerSecondMax: consent.tokensPerSecondMax,
    },
    sourceFor: (baseUrl, ticket) => options.sources(baseUrl, ticket),
    refusal: () => refusal(parts()),
    refusalOfProvider: (provider) => refusalOfProvider(consent, provider, parts().isIdle),
    forbidden: (diskBytes) => forbidden(consent, { ...ANSWERS, territory: options.hub.territory, diskBytes }),
    inUse: (cid) => parts().lane.running(cid) > 0,
    onEngineGone: (cid, error) => parts().lane.failAll(error, cid),
    onChanged: () => changed(parts()),
    onFailed: (cid, error) => log('warn', error.message, { model: cid, code: error.code }),
  };
}

function onMessage(parts: Parts, message: WorkMessage): void {
  switch (message.t) {
    case 'hold':
      parts.giver.forget();
      return parts.shelf.hold(message);
    case 'answer':
    case 'embed':
      return parts.lane.offer(message);
    case 'sealed':
      return parts.sealed.offer(message);
    case 'cancel':
      parts.sealed.cancel(message.lease, message.epoch);
      return parts.lane.cancel(message.lease, message.epoch);
    case 'answer.resume':
      return parts.lane.resume(message);
    case 'answer.kept':
      return parts.lane.kept(message.lease, message.epoch);
    case 'blob.want':
      parts.giver
        .want(message)
        .catch((thrown: unknown) =>
          parts.options.log('warn', asIdlewildError(thrown, `giving the block ${message.cid}`).message),
        );
      return;
    case 'left':
      // Said to a goodbye (`lending/control/goodbye.ts`), which has a session of its own.
      return;
    case 'drain':
      parts.options.log('info', 'the hub asks this device to drain', { reason: message.reason });
      parts.drainingByHub = true;
      return changed(parts);
  }
}

const withFeatures = (profile: DeviceProfile, features: readonly DeviceFeature[]): DeviceProfile => ({
  ...profile,
  features: [...new Set([...(profile.features ?? []), ...features])],
});

/** The lender first, then the day's circumstances. */
function refusal(parts: Parts, asked: Partial<WorkAsked> = {}): IdlewildError | undefined {
  const { hub, localTime } = parts.options;
  const refused = refusalOf(parts.consent, { ...ANSWERS, territory: hub.territory, local: localTime?.(), ...asked });
  if (refused !== undefined) return refused;
  const told = parts.pauses.told();
  if (told.length > 0) return new IdlewildError('device_paused', `the device is paused: ${told.join('; ')}`);
  if (parts.stopping || parts.drainingByHub) return new IdlewildError('device_paused', 'the device is draining');
  return undefined;
}

function pause(parts: Parts, name: string, text: string, told: string): void {
  const wasPaused = parts.pauses.all().length > 0;
  if (!parts.pauses.add(name, text, told)) return;
  if (wasPaused) return changed(parts);
  // In this order: a hub that knows of the pause gives the answers to somebody else at once.
  if (parts.lane.running() > 0) parts.session.statusNow();
  parts.lane.failAll(new IdlewildError('device_paused', `the device was paused: ${told}`));
  parts.shelf.suspend();
  changed(parts);
}

function resume(parts: Parts, name: string): void {
  if (!parts.pauses.remove(name)) return;
  if (parts.pauses.all().length === 0) parts.shelf.resume();
  changed(parts);
}

function throttle(parts: Parts, share: number): void {
  const within = Math.min(1, Math.max(AGENT_LIMITS.dutyShareMin, share));
  if (!Number.isFinite(within) || within === parts.share) return;
  parts.share = within;
  parts.shelf.throttle(within);
}

async function stop(parts: Parts, drain: boolean): Promise<void> {
  parts.stopping = true;
  changed(parts);
  if (drain && parts.lane.running() > 0) await (parts.drained ??= whenIdle(parts));
  parts.lane.failAll(new IdlewildError('device_paused', 'the device is stopping'));
  parts.session.stop('the device was stopped');
  await end(parts, undefined);
}

/** When nothing runs any more, or at the end of our patience. */
function whenIdle(parts: Parts): Promise<void> {
  return new Promise((resolve) => {
    const timer = parts.options.clock.after(AGENT_LIMITS.drainMsMax, resolve);
    parts.onIdle = () => {
      timer.cancel();
      resolve();
    };
  });
}

/** Releases everything, once, whoever asks first; never throws. */
function end(parts: Parts, error: IdlewildError | undefined): Promise<void> {
  parts.ending ??= release(parts, error);
  return parts.ending;
}

async function release(parts: Parts, error: IdlewildError | undefined): Promise<void> {
  const { clock, log } = parts.options;
  parts.problem = error ?? parts.problem;
  if (error !== undefined) log('error', error.message, { code: error.code });
  parts.keys.stop();
  parts.lane.dropAll();
  parts.giver.close();
  await new Promise<void>((resolve) => {
    const timer = clock.after(AGENT_LIMITS.closeMsMax, () => {
      log('error', `engines did not close within ${AGENT_LIMITS.closeMsMax} ms`);
      resolve();
    });
    parts.shelf
      .close()
      .catch((thrown: unknown) => log('error', asIdlewildError(thrown, 'closing the engines').message))
      .finally(() => {
        timer.cancel();
        resolve();
      });
  });
  tell(parts);
  parts.finish(error);
}

/** Everything that changes within one tick is told together. */
function changed(parts: Parts): void {
  if (parts.lane.running() === 0) parts.onIdle?.();
  parts.telling ??= parts.options.clock.after(0, () => tell(parts));
}

function tell(parts: Parts): void {
  parts.telling?.cancel();
  parts.telling = undefined;
  const status = statusOf(parts);
  // How many answers run is the hub's own book-keeping; it is told what it cannot know.
  const statusText = JSON.stringify({ ...status, active: 0 });
  if (statusText !== parts.toldStatus) {
    parts.toldStatus = statusText;
    parts.session.statusChanged();
  }
  const state = stateOf(parts);
  const stateText = JSON.stringify(state);
  if (stateText === parts.toldState) return;
  parts.toldState = stateText;
  parts.options.onState?.(state);
}

function statusOf(parts: Parts): DeviceStatus {
  const { lane, shelf, options } = parts;
  const pauseReasons = parts.pauses.told();
  const active = lane.running();
  const slots = Math.min(shelf.slots(), options.limits.slotsMax);
  const state =
    parts.stopping || parts.drainingByHub
      ? 'draining'
      : pauseReasons.length > 0
        ? 'paused'
        : slots > 0 && active >= slots
          ? 'busy'
          : 'ready';
  return { state, pauseReasons, slots, active, models: [...shelf.models()], lent: parts.lent };
}

function stateOf(parts: Parts): AgentState {
  const { deviceId, options, session, problem, shelf, community } = parts;
  const { state, models, active } = statusOf(parts);
  const pauses = parts.pauses.all();
  const isOpen = session.isOpen();
  return {
    deviceId,
    name: options.name,
    ...(community === undefined || community === '' ? {} : { community }),
    state: isOpen ? state : 'offline',
    pauseReasons: pauses.map(({ text }) => text),
    pauses,
    share: parts.share,
    models: models.map((model) => {
      const modelName = shelf.nameOf(model.cid);
      return modelName === undefined ? model : { ...model, name: modelName };
    }),
    tokensPerSecond: shelf.tokensPerSecond(),
    answering: active,
    running: parts.lane.works().map((work) => {
      const modelName = shelf.nameOf(work.model);
      return modelName === undefined ? work : { ...work, modelName };
    }),
    ...(isOpen || problem === undefined ? {} : { problem: { code: problem.code, message: problem.message } }),
  };
}
