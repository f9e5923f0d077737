/** Bounds of policies, each with its reason. */
export const POLICY_LIMITS = {
  /** Of one text: a steward reads it in one sitting. */
  textBytesMax: 65_536,
  textsMax: 32,
  /** Each costs a decision that is not known yet a few microseconds. */
  policiesOfTextMax: 64,
  /** Cedar's engine breaks for good between 100 and 150 (`nesting.ts`), and nobody reads ten. */
  bracketsDeepMax: 16,
  /** Operators, dots and brackets of one policy: it breaks between 300 and 400; the elements of a list are none. */
  stepsOfPolicyMax: 192,
  /**
   * Of all texts: bytes of each policy, as JSON, times the actions that it is about. It takes a hub about a second to
   * look through so much, in which it serves no other community; a usual policy is of one action and 600 bytes.
   */
  weightMax: 1_500_000,
  /** How many changes back a text can be seen; older ones are in the audit log by their hash. */
  historyMax: 100,
  /** Decisions that are known, of one state of the policies: about 400 bytes each. */
  decisionsMax: 16_384,
  /** Of people, keys and devices whose standing is known: about a kilobyte each. */
  standingsMax: 4_096,
  /** Devices and keys whose owner and pools are known. */
  thingsMax: 4_096,
  /** Of the reason for a change: a paragraph. */
  whyCharactersMax: 2_000,
  /** Cases of one test of the policies, each of which is a decision. */
  casesMax: 1_000,
} as const;
