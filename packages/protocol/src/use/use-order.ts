/**
 * Rules of use that look at texts, for a prompt that the hub cannot look at: what holds for one asker, as the caller
 * binds it into the seal and the device judges by it after opening.
 *
 *   steward ──signs──► rules, by version ──the caller checks──► order ──bound into the seal──► the device judges
 *
 * Each verdict tells the hub one thing of a text that it cannot read. So the hub makes up no rule: stewards sign them,
 * with what a classifier's name stands for, and a device opens nothing under another order than the caller saw. Which
 * profiles and exemptions hold for the asker is the hub's word, among what was signed.
 */
import { z } from 'zod';
import { equalBytes } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { openStatement, signStatement } from '../identity/signed.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto, KeyPair } from '../ports.ts';
import { bytes32 } from '../wire/byte-fields.ts';
import { causeSchema } from '../wire/purpose.ts';
import { encodeCbor } from '../wire/frame.ts';
import { reasonOfRule } from './judge.ts';
import { createPhraseFinder, readTexts } from './phrases.ts';
import { useRulesSchema, type UseRules } from './use-rules.ts';

const label = z.int().min(0).max(65_535);
const cid = z.string().min(8).max(128);

/** What a rule's classifier and labels stood for when a steward signed it. */
const classifierMeaningSchema = z.object({
  rule: causeSchema,
  model: cid,
  /** Places of the rule's labels among the model's. */
  labels: z.array(label).min(1).max(LIMITS.useLabelsMax),
});
export type ClassifierMeaning = z.infer<typeof classifierMeaningSchema>;

/** "These are our rules, of this version." Signed by a steward. */
export const signedRulesSchema = z.object({
  v: z.literal(1),
  territory: bytes32,
  version: z.int().min(1),
  rules: useRulesSchema,
  classifiers: z.array(classifierMeaningSchema).max(LIMITS.useRulesMax * (LIMITS.useProfilesMax + 1)),
  issuedAtMs: z.int().min(0),
  /** What was signed for good has none. A hub that shows nothing newer can hold callers to it no longer than this. */
  expiresAtMs: z.int().min(0).optional(),
});
export type SignedRules = z.infer<typeof signedRulesSchema>;

export const signUseRules = (said: Omit<SignedRules, 'v'>, steward: KeyPair, crypto: Crypto): Promise<Uint8Array> =>
  signStatement('use-rules', { v: 1, ...said }, steward, crypto);

/** Who signed is for the caller to judge. Throws `signature_invalid` or `frame_invalid`, also for another territory. */
export async function openUseRules(
  carried: Uint8Array,
  territory: Uint8Array,
  crypto: Crypto,
): Promise<{ readonly said: SignedRules; readonly steward: Uint8Array }> {
  const { statement, key } = await openStatement('use-rules', carried, signedRulesSchema, crypto);
  if (!equalBytes(statement.territory, territory))
    throw new IdlewildError('signature_invalid', 'the rules of use were signed for another community');
  return { said: statement, steward: key };
}

/** Whether a steward's word for rules has ended; clocks may differ a little. */
export const areRulesOver = ({ expiresAtMs }: Pick<SignedRules, 'expiresAtMs'>, nowMs: number): boolean =>
  expiresAtMs !== undefined && nowMs > expiresAtMs + LIMITS.clockSkewMs;

/**
 * Whether one statement came before another. Of two of one version the later one counts: a steward who signed again
 * before the first was applied meant the second.
 */
export const areRulesOlder = (
  one: Pick<SignedRules, 'version' | 'issuedAtMs'>,
  other: Pick<SignedRules, 'version' | 'issuedAtMs'>,
): boolean => one.version < other.version || (one.version === other.version && one.issuedAtMs < other.issuedAtMs);

export const useOrderSchema = z.object({
  phrases: z.array(z.object({ rule: causeSchema, phrases: z.array(z.string().max(LIMITS.usePhraseCharactersMax)) })),
  classifiers: z.array(classifierMeaningSchema.extend({ threshold: z.number().gt(0).max(1) })),
  /** Conversations begin with these. */
  preambles: z.array(z.string().max(LIMITS.usePreambleCharactersMax)),
});
export type UseOrder = z.infer<typeof useOrderSchema>;

/** What of the rules holds for an asker. */
export interface UseHolding {
  /** Names of the profiles that do. */
  readonly profiles: readonly string[];
  /** Reasons that do not. */
  readonly except: readonly string[];
}

/** Whether a text is to be looked at, or begun, for anybody at all. */
export const looksAtTexts = ({ rules = [], profiles = [] }: UseRules): boolean =>
  rules.length > 0 || profiles.some((profile) => (profile.rules ?? []).length > 0 || profile.preamble !== undefined);

/**
 * What a text of this asker is judged by; `undefined` where nothing is to be looked at. Throws `use_unjudged` for rules
 * that are too long to go with a prompt, and for a classifier of which nobody said what it is.
 */
export function useOrderOf(
  { rules, classifiers }: Pick<SignedRules, 'rules' | 'classifiers'>,
  { profiles, except }: UseHolding,
): UseOrder | undefined {
  const own = (rules.profiles ?? []).filter(({ name }) => profiles.includes(name));
  const all = [rules, ...own]
    .flatMap((each) => each.rules ?? [])
    .filter(({ id }) => !except.includes(reasonOfRule(id)));
  const order: UseOrder = {
    phrases: all.flatMap((each) => (each.kind === 'phrases' ? [{ rule: each.id, phrases: each.phrases }] : [])),
    classifiers: all.flatMap((each) => {
      if (each.kind !== 'classifier') return [];
      const meaning = classifiers.find(({ rule }) => rule === each.id);
      if (meaning === undefined) throw unjudged(`nobody signed what the classifier of the rule "${each.id}" is`);
      return [{ ...meaning, threshold: each.threshold }];
    }),
    preambles: own.flatMap(({ preamble }) => preamble ?? []),
  };
  if (Object.values(order).every(({ length }) => length === 0)) return undefined;
  if (encodeCbor(order).length > LIMITS.useOrderBytesMax) throw unjudged('they are too long to go with each prompt');
  return order;
}

const unjudged = (why: string): IdlewildError =>
  new IdlewildError(
    'use_unjudged',
    `encrypted prompts cannot be held to this community's rules of use: ${why}; tell a steward, or ask in the open`,
  );

/** The rule of phrases that speaks against one of the texts, by its id. Throws `use_unjudged` as judges do. */
export function phraseFault({ phrases }: UseOrder, texts: readonly string[]): string | undefined {
  if (phrases.length === 0) return undefined;
  const read = readTexts(texts);
  return phrases.find((each) => createPhraseFinder(each.phrases)(read) !== undefined)?.rule;
}

/** Whether a classifier's probabilities of one text speak against it. */
export const isOver = (
  { labels, threshold }: UseOrder['classifiers'][number],
  probabilities: ArrayLike<number>,
): boolean => labels.reduce((sum, at) => sum + (probabilities[at] ?? 0), 0) >= threshold;
