/** A request for vectors that is open: its parts, which device has which, and what came of them so far. */
import type { IdlewildError } from '@idlewild/protocol';
import { cutParts, estimateTokens, type Part } from './parts.ts';
import type { EmbedOutcome, EmbedRequest } from './port.ts';

/** A part on a device. */
interface Attempt {
  readonly lease: string;
  readonly epoch: number;
  readonly device: string;
  readonly startedAtMs: number;
  /** Silence until then is a stall. */
  readonly stallAtMs: number;
}

export interface PartState {
  readonly part: Part;
  readonly tokens: number;
  readonly job: Job;
  isDone: boolean;
  epoch: number;
  failures: number;
  waitingSinceMs: number;
  attempt: Attempt | undefined;
  lastFailure: string;
}

export interface Job {
  readonly request: EmbedRequest;
  readonly id: string;
  readonly parts: readonly PartState[];
  readonly bytes: number;
  readonly createdAtMs: number;
  readonly vectors: Uint8Array[];
  readonly devices: Set<string>;
  promptTokens: number;
  deviceMs: number;
  failovers: number;
  over: boolean;
  settle(result: EmbedOutcome | IdlewildError): void;
}

export function createJob(request: EmbedRequest, id: string, bytes: number, nowMs: number, settle: Job['settle']): Job {
  const parts: PartState[] = [];
  const job: Job = {
    request,
    id,
    parts,
    bytes,
    createdAtMs: nowMs,
    vectors: [],
    devices: new Set(),
    promptTokens: 0,
    deviceMs: 0,
    failovers: 0,
    over: false,
    settle,
  };
  for (const part of cutParts(request.inputs, request.model.dimensions)) {
    const tokens = estimateTokens(part);
    parts.push({
      part,
      tokens,
      job,
      isDone: false,
      epoch: 0,
      failures: 0,
      waitingSinceMs: nowMs,
      attempt: undefined,
      lastFailure: '',
    });
  }
  return job;
}

/** Nobody has it, and it is not done. */
export const isWaiting = ({ isDone, attempt }: PartState): boolean => !isDone && attempt === undefined;
