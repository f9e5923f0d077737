/** Bounds of people and roles, each with its reason. */
export const PEOPLE_LIMITS = {
  /** A large university; lists of them come in pages. */
  membersMax: 200_000,
  /** Every decision knows all of them: a few megabytes. */
  groupsMax: 2_000,
  rolesMax: 256,
  bindingsMax: 20_000,
  /** Groups that one person is in, and bindings of one person, group or key: what is read to judge one act. */
  groupsOfPersonMax: 128,
  bindingsOfSubjectMax: 128,
  /** Keys that a person has at the same time: one for each program, and some to spare. */
  ownKeysMax: 32,
  /** Devices that an invite of a lender's own lets in, and how long it is good for: a weekend of carrying it around. */
  ownInviteUsesMax: 16,
  ownInviteMsMax: 7 * 86_400_000,
  /** Of names of people, groups and roles: what fits into a column. */
  nameCharactersMax: 64,
  /** Rows of one page of a list. */
  pageRows: 200,
} as const;
