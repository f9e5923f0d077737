/**
 * A request for vectors, cut into parts that devices take side by side, and which device takes a part.
 *
 * Pure: texts and candidates in, choice out. A part is small enough for its reply to fit one frame, for a lost one to
 * cost little, and for several devices to share a request; so it is the same however many devices there are.
 */
import { LIMITS } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Candidate } from '../scheduler/route.ts';

export interface Part {
  /** Index of its first text in the request. */
  readonly from: number;
  readonly inputs: readonly string[];
}

const FLOAT_BYTES = 4;
/** Nearer to a hard text than to an easy one: it decides when silence is a stall. */
const CHARACTERS_PER_TOKEN = 2;
/** Of devices that have not measured it. */
const UNKNOWN_TOKENS_PER_SECOND = 200;

/** `dimensions`: numbers of one result. No text is longer than the wire's bound on a prompt. */
export function cutParts(inputs: readonly string[], dimensions: number): Part[] {
  const fitting = Math.floor(LIMITS.embedVectorBytesMax / (dimensions * FLOAT_BYTES));
  const inputsMax = Math.max(1, Math.min(HUB_LIMITS.embedPartInputsMax, fitting));
  const parts: Part[] = [];
  let from = 0;
  let bytes = 0;
  for (const [index, input] of inputs.entries()) {
    const more = Buffer.byteLength(input);
    if (index > from && (index - from >= inputsMax || bytes + more > HUB_LIMITS.embedPartBytesMax)) {
      parts.push({ from, inputs: inputs.slice(from, index) });
      from = index;
      bytes = 0;
    }
    bytes += more;
  }
  if (from < inputs.length) parts.push({ from, inputs: inputs.slice(from) });
  return parts;
}

export const estimateTokens = ({ inputs }: Part): number =>
  inputs.reduce((sum, input) => sum + Math.ceil(input.length / CHARACTERS_PER_TOKEN) + 2, 0);

/** Milliseconds until a part of `tokens` would be done, beside what the device does already. */
export function expectedMs(candidate: Candidate, tokens: number): number {
  const speed = candidate.prefillTokensPerSecond ?? UNKNOWN_TOKENS_PER_SECOND;
  return candidate.roundTripMs + ((candidate.active + 1) * tokens * 1_000) / speed;
}

export type PartRoute = { readonly t: 'device'; readonly candidate: Candidate } | { readonly t: 'wait' | 'none' };

/**
 * `embedding`: parts that the device has of this room. One slot of a device that has several is left for answers, for
 * somebody reads those as they come.
 */
export function routePart(
  candidates: readonly Candidate[],
  tokens: number,
  embedding: (device: string) => number,
): PartRoute {
  const able = candidates.filter(
    ({ state, model, features }) =>
      (state === 'ready' || state === 'busy') && model === 'warm' && features.includes('embed'),
  );
  if (able.length === 0) return { t: 'none' };
  const steady = able.filter(({ mistrusted }) => !mistrusted);
  const free = (steady.length > 0 ? steady : able).filter(
    ({ device, active, slots }) => active < slots && embedding(device) < Math.max(1, slots - 1),
  );
  const [first, ...others] = free;
  if (first === undefined) return { t: 'wait' };
  const faster = (best: Candidate, other: Candidate): Candidate =>
    expectedMs(other, tokens) < expectedMs(best, tokens) ? other : best;
  return { t: 'device', candidate: others.reduce(faster, first) };
}
