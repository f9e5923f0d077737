/**
 * How every text begins that lets in whoever has it. Whatever must never keep or show one (the audit log, lists of what
 * is stored) asks here, so a new kind of secret stands in this list and nowhere else; a test reads the sources for any
 * that does not. It knows nothing of what each lets do.
 */
export const SECRET_PREFIXES = {
  /** API keys. */
  key: 'iw_',
  /** Of signing in: a session, a one-time link's code, what a program waits with. */
  session: 'iws_',
  link: 'iwl_',
  approval: 'iwa_',
  /** Invites of devices; of the other kind, a steward vouches for whoever joins. */
  invite: 'iwj1.',
  vouchedInvite: 'iwj2.',
  /** With which devices fetch blobs. */
  ticket: 'iwt1.',
} as const;

/** The random part of those that end in an underscore: 256 bits in base32. */
const RANDOM = '[a-z2-7]{52}';

const SECRET = new RegExp(
  Object.values(SECRET_PREFIXES)
    .map((prefix) => (prefix.endsWith('_') ? prefix + RANDOM : prefix.replace('.', '\\.')))
    .join('|'),
);

/** Whether a secret stands anywhere in the text. A prefix alone is none where so short a word could be anybody's. */
export const holdsSecret = (text: string): boolean => SECRET.test(text);
