/**
 * Whether another device makes the same answer of the same prompt, and what comes of that.
 *
 *   an answer, whole ──► a device that is none of its devices, same numeric class ──► the same work, from the start
 *                          └─ none there: not compared                ├─ every token alike, and the end: verified
 *                                                                     └─ one is another: differs, and is over
 *
 * Within a numeric class the same work gives the same tokens, bit for bit. The second device gets the prompt and not
 * the answer, so it cannot nod, and nothing tells it from any other prompt. It costs a second answer.
 */
import { asIdlewildError, encodeKeptSealed, isSame } from '@idlewild/protocol';
import {
  sealedAnswer,
  type SealedAnswerEvent,
  type SealedDeps,
  type SealedDevice,
  type SealedFinish,
  type SealedRequest,
} from './answer.ts';

export interface Verification {
  readonly result: 'verified' | 'differs' | 'not_compared';
  /** Which made it again. */
  readonly device?: SealedDevice | undefined;
  /** Index of the first token that is another; the answer's length where one of the two is longer. */
  readonly at?: number | undefined;
  /** Of one that was not compared, for people. */
  readonly why?: string | undefined;
}

/** An end, and what a second device made of it. */
export type VerifiedFinish = SealedFinish & { readonly verification?: Verification | undefined };

/** `tokens`: ids of all that came. Throws `cancelled` alone. */
export async function verified(
  deps: SealedDeps,
  request: SealedRequest,
  first: { readonly end: SealedFinish; readonly tokens: readonly number[] },
  signal: AbortSignal | undefined,
): Promise<VerifiedFinish> {
  const { end, tokens } = first;
  const { devices, numericClass = '', exact } = end;
  if (!exact) return notCompared(end, 'devices of different numeric classes made it, or of another than its hub said');
  if (numericClass === '') return notCompared(end, 'its device does not say of which numeric class it is');
  const asked = { ...request, near: undefined, apart: { devices, numericClass } };
  try {
    for await (const event of sealedAnswer(deps, asked, signal)) {
      if (event.t === 'token' && tokens[event.i] !== event.id) return differs(end, event.i);
      if (event.t === 'finished') return ofBoth(end, event);
    }
    return notCompared(end, 'the second answer had no end');
  } catch (thrown) {
    if (signal?.aborted === true) throw thrown;
    return notCompared(end, asIdlewildError(thrown, 'making an answer again').message);
  }
}

const notCompared = (end: SealedFinish, why: string): VerifiedFinish => ({
  ...end,
  verification: { result: 'not_compared', why },
});
const differs = (end: SealedFinish, at: number): VerifiedFinish => ({
  ...end,
  verification: { result: 'differs', at },
});

function ofBoth(end: SealedFinish, other: SealedFinish): VerifiedFinish {
  if (!other.exact) return notCompared(end, 'devices of different numeric classes made it again');
  if (other.answerTokens !== end.answerTokens || other.finish !== end.finish) return differs(end, other.answerTokens);
  const whole = { ...end, verification: { result: 'verified', device: other.devices.at(-1) } as const };
  const [one, two] = [end.proof, other.proof];
  if (one === undefined || two === undefined || !isSame(one.part, two.part)) return whole;
  const again = { hub: two.hub, device: two.device };
  return { ...whole, kept: encodeKeptSealed({ hub: one.hub, device: one.device, again }) };
}

/** The events of an answer; where it is asked for, the end comes once it is verified. */
export async function* withVerification(
  deps: SealedDeps,
  request: SealedRequest,
  signal: AbortSignal | undefined,
): AsyncGenerator<Exclude<SealedAnswerEvent, SealedFinish> | VerifiedFinish, void, undefined> {
  const tokens: number[] = [];
  for await (const event of sealedAnswer(deps, request, signal)) {
    if (event.t === 'token') tokens.push(event.id);
    const isDue = event.t === 'finished' && request.verify === true;
    yield isDue ? await verified(deps, request, { end: event, tokens }, signal) : event;
  }
}
