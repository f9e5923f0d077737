/**
 * Runs on their way into this very server: what is injected for a run is known by a name that nobody else can have.
 *
 * The name travels in a header, for nothing else goes through an injection; one that was not given out means nothing.
 */
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { newId, type Random } from '@idlewild/protocol';
import type { Making } from '../../callers/recording.ts';
import type { Run } from '../../callers/runs.ts';

export const RUN_HEADER = 'x-idlewild-run';

/** As the routes see it. */
export interface CarriedRun extends Run, Pick<Making, 'leave'> {
  /** How many tokens of each choice whoever began it here has. */
  readonly heard: readonly number[];
}

export interface Carried {
  /** Announces a run; `onSeen` is called with its response, which can be cancelled from then on. */
  announce(run: CarriedRun, onSeen: (raw: ServerResponse) => void): { readonly name: string; forget(): void };
  of(headers: IncomingHttpHeaders): Announced | undefined;
}

export interface Announced {
  readonly run: CarriedRun;
  readonly onSeen: (raw: ServerResponse) => void;
}

export function createCarried(random: Random): Carried {
  const announced = new Map<string, Announced>();
  return {
    announce(run, onSeen) {
      const name = newId('req', random);
      announced.set(name, { run, onSeen });
      return { name, forget: () => void announced.delete(name) };
    },
    of(headers) {
      const name = headers[RUN_HEADER];
      return typeof name === 'string' ? announced.get(name) : undefined;
    },
  };
}
