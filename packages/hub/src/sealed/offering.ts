/**
 * Which device a caller is offered for a sealed prompt, and the place that is kept for it until the prompt comes.
 *
 *   asked ──a free device──► held ──the prompt──► taken
 *     │ └─ all busy: waits ─┘ └──`offerHoldMs`──► let go
 *
 * A place is a lease like any other, so whoever counts a device's leases counts it. Answers in the open have a queue
 * that takes a slot the moment it is free; so that they cannot take every one of them, an offer that has waited a
 * while stands in for the next slot of one device, as long as no more than half of its slots are for sealed prompts.
 */
import { IdlewildError, WORK_NEEDS, newId, type Clock, type Random, type Timer } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Ask } from '../placement/circle.ts';
import type { Placement } from '../placement/placement.ts';
import { candidateOf } from '../scheduler/candidate.ts';
import { noDeviceError } from '../scheduler/explain.ts';
import { route, type Candidate, type Demand } from '../scheduler/route.ts';
import { activeOf, stateOf, type ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { barOf } from '../trust/barred.ts';
import type { Trust } from '../trust/trust.ts';
import type { OfferRequest } from './port.ts';
import type { Vouched } from './vouched.ts';

/** What a prompt does need of its device stays sealed, unless its caller tells; then it may need all that there is. */
const featuresFor = ({ needs = WORK_NEEDS }: OfferRequest): Demand['features'] => ['sealed', ...needs];
const BYTES_PER_TOKEN = 4;
const EPOCH = 1;

/** A place on a device for one caller. */
export interface Held {
  readonly request: OfferRequest;
  readonly device: ConnectedDevice;
  readonly lease: string;
  readonly epoch: number;
  readonly numericClass: string | undefined;
}

export interface Offering {
  ask(request: OfferRequest, signal: AbortSignal): Promise<Held>;
  /** The prompt has come: the place is no longer this room's to let go. */
  taken(lease: string): void;
  /** No prompt will come. */
  letGo(lease: string): void;
  onGone(device: ConnectedDevice): void;
  pump(): void;
  /** Ends waits that are over; to be called from time to time. */
  sweep(): void;
  /** Ends the waits and places of these callers, or of all. */
  end(error: IdlewildError, isOf?: (request: OfferRequest) => boolean): void;
  /** Of those who wait or have a place. */
  requests(): readonly OfferRequest[];
  waiting(): number;
  isIdle(): boolean;
}

export interface OfferingDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly sessions: Pick<Sessions, 'list' | 'get' | 'revokeLease'>;
  readonly placement?: Pick<Placement, 'asked' | 'outlook'> | undefined;
  readonly trust: Pick<Trust, 'refresh' | 'demandOf'>;
  readonly vouched: Vouched;
  /** Leases of this device that are answered for sealed prompts. */
  running(device: string): number;
}

interface Waiting {
  readonly request: OfferRequest;
  readonly sinceMs: number;
  readonly settle: (result: Held | IdlewildError) => void;
  /** Stands in for the next slot of this device. */
  reserved: Held | undefined;
}

