/**
 * The pauses that hold now, by name. The first reason pauses the device and the last one to go lets it work again;
 * a name that is paused already keeps its time and takes the newer text. What the hub is told of a reason may be less
 * than what the lender is: which program runs is nobody else's business.
 */
import { IdlewildError, LIMITS, type Clock } from '@idlewild/protocol';
import { AGENT_LIMITS } from '../../limits.ts';
import type { PauseReason } from './port.ts';

export interface Pauses {
  /** Whether anything changed. Throws `conflict` for more names than anybody has reasons for. */
  add(name: string, text: string, told: string): boolean;
  remove(name: string): boolean;
  /** In the order in which they came. */
  all(): readonly PauseReason[];
  /** What the hub is told: as many as a heartbeat carries. */
  told(): string[];
}

export function createPauses(clock: Clock): Pauses {
  const pauses = new Map<string, PauseReason & { readonly told: string }>();
  return {
    add(name, text, saidToHub) {
      const told = saidToHub.slice(0, LIMITS.pauseReasonCharactersMax);
      const before = pauses.get(name);
      if (before?.text === text && before.told === told) return false;
      if (before === undefined && pauses.size >= AGENT_LIMITS.pauseReasonsMax) {
        throw new IdlewildError(
          'conflict',
          `the device is paused for ${pauses.size} reasons already; resume some of them first`,
        );
      }
      pauses.set(name, { name, text, told, sinceMs: before?.sinceMs ?? clock.now() });
      return true;
    },
    remove: (name) => pauses.delete(name),
    all: () => [...pauses.values()].map(({ name, text, sinceMs }) => ({ name, text, sinceMs })),
    told: () => [...pauses.values()].slice(0, LIMITS.pauseReasonsMax).map(({ told }) => told),
  };
}
