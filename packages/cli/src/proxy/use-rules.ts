/**
 * The community's rules of use, as far as they can be held against a prompt before it is sealed: lists of models and
 * purposes, and phrases. Nobody behind the proxy could look. What takes a classifier is not judged here, and neither
 * are profiles of groups, of which the hub alone knows who is in them.
 */
import type { OpenAiDoorDeps } from '@idlewild/hub';
import { IdlewildError, createUseJudge, useRulesSchema, type Clock, type UseJudge } from '@idlewild/protocol';

export interface UseRulesDeps {
  /** What the hub answers to `GET /api/use`. Throws what it refuses with. */
  read(): Promise<unknown>;
  readonly clock: Pick<Clock, 'monotonic'>;
}

/** A rule that a steward adds holds here after this. */
const READ_MS = 10_000;

/** Throws `use_refused` with the reason; `use_unjudged` where the rules cannot be read, for then nobody knows. */
export function createUseRules({ read, clock }: UseRulesDeps): OpenAiDoorDeps['judge'] {
  let known: { readonly judge: UseJudge; readonly atMs: number } | undefined;

  async function current(): Promise<UseJudge> {
    const nowMs = clock.monotonic();
    if (known !== undefined && nowMs - known.atMs < READ_MS) return known.judge;
    const parsed = useRulesSchema.safeParse(((await read()) as { readonly rules?: unknown } | undefined)?.rules);
    if (!parsed.success)
      throw new IdlewildError('use_unjudged', "the community's rules of use are not understood here");
    known = { judge: createUseJudge(parsed.data), atMs: nowMs };
    return known.judge;
  }

  return async (_asker, { model, text, texts }) => {
    const judge = await current();
    const asked = { model, purpose: text.cause, isSealed: true, groups: [] };
    const fault = judge.faultOf(asked) ?? judge.faultOfTexts(texts, asked);
    if (fault === undefined) return [];
    throw new IdlewildError('use_refused', fault.why, { details: { reason: fault.reason } });
  };
}