export function createOffering(deps: OfferingDeps): Offering {
  const { clock, random, sessions, trust, vouched } = deps;
  const waiting = new Set<Waiting>();
  const held = new Map<string, { readonly held: Held; readonly timer: Timer }>();
  /** Neither waiting nor held yet: what is known of devices is being read. */
  const asking = new Set<OfferRequest>();

  const demandOf = (request: OfferRequest): Demand => ({
    promptTokens: request.bytes / BYTES_PER_TOKEN,
    answerTokens: request.tokens,
    numericClass: request.numericClass,
    excluded: new Set(request.without),
    features: featuresFor(request),
    isBound: request.apart === true,
    text: trust.demandOf(request.text, request.permit),
  });
  const isVouched = (device: ConnectedDevice): boolean =>
    device.agreementKey.length > 0 && vouched.chainOf(device) !== undefined;
  const eligible = (request: OfferRequest): ConnectedDevice[] =>
    [...sessions.list()].filter(
      (device) => device.territory === request.territory && isVouched(device) && isJudge(device, request.use),
    );
  const candidatesFor = (request: OfferRequest): Candidate[] =>
    eligible(request).map((device) => candidateOf(device, request.model.cid, clock.monotonic()));

  function choose(request: OfferRequest): {
    readonly choice: ReturnType<typeof route>;
    readonly candidates: Candidate[];
  } {
    const candidates = candidatesFor(request);
    const demand = demandOf(request);
    const near = candidates.filter(({ device, mistrusted }) => device === request.near && !mistrusted);
    const choice = route(near, demand);
    if (choice.t === 'device') return { candidates, choice };
    const others = route(apartFrom(request, candidates), demand);
    return { candidates, choice: others.t === 'device' ? others : route(candidates, demand) };
  }

  /** Of other lenders than those that it is to be without; none where that does not matter. */
  function apartFrom({ apart, without }: OfferRequest, candidates: readonly Candidate[]): readonly Candidate[] {
    if (apart !== true) return [];
    const lenderOf = (id: string): string | undefined => sessions.get(id)?.standing.person;
    const lenders = new Set(without.map(lenderOf));
    return candidates.filter(({ device }) => !lenders.has(lenderOf(device)));
  }

  const heldOf = (request: OfferRequest, device: ConnectedDevice): Held => ({
    request,
    device,
    lease: newId('att', random),
    epoch: EPOCH,
    numericClass: device.status.models.find(({ cid }) => cid === request.model.cid)?.numericClass,
  });

  function hold(place: Held): Held {
    place.device.leases.add(place.lease);
    const timer = clock.after(HUB_LIMITS.offerHoldMs, () => letGo(place.lease));
    held.set(place.lease, { held: place, timer });
    return place;
  }

  function letGo(lease: string): void {
    const place = held.get(lease);
    place?.timer.cancel();
    if (held.delete(lease) && place !== undefined) sessions.revokeLease(place.held.device, lease, place.held.epoch);
  }

  function release(wait: Waiting): void {
    if (wait.reserved !== undefined) wait.reserved.device.leases.delete(wait.reserved.lease);
    wait.reserved = undefined;
  }

  function settle(wait: Waiting, result: Held | IdlewildError): void {
    if (!waiting.delete(wait)) return;
    release(wait);
    wait.settle(result);
  }

  /** The device that it stands in for, once there is room. */
  function ownTurn({ reserved, request }: Waiting): ConnectedDevice | undefined {
    if (reserved === undefined) return undefined;
    const { device } = reserved;
    const isThere = sessions.get(device.id) === device && !['paused', 'draining'].includes(stateOf(device));
    if (!isThere || device.contradicted || !maySee(device, request)) return undefined;
    return activeOf(device) <= device.status.slots ? device : undefined;
  }

  const maySee = (device: ConnectedDevice, { text, permit, use }: OfferRequest): boolean =>
    isVouched(device) && isJudge(device, use) && barOf(device, trust.demandOf(text, permit)) === undefined;

  function pump(): void {
    for (const wait of waiting) {
      const own = ownTurn(wait);
      const { choice } = own === undefined ? choose(wait.request) : { choice: undefined };
      const device = own ?? (choice?.t === 'device' ? sessions.get(choice.device) : undefined);
      if (device !== undefined) settle(wait, hold(heldOf(wait.request, device)));
    }
  }

  /** For the one that has waited longest, on the device that would have done soonest. */
  function reserve(nowMs: number): void {
    const taken = new Set([...waiting].map(({ reserved }) => reserved?.device.id));
    for (const wait of waiting) {
      if (wait.reserved !== undefined || nowMs - wait.sinceMs < HUB_LIMITS.offerReserveMs) continue;
      const { model } = wait.request;
      const full = eligible(wait.request).filter((device) => {
        const isWarm = device.status.models.some(({ cid, state }) => cid === model.cid && state === 'warm');
        const share = Math.max(1, Math.floor(device.status.slots / 2));
        const able = featuresFor(wait.request).every((feature) => device.features.includes(feature));
        const isFit = stateOf(device) === 'busy' && isWarm && able && !wait.request.without.includes(device.id);
        return isFit && maySee(device, wait.request) && !taken.has(device.id) && deps.running(device.id) < share;
      });
      const device = full.toSorted((one, other) => one.status.active - other.status.active)[0];
      if (device === undefined) continue;
      taken.add(device.id);
      wait.reserved = heldOf(wait.request, device);
      device.leases.add(wait.reserved.lease);
    }
  }

  /** With what judges it: a device holds a prompt to its rules with what it has itself. */
  const askOf = (request: OfferRequest): Ask => ({
    models: [request.model.cid, ...(request.use?.classifiers ?? []).map(({ model }) => model)],
    features: request.use === undefined ? featuresFor(request) : [...featuresFor(request), 'use'],
    text: trust.demandOf(request.text, request.permit),
  });
  const isComing = (request: OfferRequest): boolean => deps.placement?.outlook(askOf(request)).coming !== undefined;

  function noDevice(request: OfferRequest, candidates: readonly Candidate[]): IdlewildError {
    if (request.use !== undefined && candidates.length === 0 && eligible({ ...request, use: undefined }).length > 0) {
      const needs = request.use.classifiers.length > 0 ? ' and has its classifiers ready' : '';
      const message =
        `no device for which a steward vouches can hold an encrypted prompt to the rules of use here${needs}; ` +
        'ask in the open, or tell a steward';
      return new IdlewildError('use_unjudged', message, { details: { retryAfterSeconds: 10 } });
    }
    const some = [...sessions.list()].some(({ territory }) => territory === request.territory);
    if (candidates.length > 0 || !some) {
      const words = deps.placement?.outlook(askOf(request)).words;
      return noDeviceError(candidates, request.model.name, { ...demandOf(request), words });
    }
    const why =
      'no device that is connected may be offered for it: a steward has to vouch for one (idlewild devices vouch)';
    return new IdlewildError('no_device', why, { details: { retryAfterSeconds: 10 } });
  }

  const requests = (): OfferRequest[] =>
    [...waiting, ...[...held.values()].map((place) => place.held)].map(({ request }) => request);

  function admit(request: OfferRequest): void {
    const own = [...asking, ...requests()].filter(({ caller }) => caller === request.caller).length;
    const all = asking.size + waiting.size;
    if (own < HUB_LIMITS.offersPerKeyMax && all < HUB_LIMITS.offersWaitingMax) return;
    const message = `${own} offers for this key are open, ${all} wait in all; try again in a moment`;
    throw new IdlewildError('too_busy', message, { details: { retryAfterSeconds: 2 } });
  }

  return {
    async ask(request, signal) {
      admit(request);
      asking.add(request);
      try {
        await Promise.all([trust.refresh(), vouched.refresh()]);
      } finally {
        asking.delete(request);
      }
      if (signal.aborted) throw cancelled();
      deps.placement?.asked(askOf(request));
      const { choice, candidates } = choose(request);
      const device = choice.t === 'device' ? sessions.get(choice.device) : undefined;
      if (device !== undefined) return hold(heldOf(request, device));
      if (choice.t === 'none' && !isComing(request)) throw noDevice(request, candidates);
      const { promise, resolve, reject } = Promise.withResolvers<Held>();
      const wait: Waiting = {
        request,
        sinceMs: clock.monotonic(),
        reserved: undefined,
        settle: (result) => (result instanceof Error ? reject(result) : resolve(result)),
      };
      waiting.add(wait);
      const onAbort = (): void => settle(wait, cancelled());
      signal.addEventListener('abort', onAbort, { once: true });
      return promise.finally(() => signal.removeEventListener('abort', onAbort));
    },
    taken(lease) {
      held.get(lease)?.timer.cancel();
      held.delete(lease);
    },
    letGo,
    onGone(device) {
      for (const [lease, place] of held)
        if (place.held.device === device) {
          place.timer.cancel();
          held.delete(lease);
        }
      for (const wait of waiting) if (wait.reserved?.device === device) release(wait);
    },
    pump,
    sweep() {
      const nowMs = clock.monotonic();
      for (const wait of [...waiting]) {
        const waitedMs = nowMs - wait.sinceMs;
        if (waitedMs >= HUB_LIMITS.queueMsMax) {
          const message = `no device was free for ${Math.round(waitedMs / 1_000)} s; try again later`;
          settle(wait, new IdlewildError('too_busy', message, { details: { retryAfterSeconds: 5 } }));
        } else if (waitedMs >= HUB_LIMITS.failoverWaitMsMax || wait.request.apart === true) {
          // Nobody waits long to have an answer checked that is there.
          const { choice, candidates } = choose(wait.request);
          if (choice.t === 'none' && !isComing(wait.request)) settle(wait, noDevice(wait.request, candidates));
        }
      }
      pump();
      reserve(nowMs);
    },
    end(error, isOf = () => true) {
      for (const wait of [...waiting]) if (isOf(wait.request)) settle(wait, error);
      for (const [lease, place] of [...held]) if (isOf(place.held.request)) letGo(lease);
    },
    requests,
    waiting: () => waiting.size,
    isIdle: () => waiting.size === 0 && held.size === 0,
  };
}

/** Whether it can hold a prompt to this, with what it has ready. */
function isJudge({ features, status }: ConnectedDevice, use: OfferRequest['use']): boolean {
  if (use === undefined) return true;
  const isReady = (cid: string): boolean => status.models.some((model) => model.cid === cid && model.state === 'warm');
  return features.includes('use') && use.classifiers.every(({ model }) => isReady(model));
}

const cancelled = (): IdlewildError => new IdlewildError('cancelled', 'the caller hung up');
