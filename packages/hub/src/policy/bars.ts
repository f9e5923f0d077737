/**
 * What stands above all policies: a model that a steward stopped, and a project that was closed. They end what is asked
 * of the one and on the account of the other, whoever asks, and are told as a policy's refusal is.
 */
import { IdlewildError, type ErrorCode } from '@idlewild/protocol';
import type { Standing } from '../people/directory.ts';
import type { Question } from './slice.ts';
import type { State } from './state.ts';

export interface Bar {
  readonly code: ErrorCode;
  /** In place of a policy's id. */
  readonly decidedBy: string;
  readonly message: string;
  readonly needed: string;
  readonly details: Readonly<Record<string, string>>;
}

export function barOf(state: State, standing: Standing, { action, on }: Question): Bar | undefined {
  if (action !== 'answer') return undefined;
  const stop = state.stops.get(on.id ?? '');
  if (stop !== undefined) {
    const needed = 'ask for another model (GET /v1/models); a steward can let it answer again: idlewild models allow';
    const message = `a steward stopped this model at ${new Date(stop.atMs).toISOString()}: ${stop.why}; ${needed}`;
    const details = { model: on.id ?? '', why: stop.why };
    return { code: 'model_stopped', decidedBy: 'stopped-model', message, needed, details };
  }
  const { closedProject } = standing;
  if (closedProject === undefined) return undefined;
  const { id, name } = closedProject;
  const needed =
    'ask with a key of another project; whoever leads one, or a steward, has it made: idlewild keys create --project';
  const message = `the project ${name} (${id}) of this key was closed, which is for good; ${needed}`;
  return { code: 'forbidden', decidedBy: 'closed-project', message, needed, details: { project: id } };
}

export function barred({ code, message, needed, decidedBy, details }: Bar, { action, on }: Question): IdlewildError {
  const where = on.id === undefined ? {} : { on: on.id };
  return new IdlewildError(code, message, {
    details: { action, decidedBy: [decidedBy], rolesThatMay: [], needed, ...where, ...details },
  });
}
