/**
 * The guard: every piece of work is held against what the lender signed, whatever the hub says.
 *
 * A device opens its consent once, at its start, and believes nothing else about what it may do. The guard refuses by
 * returning the error, so that a refusal is an ordinary event. It knows no hub, no model, no engine and no clock: the
 * local time is told to it, and where nobody can tell, a lender who named hours is not worked for.
 */
import {
  CONSENT_UNSAID,
  IdlewildError,
  consentSchema,
  equalBytes,
  openStatement,
  signStatement,
  type Clock,
  type Consent,
  type Crypto,
  type DataClass,
  type KeyPair,
  type WorkKind,
} from '@idlewild/protocol';
import { faultText } from './lending/terms/fault-text.ts';
import { hoursText, isWithin, type LocalTime } from './lending/terms/hours.ts';

/** What a lender chooses; `signConsent` makes a statement of it. A limit that is absent is none. */
export interface ConsentChoice {
  readonly territories: readonly Uint8Array[];
  readonly kinds: readonly WorkKind[];
  readonly presence: 'ignore' | 'respect';
  readonly tokensPerSecondMax?: number | undefined;
  /** Bytes of models on the disk. */
  readonly diskBytesMax?: number | undefined;
  /** For giving blobs to other devices; 0 is not at all. */
  readonly uploadBytesPerSecondMax?: number | undefined;
  /** Data that may be seen here; absent: public and internal. */
  readonly classes?: readonly DataClass[] | undefined;
  /** Slugs: for these alone; none, or absent: for any that is not refused. */
  readonly causes?: readonly string[] | undefined;
  /** Slugs: never for these. */
  readonly refused?: readonly string[] | undefined;
  readonly hours?: Consent['hours'] | undefined;
  /** Of the processors, 0 to 1. */
  readonly cpuShareMax?: number | undefined;
  /** Resident bytes of all engines together. */
  readonly memoryBytesMax?: number | undefined;
  readonly downloadBytesPerSecondMax?: number | undefined;
  /** Absent: never. */
  readonly gpu?: Consent['gpu'] | undefined;
  readonly celsiusMax?: number | undefined;
  readonly wattHoursPerDayMax?: number | undefined;
}

/** What a hub says of the text that it hands out. */
export interface TextAsked {
  /** Absent: internal. */
  readonly dataClass?: DataClass | undefined;
  readonly cause?: string | undefined;
}

export interface WorkAsked {
  readonly kind: WorkKind;
  /** The territory whose hub asks: the one this session was proved for. */
  readonly territory: Uint8Array;
  /** Where the device is, now. */
  readonly local?: LocalTime | undefined;
  /** Of work that shows the device somebody's text. A model is nobody's. */
  readonly text?: TextAsked | undefined;
  /** Of a model that is to lie here: all its bytes. */
  readonly diskBytes?: number | undefined;
  /** Something of what lies here goes to another device. */
  readonly gives?: boolean | undefined;
}

/** The error to refuse `work` with now, or `undefined` when the lender consents to it. */
export function refusalOf(consent: Consent, work: WorkAsked): IdlewildError | undefined {
  const lasting = forbidden(consent, work);
  if (lasting !== undefined) return lasting;
  const { hours } = consent;
  if (hours === undefined || (work.local !== undefined && isWithin(hours, work.local))) return undefined;
  return refuse(`lends at other hours than now: ${hoursText(hours)}`);
}

/** The same whatever the hour: what is forbidden so is never going to be allowed, until the lender signs anew. */
export function forbidden(consent: Consent, work: WorkAsked): IdlewildError | undefined {
  if (!consent.territories.some((territory) => equalBytes(territory, work.territory))) {
    return refuse('does not consent to work for this territory');
  }
  if (!consent.kinds.includes(work.kind)) {
    return refuse(`does not consent to ${work.kind}; it lends for ${listed(consent.kinds)}`);
  }
  return (work.text === undefined ? undefined : forbiddenText(consent, work.text)) ?? forbiddenBytes(consent, work);
}

