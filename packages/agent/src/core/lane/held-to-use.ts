/**
 * Rules of use, held against a prompt that was sealed to this device: it is the first that can look. The order is what
 * its caller bound into the seal, so neither the caller nor the hub changed it; whose rules those are, its caller
 * checked.
 *
 * What is found is a rule's name and no more. A classifier runs in the lane as any other work; where it cannot answer,
 * nothing is let past.
 */
import {
  IdlewildError,
  LIMITS,
  begunWith,
  isOver,
  phraseFault,
  textsOfPrompt,
  type AnswerWork,
  type ErrorCode,
  type UseOrder,
} from '@idlewild/protocol';

/** Probabilities of all labels of this classifier, for each text. */
export type ClassifyHere = (model: string, inputs: readonly string[]) => Promise<readonly ArrayLike<number>[]>;

/** No other device would do better. */
const UNABLE: ReadonlySet<string> = new Set<ErrorCode>(['context_length_exceeded', 'model_unsupported']);

/**
 * The work as it may be done. Throws `use_refused` with the `rule` in its details, or none where a profile wants a
 * conversation; `use_unjudged`; and what the lane refuses a classifier's work with.
 */
export async function heldToUse(work: AnswerWork, order: UseOrder, classify: ClassifyHere): Promise<AnswerWork> {
  const texts = textsOfPrompt(work.prompt);
  const said = phraseFault(order, texts);
  if (said !== undefined) throw refused(said);
  for (const classifier of order.classifiers) {
    for (let at = 0; at < texts.length; at += LIMITS.embedInputsMax) {
      const inputs = texts.slice(at, at + LIMITS.embedInputsMax);
      const all = await classify(classifier.model, inputs).catch(asUnjudged);
      if (all.some((probabilities) => isOver(classifier, probabilities))) throw refused(classifier.rule);
    }
  }
  return { ...work, prompt: begunWith(work.prompt, order.preambles) };
}

const refused = (rule: string): IdlewildError =>
  new IdlewildError('use_refused', `the rule "${rule}" speaks against it`, { details: { rule } });

function asUnjudged(thrown: unknown): never {
  if (thrown instanceof IdlewildError && UNABLE.has(thrown.code))
    throw new IdlewildError('use_unjudged', `a classifier cannot judge it: ${thrown.message}`, { cause: thrown });
  throw thrown;
}
