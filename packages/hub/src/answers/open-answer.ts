/** An answer that is open at this replica: its machine's state, who asked, and who hears of it. */
import type { Affinity, Marks } from '../scheduler/affinity.ts';
import { featuresOf, type Demand } from '../scheduler/route.ts';
import { createGate, type Gate } from './gate.ts';
import type { AnswerState } from './machine.ts';
import type { AnswerRequest, AnswerSink } from './port.ts';

export interface OpenAnswer {
  readonly state: AnswerState;
  readonly request: AnswerRequest;
  readonly sink: AnswerSink;
  /** The same, of an answer that another replica may take over. */
  readonly gate: Gate | undefined;
  readonly features: Demand['features'];
  /** Of its devices, by id. */
  readonly names: Map<string, string>;
  readonly marks: Marks;
  /** Index of the first token of the current attempt. */
  attemptFrom: number;
  attemptAtMs: number;
  /** How long devices had it, over all attempts that are over. */
  deviceMs: number;
  /** Counts its owners, this one included. */
  readonly ownerEpoch: number;
  /** Its caller is gone. */
  silenced: boolean;
}

/** What an owner before this one did. */
type Inherited = Pick<OpenAnswer, 'names' | 'ownerEpoch'>;

export function createOpenAnswer(
  request: AnswerRequest,
  sink: AnswerSink,
  state: AnswerState,
  { affinity, nowMs }: { readonly affinity: Affinity; readonly nowMs: number },
  { names, ownerEpoch }: Inherited = { names: new Map(), ownerEpoch: 1 },
): OpenAnswer {
  const gate = request.run === undefined ? undefined : createGate(sink);
  return {
    state,
    request,
    sink: gate ?? sink,
    gate,
    features: featuresOf(request.work),
    marks: affinity.marksOf(state.model, request.work),
    names,
    attemptFrom: 0,
    attemptAtMs: nowMs,
    deviceMs: 0,
    ownerEpoch,
    silenced: false,
  };
}