function forbiddenText({ classes, causes, refused }: Consent, text: TextAsked): IdlewildError | undefined {
  const { dataClass = 'internal', cause } = text;
  if (!classes.includes(dataClass)) {
    return refuse(`does not consent to ${dataClass} data; this device may see ${listed(classes)}`);
  }
  if (cause !== undefined && refused.includes(cause)) return refuse(`refuses work for "${cause}"`);
  if (causes.length === 0 || (cause !== undefined && causes.includes(cause))) return undefined;
  const asked = cause === undefined ? 'no cause was said' : `this is for "${cause}"`;
  return refuse(`consents to work for ${listed(causes)} alone, and ${asked}`);
}

function forbiddenBytes(
  { diskBytesMax, uploadBytesPerSecondMax }: Consent,
  work: WorkAsked,
): IdlewildError | undefined {
  const { diskBytes = 0, gives = false } = work;
  if (diskBytesMax !== undefined && diskBytes > diskBytesMax) {
    return refuse(`lends ${diskBytesMax} bytes of disk, and the model has ${diskBytes}`);
  }
  return gives && uploadBytesPerSecondMax === 0 ? refuse('gives nothing to other devices') : undefined;
}

/** What engines say they compute on where it is no graphics card. */
const PROCESSORS = 'cpu';

/**
 * The error to refuse computing on `provider` with now. `isIdle`: nobody uses the machine, as its idleness says, which
 * is more than that nothing pauses it. Processors are bounded in other ways, and refused by nobody here.
 */
export function refusalOfProvider(
  { gpu }: Pick<Consent, 'gpu'>,
  provider: string,
  isIdle: boolean,
): IdlewildError | undefined {
  if (provider === PROCESSORS || gpu === 'always' || (gpu === 'idle' && isIdle)) return undefined;
  const how = gpu === 'never' ? 'lends no graphics card' : 'lends a graphics card only while nobody uses the machine';
  return refuse(`${how}, and ${provider} is one`);
}

/** Bytes of models on the disk. Throws `internal` for a store that would take more than is lent. */
export function lentBytes({ diskBytesMax }: Consent, { quotaBytes }: { readonly quotaBytes: number }): number {
  if (diskBytesMax === undefined || quotaBytes <= diskBytesMax) return quotaBytes;
  throw new IdlewildError('internal', `the store takes ${quotaBytes} bytes, and the lender lends ${diskBytesMax}`);
}

const refuse = (why: string): IdlewildError => new IdlewildError('consent_refused', `the lender of this device ${why}`);

const listed = (words: readonly string[]): string => words.join(', ') || 'nothing';

/**
 * The signed statement that goes to the hub and onto the disk. Throws `invalid_request` for what nobody could open
 * again: a figure beyond its bounds is told before it is signed.
 */
export async function signConsent(
  { territories, kinds, presence, classes, causes, refused, gpu, ...limits }: ConsentChoice,
  identity: KeyPair,
  clock: Clock,
  crypto: Crypto,
): Promise<Uint8Array> {
  const statement: Consent = {
    ...Object.fromEntries(Object.entries(limits).filter(([, limit]) => limit !== undefined)),
    v: 2,
    device: identity.publicKey,
    territories: [...territories],
    kinds: [...kinds],
    presence,
    classes: [...(classes ?? CONSENT_UNSAID.classes)],
    causes: [...(causes ?? CONSENT_UNSAID.causes)],
    refused: [...(refused ?? CONSENT_UNSAID.refused)],
    gpu: gpu ?? CONSENT_UNSAID.gpu,
    // Statements carry whole milliseconds; a clock may count finer.
    issuedAtMs: Math.floor(clock.now()),
  };
  const { error } = consentSchema.safeParse(statement);
  if (error !== undefined) throw new IdlewildError('invalid_request', `a consent is wrong at ${faultText(error)}`);
  return signStatement('consent', statement, identity, crypto);
}

/** Opens a consent that `device` itself signed. Throws `signature_invalid` or `frame_invalid`. */
export async function openConsent(signed: Uint8Array, device: Uint8Array, crypto: Crypto): Promise<Consent> {
  const { statement } = await openStatement('consent', signed, consentSchema, crypto, device);
  if (!equalBytes(statement.device, device)) {
    throw new IdlewildError('signature_invalid', 'the consent is of another device');
  }
  return statement;
}
