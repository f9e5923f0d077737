/**
 * What is to run on a lender's machine, told once; `systemd-unit.ts`, `launchd-agent.ts` and `scheduled-task.ts` write
 * it down as each system wants it.
 *
 * Everything in it may have been named by a person: paths with spaces, per cent signs, quotes, any script. What none of
 * the three formats can carry, line ends and other control characters, is refused here.
 */
import { IdlewildError } from '@idlewild/protocol';

export interface ServiceDescription {
  /** For people. */
  readonly title: string;
  /** The whole path of what is started, and its words; of Node, the script is the first. */
  readonly program: string;
  readonly words: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** The folder that it works in. */
  readonly folder: string;
  /** Without this file there is nothing to start. */
  readonly onlyWith: string;
  readonly restart: {
    /** After an end that was not well; it is never given up. */
    readonly afterSeconds: number;
    /** From being told to stop until it is ended. */
    readonly stopSeconds: number;
  };
  readonly limits: {
    /** 0 is usual, 19 the last in the queue. */
    readonly niceness: number;
    /** Of 1 to 10,000, where 100 is usual and the system weighs groups of processes against each other. */
    readonly processorWeight: number;
  };
}

/** What `uninstall` and `status` want to know of an installed service. */
export interface InstalledFacts {
  readonly program: string;
  readonly script: string;
  readonly data: string;
  /** `install` made this user's services run without a login, and `uninstall` is to undo it. */
  readonly linger: boolean;
}

/**
 * The watcher that hands the machine back must come in time: with two programs on two processors, waking up after
 * 50 ms was late by 123 ms (p99) at niceness 19, 14 ms at 10 and 4 ms at 0. What computes, its engines, is held lower
 * than this by the agent itself.
 */
const LIMITS = { niceness: 10, processorWeight: 20 } as const;
/**
 * A start takes half a second; twice a minute it is not felt, and a lender who has just stopped another waits no
 * longer.
 */
const RESTART = { afterSeconds: 30, stopSeconds: 30 } as const;
/** Whom else to trust, and how the system tells: what a hub behind a company's own authority needs. */
const CARRIED = ['NODE_EXTRA_CA_CERTS', 'NODE_USE_SYSTEM_CA', 'SSL_CERT_FILE', 'SSL_CERT_DIR'] as const;

export interface Lending {
  readonly program: string;
  readonly script: string;
  /** The device's folder. */
  readonly data: string;
  /** Its file that says where it joined. */
  readonly joined: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** `idlewild join` without a question: what runs is what was agreed to. Throws `usage`. */
export function describeLending({ program, script, data, joined, env }: Lending): ServiceDescription {
  const environment: Record<string, string> = {};
  for (const name of CARRIED) {
    const value = env[name];
    if (value !== undefined && value !== '') environment[name] = value;
  }
  const words = [script, 'join', '--data', data, '--as-service'];
  for (const text of [program, ...words, joined, ...Object.values(environment)]) refuseUnwritable(text);
  return {
    title: 'Idlewild: lends this machine',
    program,
    words,
    environment,
    folder: data,
    onlyWith: joined,
    restart: RESTART,
    limits: LIMITS,
  };
}

// XML 1.0 has no way to write these, and systemd none in every place.
// oxlint-disable-next-line no-control-regex
const UNWRITABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\ufffe\uffff]/;

function refuseUnwritable(text: string): void {
  if (!UNWRITABLE.test(text) && text.isWellFormed()) return;
  throw new IdlewildError(
    'usage',
    `${JSON.stringify(text)} has a line end or another character that a service cannot be told; rename the folder`,
  );
}

const MARK = 'idlewild-service:';

/** One line for a comment in any of the formats: plain ASCII without what would end a comment. */
export const marked = (facts: InstalledFacts): string =>
  `${MARK} ${JSON.stringify(facts).replace(/[^\u0020-\u007e]|[-<>&%]/g, escaped)}`;

const escaped = (unit: string): string =>
  [...Array(unit.length).keys()].map((at) => `\\u${unit.charCodeAt(at).toString(16).padStart(4, '0')}`).join('');

/** From a text with the line of `marked`; `undefined` where somebody else wrote it. */
export function readMarked(text: string): InstalledFacts | undefined {
  const found = new RegExp(`${MARK} (\\{.*\\})`).exec(text)?.[1];
  if (found === undefined) return undefined;
  try {
    const { program, script, data, linger } = JSON.parse(found) as Partial<InstalledFacts>;
    if (typeof program !== 'string' || typeof script !== 'string' || typeof data !== 'string') return undefined;
    return { program, script, data, linger: linger === true };
  } catch {
    return undefined; // A hand was at it; what is not ours is not guessed at.
  }
}
