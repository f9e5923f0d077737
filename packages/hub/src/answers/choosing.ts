/**
 * Which devices an answer could go to, and whether one more is taken at all.
 *
 * Of very many devices that could begin at once some are enough to choose from: the nearest ones (those of this replica
 * come first), those that know the conversation, and those of the class that its tokens are of.
 */
import { IdlewildError, type Clock } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Ask } from '../placement/circle.ts';
import { PLACEMENT_LIMITS } from '../placement/limits.ts';
import type { Placement } from '../placement/placement.ts';
import type { Affinity, Marks } from '../scheduler/affinity.ts';
import { candidateOf, estimatePromptTokens } from '../scheduler/candidate.ts';
import { explainNone, noDeviceError } from '../scheduler/explain.ts';
import { freeSlots, route, type Candidate, type Demand } from '../scheduler/route.ts';
import { activeOf, stateOf, type ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { barOf } from '../trust/barred.ts';
import type { Trust } from '../trust/trust.ts';
import type { AnswerState, MachineEvent } from './machine.ts';
import type { AnswerRequest } from './port.ts';

export interface Choosing {
  demandOf(
    state: Pick<AnswerState, 'work' | 'numericClass' | 'excluded' | 'heard'>,
    features: Demand['features'],
    request: Pick<AnswerRequest, 'text' | 'permit'>,
    tokens: number,
  ): Demand;
  candidatesFor(territory: string, model: string, demand: Demand, marks?: Marks): Candidate[];
  /** It is asked for from now on. `open`: all answers here. Throws `no_device` or `too_busy`. */
  admit(request: AnswerRequest, features: Demand['features'], open: Open): void;
  /** What time does to an answer: one that waits for a model to be fetched ends when that comes to nothing. */
  tickOf(answer: Waiting): MachineEvent;
}

interface Hope {
  lookAtMs: number;
  /** Since when the model is not on its way. */
  vainSinceMs: number | undefined;
}

interface Waiting {
  readonly state: AnswerState;
  readonly request: AnswerRequest;
  readonly features: Demand['features'];
}
type Open = ReadonlyMap<string, { readonly state: AnswerState; readonly request: AnswerRequest }>;

export interface ChoosingDeps {
  readonly clock: Clock;
  readonly sessions: Pick<Sessions, 'list'>;
  readonly affinity: Affinity;
  readonly placement?: Pick<Placement, 'asked' | 'outlook'> | undefined;
  readonly trust: Pick<Trust, 'demandOf'>;
}

export function createChoosing({ clock, sessions, affinity, placement, trust }: ChoosingDeps): Choosing {
  const demandOf: Choosing['demandOf'] = (state, features, { text, permit }, tokens) => ({
    promptTokens: estimatePromptTokens(state.work) + tokens,
    answerTokens: Math.max(1, (state.work.tokensMax ?? 200) - tokens),
    numericClass: state.numericClass,
    excluded: state.excluded,
    features,
    text: trust.demandOf(text, permit),
    isBound: state.heard > tokens,
  });

  const candidatesFor: Choosing['candidatesFor'] = (territory, model, demand, marks) => {
    const nowMs = clock.monotonic();
    const known = marks === undefined ? undefined : affinity.recall(marks);
    const chosen: ConnectedDevice[] = [];
    let [free, ofClass] = [0, 0];
    for (const device of sessions.list()) {
      const numericClass = device.territory === territory ? freeClassOf(device, model, demand) : undefined;
      if (numericClass === undefined) continue;
      const isOfClass = numericClass === demand.numericClass && ofClass < HUB_LIMITS.candidatesMax;
      if (free >= HUB_LIMITS.candidatesMax && !isOfClass && known?.has(device.id) !== true) continue;
      free++;
      if (isOfClass) ofClass++;
      chosen.push(device);
    }
    const asCandidate = (device: ConnectedDevice): Candidate => candidateOf(device, model, nowMs, known);
    if (chosen.some(({ mistrustedUntilMs }) => mistrustedUntilMs <= nowMs)) return chosen.map(asCandidate);
    // Nobody is free: what there is decides how long to wait, or why nobody can.
    return [...sessions.list()].filter((device) => device.territory === territory).map(asCandidate);
  };

  /** Requests that wait for a model to be fetched. */
  const hoping = new WeakMap<AnswerRequest, Hope>();
  const NOTHING_YET = { numericClass: undefined, excluded: new Set<string>(), heard: 0 };
  const askOf = ({ model }: AnswerRequest, { features, text }: Demand): Ask => ({
    models: [model.cid],
    features,
    text,
  });

  function tickOf({ state, request, features }: Waiting): MachineEvent {
    const nowMs = clock.monotonic();
    const hope = state.phase === 'queued' ? hoping.get(request) : undefined;
    if (hope === undefined || placement === undefined || nowMs < hope.lookAtMs) return { t: 'tick' };
    hope.lookAtMs = nowMs + PLACEMENT_LIMITS.hopeLookMs;
    const demand = demandOf({ work: request.work, ...NOTHING_YET }, features, request, 0);
    const { coming, words } = placement.outlook(askOf(request, demand));
    const candidates = coming === undefined ? candidatesFor(request.territory, request.model.cid, demand) : [];
    const isVain = coming === undefined && route(candidates, demand).t === 'none';
    hope.vainSinceMs = isVain ? (hope.vainSinceMs ?? nowMs) : undefined;
    if (hope.vainSinceMs === undefined || nowMs - hope.vainSinceMs < PLACEMENT_LIMITS.planMsMax) return { t: 'tick' };
    return { t: 'cancel', code: 'no_device', why: `${explainNone(candidates, request.model.name, demand)}${words}` };
  }

  return {
    demandOf,
    candidatesFor,
    tickOf,
    admit(request, features, open) {
      const demand = demandOf({ work: request.work, ...NOTHING_YET }, features, request, 0);
      placement?.asked(askOf(request, demand));
      const candidates = candidatesFor(request.territory, request.model.cid, demand);
      const choice = route(candidates, demand);
      const outlook = choice.t === 'none' ? placement?.outlook(askOf(request, demand)) : undefined;
      // A device that is loading the model is worth waiting for; the queue's own bound ends a wait in vain.
      if (choice.t === 'none' && outlook?.coming === undefined)
        throw noDeviceError(candidates, request.model.name, { ...demand, words: outlook?.words });
      if (outlook?.coming === 'fetching') hoping.set(request, { lookAtMs: 0, vainSinceMs: undefined });
      const waitMs = choice.t === 'wait' ? choice.expectedMs : 0;
      const retryAfterSeconds = Math.min(60, Math.max(1, Math.ceil(waitMs / 1000)));
      // Those that are being written down count, too: a thousand may come before the first of them has a device.
      let waiting = 0;
      for (const answer of open.values()) {
        if (answer.state.phase === 'queued' && answer.request.territory === request.territory) waiting++;
      }
      const isFull = waiting - freeSlots(candidates, demand) >= HUB_LIMITS.queuedAnswersMax;
      if (open.size < HUB_LIMITS.openAnswersMax && !isFull) return;
      const message = `every device is busy and ${waiting} requests wait already; try again in ${retryAfterSeconds} s`;
      throw new IdlewildError('too_busy', message, { details: { retryAfterSeconds } });
    },
  };
}

/** The class in which the device would begin at once; `undefined` when it would not. */
function freeClassOf(device: ConnectedDevice, model: string, { excluded, features, text }: Demand): string | undefined {
  if (device.contradicted || excluded.has(device.id) || activeOf(device) >= device.status.slots) return undefined;
  const held = device.status.models.find(({ cid, state }) => cid === model && state === 'warm');
  if (held === undefined || stateOf(device) !== 'ready' || barOf(device, text) !== undefined) return undefined;
  return features.every((feature) => device.features.includes(feature)) ? (held.numericClass ?? '') : undefined;
}
