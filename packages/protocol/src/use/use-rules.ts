/**
 * What a community wants its commons not to be used for, as data: lists of models and purposes, rules on prompts, and
 * profiles that are stricter for some groups and keys. A community that says nothing has none of it.
 *
 * Rules of phrases are matched by whole words and not by regular expressions: a steward can read what they mean, and
 * nobody can write one that stops a hub. Whoever seals prompts holds them against the same rules before sealing.
 */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { causeSchema } from '../wire/purpose.ts';

const slug = causeSchema;
const modelName = z.string().min(1).max(LIMITS.nameCharactersMax);
/** For the person who is refused. */
const why = z.string().min(1).max(LIMITS.useReasonCharactersMax);

const useRuleSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('phrases'),
    id: slug,
    /** Words in a row; `*` at the end or the beginning of a word stands for any letters. */
    phrases: z
      .array(
        z
          .string()
          .regex(/[\p{L}\p{N}]/u, 'must hold a letter or a digit')
          .max(LIMITS.usePhraseCharactersMax),
      )
      .min(1)
      .max(LIMITS.usePhrasesMax),
    why,
  }),
  z.strictObject({
    kind: z.literal('classifier'),
    id: slug,
    /** A classifier of the same community. */
    model: modelName,
    labels: z.array(z.string().min(1).max(LIMITS.nameCharactersMax)).min(1).max(LIMITS.useLabelsMax),
    /** Refused from this probability on, of all these labels together. */
    threshold: z.number().gt(0).max(1),
    why,
  }),
]);
export type UseRule = z.infer<typeof useRuleSchema>;

const whose = z.array(z.string().min(1).max(LIMITS.nameCharactersMax)).min(1).max(LIMITS.useListMax);

const listOf = (entry: z.ZodString) =>
  z.strictObject({
    /** Absent: any that is not denied. */
    allow: z.array(entry).max(LIMITS.useListMax).optional(),
    deny: z.array(entry).max(LIMITS.useListMax).optional(),
  });

const profileFields = {
  models: listOf(modelName).optional(),
  /** `required`: who says no purpose is refused. */
  purposes: listOf(slug).extend({ required: z.boolean().optional() }).optional(),
  rules: z.array(useRuleSchema).max(LIMITS.useRulesMax).optional(),
};

export const useRulesSchema = z
  .strictObject({
    v: z.literal(1),
    ...profileFields,
    /** Of prompts that nobody here can read; absent: allowed. */
    sealed: z.enum(['allowed', 'refused']).optional(),
    /** For members of these groups and for these keys, besides: an age-appropriate mode is one. */
    profiles: z
      .array(
        z.strictObject({
          name: slug,
          groups: whose.optional(),
          /** Ids of keys, or names of the community's own: a kiosk's, a library page's. */
          keys: whose.optional(),
          ...profileFields,
          sealed: z.enum(['allowed', 'refused']).optional(),
          /** What every conversation begins with, as a system message before all others. */
          preamble: z.string().min(1).max(LIMITS.usePreambleCharactersMax).optional(),
        }),
      )
      .max(LIMITS.useProfilesMax)
      .optional(),
  })
  .superRefine((rules, context) => {
    const all = [rules, ...(rules.profiles ?? [])].flatMap((profile) => (profile.rules ?? []).map(({ id }) => id));
    const twice = all.find((id, index) => all.indexOf(id) !== index);
    if (twice !== undefined) context.addIssue({ code: 'custom', message: `the id "${twice}" stands twice` });
    const empty = rules.profiles?.find(({ groups, keys }) => groups === undefined && keys === undefined);
    if (empty === undefined) return;
    context.addIssue({ code: 'custom', message: `the profile "${empty.name}" names neither groups nor keys` });
  });
export type UseRules = z.infer<typeof useRulesSchema>;
export type UseProfile = NonNullable<UseRules['profiles']>[number];

/** What a community has that never said anything. */
export const NO_USE_RULES: UseRules = { v: 1 };
