/**
 * Whether another device makes the same answer of the same prompt, and what comes of that.
 *
 *   an answer, whole ──► a device that is none of its devices, same numeric class ──► the same work, from the start
 *                          └─ none there: not compared                ├─ every token alike, and the end: verified
 *                                                                     ├─ a decoy came back: not compared
 *                                                                     └─ one is another: differs, and is over
 *
 * Within a numeric class the same work gives the same tokens, bit for bit. To score is to give the answer along as a
 * draft, which a device runs many tokens at once: cheap, and what it says is still its own. That it does not just nod,
 * decoys show (`decoys.ts`). Made again, it gets the prompt alone: then it cannot nod, nothing tells it
 * from any other prompt, and it costs a second answer. A device that knows no drafts does that in any case.
 */
import { asIdlewildError, codeOf, encodeKeptSealed, isSame, promptBucket } from '@idlewild/protocol';
import type { Verify } from '../shapes/answers.ts';
import {
  sealedAnswer,
  type SealedAnswerEvent,
  type SealedDeps,
  type SealedDevice,
  type SealedFinish,
  type SealedRequest,
} from './answer.ts';
import { withDecoys, type Decoyed } from './decoys.ts';

export interface Verification {
  readonly result: 'verified' | 'differs' | 'not_compared';
  /** Which made it again; also one that did not, and said that it had. */
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
  first: { readonly end: SealedFinish; readonly tokens: readonly number[]; readonly how: Verify },
  signal: AbortSignal | undefined,
): Promise<VerifiedFinish> {
  const { end, tokens, how } = first;
  const { devices, numericClass = '', exact } = end;
  if (!exact) return notCompared(end, 'devices of different numeric classes made it, or of another than its hub said');
  if (numericClass === '') return notCompared(end, 'its device does not say of which numeric class it is');
  const decoyed = how === 'score' ? draftOf(request, tokens, deps) : undefined;
  const work = { ...request.work, ...(decoyed === undefined ? {} : { draft: [...decoyed.draft] }) };
  const asked = { ...request, work, near: undefined, apart: { devices, numericClass } };
  /** The first decoy that came back. */
  let repeated: number | undefined;
  try {
    for await (const event of sealedAnswer(deps, asked, signal)) {
      if (event.t === 'finished') return repeated === undefined ? ofBoth(end, event) : nodded(end, event);
      if (event.t !== 'token') continue;
      const { i, id } = event;
      // By chance a decoy is what the second one makes as well: then it goes on otherwise than it was told.
      if (repeated === undefined ? tokens[i] === id : decoyed?.draft[i] === id) continue;
      if (repeated !== undefined || !decoyed?.places.has(i) || decoyed.draft[i] !== id)
        return differs(end, repeated ?? i);
      repeated = i;
    }
    return notCompared(end, 'the second answer had no end');
  } catch (thrown) {
    if (signal?.aborted === true) throw thrown;
    return notCompared(end, asIdlewildError(thrown, 'making an answer again').message);
  }
}

/** What does not fit a sealed prompt, with the tokens of a device that is lost, is left out: then it is made again. */
function draftOf({ work }: SealedRequest, tokens: readonly number[], { random }: SealedDeps): Decoyed | undefined {
  const decoyed = withDecoys(tokens, random);
  if (decoyed === undefined) return undefined;
  try {
    promptBucket({ ...work, draft: [...decoyed.draft], tokens: [...tokens] });
    return decoyed;
  } catch (thrown) {
    if (codeOf(thrown) === 'body_too_large') return undefined;
    throw thrown;
  }
}

const notCompared = (end: SealedFinish, why: string): VerifiedFinish => ({
  ...end,
  verification: { result: 'not_compared', why },
});
/** It says nothing of the answer, and much of the device. */
const nodded = (end: SealedFinish, { devices }: SealedFinish): VerifiedFinish => ({
  ...end,
  verification: {
    result: 'not_compared',
    device: devices.at(-1),
    why: `the second device, ${devices.at(-1)?.name}, repeated what it was told instead of computing it`,
  },
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
    const how = request.verify === true ? 'score' : request.verify;
    const isDue = event.t === 'finished' && how !== undefined && how !== false;
    yield isDue ? await verified(deps, request, { end: event, tokens, how }, signal) : event;
  }
}
