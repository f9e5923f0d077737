/**
 * The pauses that hold now, by name. The first reason pauses the device and the last one to go lets it work again;
 * a name that is paused already keeps its time and takes the newer text.
 */
import { IdlewildError, type Clock } from '@idlewild/protocol';
import { AGENT_LIMITS } from '../limits.ts';
import type { PauseReason } from './port.ts';

export interface Pauses {
  /** Whether anything changed. Throws `conflict` for more names than the wire has room for. */
  add(name: string, text: string): boolean;
  remove(name: string): boolean;
  /** In the order in which they came. */
  all(): readonly PauseReason[];
  texts(): string[];
}

export function createPauses(clock: Clock): Pauses {
  const pauses = new Map<string, PauseReason>();
  return {
    add(name, given) {
      const text = given.slice(0, AGENT_LIMITS.pauseReasonCharactersMax);
      const before = pauses.get(name);
      if (before?.text === text) return false;
      if (before === undefined && pauses.size >= AGENT_LIMITS.pauseReasonsMax) {
        throw new IdlewildError(
          'conflict',
          `the device is paused for ${pauses.size} reasons already; resume some of them first`,
        );
      }
      pauses.set(name, { name, text, sinceMs: before?.sinceMs ?? clock.now() });
      return true;
    },
    remove: (name) => pauses.delete(name),
    all: () => [...pauses.values()],
    texts: () => [...pauses.values()].map(({ text }) => text),
  };
}
