/**
 * Whether a request is one that its community wants, as far as that can be said without computing: lists and phrases.
 * What takes a classifier is left to whoever can run one. Pure; compiled once for each version of the rules.
 */
import { createPhraseFinder, readTexts, type PhraseFinder, type ReadTexts } from './phrases.ts';
import type { UseProfile, UseRule, UseRules } from './use-rules.ts';

export interface UseAsked {
  readonly model: string;
  /** Absent: none was said. */
  readonly purpose?: string | undefined;
  /** Nobody but the asker's chosen device will read it. */
  readonly isSealed?: boolean | undefined;
  /** Names of the groups that the asker is in. */
  readonly groups: readonly string[];
  /** Id of the asker's key, and its name where it is the community's own; absent: asked without a key. */
  readonly keys?: readonly string[] | undefined;
}

/** Why a request is not wanted. */
export interface UseFault {
  /** `model-denied`, `purpose-denied`, `purpose-missing`, `sealed-refused`, or `rule:ID`. */
  readonly reason: string;
  /** For the person who asked. */
  readonly why: string;
}

export type ClassifierRule = Extract<UseRule, { kind: 'classifier' }>;

export interface UseJudge {
  /** What speaks against the request whatever its text; `except` are reasons that do not hold for this asker. */
  faultOf(asked: UseAsked, except?: ReadonlySet<string>): UseFault | undefined;
  /** What speaks against its text. Throws `use_unjudged` for more text than can be held against so many phrases. */
  faultOfTexts(texts: readonly string[], asked: UseAsked, except?: ReadonlySet<string>): UseFault | undefined;
  /** Rules that take a classifier, for this asker. */
  classifiers(asked: UseAsked, except?: ReadonlySet<string>): readonly ClassifierRule[];
  /** Texts that a conversation of this asker begins with. */
  preambles(asked: Asker): readonly string[];
}

type Asker = Pick<UseAsked, 'groups' | 'keys'>;

/** Whether a profile holds for an asker. */
export const holdsFor = (profile: Pick<UseProfile, 'groups' | 'keys'>, { groups, keys = [] }: Asker): boolean =>
  profile.groups?.some((group) => groups.includes(group)) === true ||
  profile.keys?.some((key) => keys.includes(key)) === true;

const NOTHING: ReadonlySet<string> = new Set();
export const reasonOfRule = (id: string): string => `rule:${id}`;

type Profile = Pick<UseRules, 'models' | 'purposes' | 'rules' | 'sealed'>;

interface Compiled {
  readonly profile: Profile;
  /** The rules for everybody are of none. */
  readonly of: UseProfile | undefined;
  readonly phrases: readonly { readonly id: string; readonly why: string; readonly find: PhraseFinder }[];
  readonly classifiers: readonly ClassifierRule[];
  readonly preamble: string | undefined;
}

export function createUseJudge(rules: UseRules): UseJudge {
  const compile = (profile: Profile, of?: UseProfile): Compiled => ({
    profile,
    of,
    phrases: (profile.rules ?? []).flatMap((rule) =>
      rule.kind === 'phrases' ? [{ id: rule.id, why: rule.why, find: createPhraseFinder(rule.phrases) }] : [],
    ),
    classifiers: (profile.rules ?? []).filter((rule) => rule.kind === 'classifier'),
    preamble: of?.preamble,
  });
  const all = [compile(rules), ...(rules.profiles ?? []).map((profile) => compile(profile, profile))];
  const holding = (asker: Asker): readonly Compiled[] =>
    all.filter(({ of }) => of === undefined || holdsFor(of, asker));

  return {
    faultOf(asked, except = NOTHING) {
      for (const compiled of holding(asked)) {
        const fault = faultsOf(compiled, asked).find(({ reason }) => !except.has(reason));
        if (fault !== undefined) return fault;
      }
      return undefined;
    },
    faultOfTexts(texts, asked, except = NOTHING) {
      let read: ReadTexts | undefined;
      for (const { phrases } of holding(asked)) {
        for (const { id, why, find } of phrases) {
          const reason = reasonOfRule(id);
          if (!except.has(reason) && find((read ??= readTexts(texts))) !== undefined) return { reason, why };
        }
      }
      return undefined;
    },
    classifiers: (asked, except = NOTHING) =>
      holding(asked)
        .flatMap(({ classifiers }) => classifiers)
        .filter(({ id }) => !except.has(reasonOfRule(id))),
    preambles: (asked) => holding(asked).flatMap(({ preamble }) => preamble ?? []),
  };
}

function faultsOf({ profile, of }: Compiled, asked: UseAsked): readonly UseFault[] {
  const { models, purposes, sealed } = profile;
  const { model, purpose, isSealed = false } = asked;
  const faults: UseFault[] = [];
  if (models?.deny?.includes(model) === true || models?.allow?.includes(model) === false) {
    faults.push({ reason: 'model-denied', why: `the model "${model}" is not for this use here` });
  }
  if (purpose === undefined && (purposes?.required === true || purposes?.allow !== undefined)) {
    const some = purposes.allow === undefined ? '' : `, one of ${purposes.allow.join(', ')}`;
    faults.push({ reason: 'purpose-missing', why: `say what it is for in the header Idlewild-Purpose${some}` });
  }
  if (
    purpose !== undefined &&
    (purposes?.deny?.includes(purpose) === true || purposes?.allow?.includes(purpose) === false)
  ) {
    faults.push({ reason: 'purpose-denied', why: `the purpose "${purpose}" is none that is served here` });
  }
  if (isSealed && sealed === 'refused') {
    const who = of === undefined ? 'this community' : `your profile "${of.name}"`;
    faults.push({ reason: 'sealed-refused', why: `${who} takes no end-to-end encrypted prompts` });
  }
  return faults;
}
