/** Every bound of signing in, each with its reason. */
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

export const SIGN_IN_LIMITS = {
  /** A browser that nobody used for this long is signed out: a borrowed machine, and a week away. */
  browserIdleMs: 7 * DAY_MS,
  browserMsMax: 30 * DAY_MS,
  /** A program on somebody's own machine is used now and then. */
  programIdleMs: 30 * DAY_MS,
  programMsMax: 90 * DAY_MS,
  /** Half of the second within which an ended session must stop working. */
  freshMs: 500,
  /** When a session was last seen is written down this often. */
  seenEveryMs: MINUTE_MS,
  /** About 300 bytes each; beyond it the one unseen for longest is asked for again. */
  rememberedMax: 4_096,
  /** Browsers and programs of one person; one more ends the one that was unseen for longest. */
  sessionsPerPerson: 32,
  /** Sessions of other communities that are looked at where one browser holds many. */
  sessionsElsewhereMax: 8,
  /** Of one address, of sessions that programs show to be known: a course of twenty joins, each shows one, twice. */
  sessionsShownPerMinute: 60,
  /** So recently a person must have proved who they are to add or remove ways of signing in. */
  recentMs: 15 * MINUTE_MS,
  /** What a browser or program says it is. */
  labelCharactersMax: 80,
  nameCharactersMax: 64,
  /** From choosing a way to sign in to its end: a person, an authenticator or a provider, and its second factor. */
  stepMs: 10 * MINUTE_MS,
  /** An invitation, unless its maker says otherwise; and at most. */
  linkMs: 7 * DAY_MS,
  linkMsMax: 90 * DAY_MS,
  /** A link that signs a member in is as good as the member: it is for now. */
  memberLinkMs: HOUR_MS,
  memberLinkMsMax: 7 * DAY_MS,
  /** Links that are over are told apart from unknown ones for this long. */
  linkForgottenMs: 30 * DAY_MS,
  linksOpenMax: 10_000,
  groupsPerInvitation: 16,
  passkeysPerPerson: 16,
  providersMax: 16,
  identitiesPerPerson: 16,
  /** A program waits this long to be approved, and asks this often. */
  approvalMs: 10 * MINUTE_MS,
  approvalAskMs: 2_000,
  approvalsOpenMax: 1_000,
  /** Of one address, of tries in vain: a family, an office or a class behind one; a person who mistypes needs three. */
  triesPerMinute: 30,
  /** Of one link, passkey or code, whoever tries. */
  triesOnOnePerMinute: 10,
  /** Programs ask every two seconds. */
  asksOnOnePerMinute: 60,
  /** Of one address: several programs that wait, and the page looked at. */
  asksPerMinute: 300,
  /** Failures that are written into the audit log; the rest of a flood is only counted in the log. */
  failuresPerMinute: 30,
  /** Of what a provider says: its description, its keys, a token. */
  providerBytesMax: 65_536,
  providerHeaderBytesMax: 16_384,
  providerMsMax: 10_000,
  /** A provider's description and keys are read again after this. */
  providerFreshMs: 10 * MINUTE_MS,
  /** Between a provider's clock and ours. */
  clockToleranceSeconds: 30,
  subjectCharactersMax: 255,
  secretBytesMax: 1_024,
  admissionsMax: 32,
} as const;
