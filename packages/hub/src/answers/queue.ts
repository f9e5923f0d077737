/**
 * The answers that wait for a device, and who gets the next one that is free.
 *
 * Whoever waits is looked at in turn (`in-turn.ts`), and given the device that would be done first
 * (`scheduler/route.ts`). What was interrupted waits at the head.
 */
import { route, type Candidate } from '../scheduler/route.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { sortOf } from '../trust/text.ts';
import type { Trust } from '../trust/trust.ts';
import { whenFresh } from '../trust/when-fresh.ts';
import type { Choosing } from './choosing.ts';
import { inTurn } from './in-turn.ts';
import type { OpenAnswer } from './open-answer.ts';

export interface Queue {
  /** At its end. */
  add(answer: OpenAnswer): void;
  /** At its head. */
  putBack(answer: OpenAnswer): void;
  drop(answer: OpenAnswer): void;
  /** Gives out what can be given out by now. */
  pump(): void;
  size(): number;
  /** How many wait, by the CID of their model. */
  byModel(): ReadonlyMap<string, number>;
}

export interface QueueDeps {
  readonly sessions: Pick<Sessions, 'get'>;
  readonly trust: Pick<Trust, 'refresh' | 'isFresh'>;
  readonly choosing: Pick<Choosing, 'demandOf' | 'candidatesFor'>;
  /** All answers here, those that run among them. */
  readonly open: ReadonlyMap<string, OpenAnswer>;
  giveTo(answer: OpenAnswer, device: ConnectedDevice, candidate: Candidate): void;
  /** How far devices are trusted could not be read. */
  onUnread(error: unknown): void;
}

export function createQueue({ sessions, trust, choosing, open, giveTo, onUnread }: QueueDeps): Queue {
  let queue: OpenAnswer[] = [];
  const giveOutFresh = whenFresh(trust, giveOut, onUnread);

  function giveOut(): void {
    const waiting = queue;
    queue = [];
    /** Models, eyes and features for which nobody is free: the rest of their queue is not looked at. */
    const full = new Set<string>();
    const left: OpenAnswer[] = [];
    for (const answer of inTurn(waiting, open.values())) {
      if (answer.state.phase !== 'queued') continue;
      const { territory, text } = answer.request;
      const demand = choosing.demandOf(answer.state, answer.features, answer.request, answer.state.tokens.length);
      const eyes = `${sortOf(text)} ${demand.text.person ?? ''} ${demand.text.reach.key}`;
      const kind = `${territory} ${answer.state.model} ${eyes} ${demand.features.join(' ')}`;
      const candidates = full.has(kind)
        ? []
        : choosing.candidatesFor(territory, answer.state.model, demand, answer.marks);
      const choice = route(candidates, demand);
      const device = choice.t === 'device' ? sessions.get(choice.device) : undefined;
      if (choice.t === 'device' && device !== undefined) {
        giveTo(answer, device, candidates.find((candidate) => candidate.device === device.id) as Candidate);
        continue;
      }
      if (answer.state.excluded.size === 0) full.add(kind);
      left.push(answer);
    }
    queue = [...left, ...queue];
  }

  return {
    add: (answer) => void queue.push(answer),
    putBack: (answer) => void queue.unshift(answer),
    drop(answer) {
      queue = queue.filter((queued) => queued !== answer);
    },
    pump() {
      if (queue.length > 0) giveOutFresh();
    },
    size: () => queue.length,
    byModel() {
      const counts = new Map<string, number>();
      for (const { state } of queue) counts.set(state.model, (counts.get(state.model) ?? 0) + 1);
      return counts;
    },
  };
}
