/**
 * The one error class and the one table of codes.
 *
 * Code tests `error.code`, never `instanceof`: errors cross wires and package copies. A code's meaning and
 * status never change once released; docs/errors.md is generated from this table and a test holds it there.
 */

interface ErrorEntry {
  /** HTTP status a caller sees when the error reaches the gateway. */
  readonly status: number;
  /** Whether the same request may succeed later, unchanged. */
  readonly retryable: boolean;
  readonly meaning: string;
}

export const ERRORS = {
  invalid_request: { status: 400, retryable: false, meaning: 'The request is malformed: the message names the field.' },
  unsupported_field: {
    status: 400,
    retryable: false,
    meaning: 'A field that this hub does not support; it is never ignored silently.',
  },
  context_length_exceeded: {
    status: 400,
    retryable: false,
    meaning: 'Prompt and requested tokens do not fit the context of the model.',
  },
  unauthenticated: { status: 401, retryable: false, meaning: 'No key, or a key that is unknown, expired or revoked.' },
  forbidden: {
    status: 403,
    retryable: false,
    meaning: 'The policy denies this; the message and error.details say which policy decided and what would be needed.',
  },
  model_stopped: {
    status: 403,
    retryable: false,
    meaning: 'A steward stopped this model: it answers nobody until it is allowed again. The message says why.',
  },
  community_closed: {
    status: 403,
    retryable: false,
    meaning:
      'The community of this key or session is closed on this hub; the message says since when and who can help.',
  },
  policy_invalid: {
    status: 400,
    retryable: false,
    meaning: 'A policy that does not parse or does not fit the schema; the message says where. Nothing was changed.',
  },
  use_refused: {
    status: 403,
    retryable: false,
    meaning: "The community's rules of use refuse this request; the message says why and how to appeal.",
  },
  use_unjudged: {
    status: 503,
    retryable: true,
    meaning: 'A rule of use asks a classifier that no device could answer for; nothing passes a rule unseen.',
  },
  not_found: { status: 404, retryable: false, meaning: 'No such route or thing.' },
  model_not_found: { status: 404, retryable: false, meaning: 'The territory has no model of that name.' },
  conflict: {
    status: 409,
    retryable: false,
    meaning: 'The thing exists already, or is in a state that does not allow this.',
  },
  body_too_large: { status: 413, retryable: false, meaning: 'The request body is over the limit of this hub.' },
  unsupported_media_type: {
    status: 415,
    retryable: false,
    meaning: 'The body is not of a content type that this route reads.',
  },
  too_busy: {
    status: 429,
    retryable: true,
    meaning: 'Every queue that could take the request is full; see Retry-After.',
  },
  rate_limit_exceeded: {
    status: 429,
    retryable: true,
    meaning: 'The key asks for more in a minute than its limit; see Retry-After and the x-ratelimit-* headers.',
  },
  allocation_spent: {
    status: 429,
    retryable: false,
    meaning: 'The project has no allocation that pays for this; the message says what is left and how to ask for more.',
  },
  spend_cap: {
    status: 429,
    retryable: false,
    meaning: 'A cap of the day is reached; the message says whose, what is left, and when it renews.',
  },
  idempotency_conflict: {
    status: 409,
    retryable: false,
    meaning: 'The Idempotency-Key was used for another request already.',
  },
  cancelled: { status: 499, retryable: true, meaning: 'The caller hung up or cancelled.' },
  internal: {
    status: 500,
    retryable: true,
    meaning: 'A fault of ours; the log holds the details under the request id.',
  },
  no_device: {
    status: 503,
    retryable: true,
    meaning: 'No device may take the request now; the message says why for each group of devices.',
  },
  hub_stopping: { status: 503, retryable: true, meaning: 'The hub is shutting down.' },
  hub_restarted: {
    status: 503,
    retryable: true,
    meaning: 'The hub stopped while the request was open; its answer was not finished.',
  },
  attempts_exhausted: { status: 502, retryable: true, meaning: 'Several devices in turn failed on the same request.' },
  deadline_exceeded: { status: 504, retryable: true, meaning: 'The request took longer than its deadline.' },

  handshake_refused: {
    status: 400,
    retryable: false,
    meaning: 'Hub and device could not agree on a session; the message says what was wrong.',
  },
  version_unsupported: { status: 400, retryable: false, meaning: 'The two sides share no protocol version.' },
  hub_untrusted: {
    status: 400,
    retryable: false,
    meaning: 'The hub did not prove that it belongs to the territory that the device pins.',
  },
  pin_mismatch: {
    status: 400,
    retryable: false,
    meaning: 'The TLS key of the server is not the one pinned in the invite.',
  },
  join_token_invalid: { status: 401, retryable: false, meaning: 'The join token is unknown, used up or expired.' },
  device_revoked: { status: 403, retryable: false, meaning: 'The steward revoked this device.' },
  superseded: {
    status: 409,
    retryable: false,
    meaning: 'The same identity connected again; the older connection was dropped.',
  },
  frame_invalid: {
    status: 400,
    retryable: false,
    meaning: 'A frame that is not valid CBOR, breaks its schema, or carries an unknown critical field.',
  },
  frame_too_large: { status: 413, retryable: false, meaning: 'A frame over the size limit.' },
  signature_invalid: {
    status: 400,
    retryable: false,
    meaning: 'A signature does not verify over the bytes that were carried.',
  },
  device_unvouched: {
    status: 502,
    retryable: false,
    meaning: 'A hub named a device or a key for a sealed prompt that no trusted steward vouches for; nothing was sent.',
  },
  offer_expired: {
    status: 409,
    retryable: true,
    meaning: 'The offer of a device for a sealed prompt is over or was used; take a new one.',
  },
  sealed_unopened: {
    status: 409,
    retryable: true,
    meaning: 'A sealed prompt does not open on its device: another key, other terms, or changed on its way.',
  },
  sealed_broken: {
    status: 502,
    retryable: false,
    meaning: 'A sealed answer was changed, reordered or cut on its way.',
  },
  disconnected: { status: 503, retryable: true, meaning: 'The other side of the channel is gone.' },
  stalled: { status: 504, retryable: true, meaning: 'A device stopped making progress on an answer.' },

  consent_refused: {
    status: 403,
    retryable: false,
    meaning: 'The lender of the device does not consent to this work.',
  },
  not_running: { status: 503, retryable: true, meaning: 'The device of this folder does not run at the moment.' },
  device_paused: { status: 503, retryable: true, meaning: 'The lender paused the device.' },
  device_full: { status: 429, retryable: true, meaning: 'The device has no free slot for another answer.' },
  model_not_ready: {
    status: 503,
    retryable: true,
    meaning: 'The device does not have the model loaded at this moment.',
  },
  engine_failed: { status: 502, retryable: true, meaning: 'The engine process of a device failed or was killed.' },

  model_invalid: {
    status: 400,
    retryable: false,
    meaning: 'A model folder or manifest that cannot be read; the message names the file.',
  },
  model_unsupported: {
    status: 400,
    retryable: false,
    meaning: 'A model whose architecture or operators the engine does not run; the message names them.',
  },
  model_refused: { status: 400, retryable: false, meaning: 'A graph that fails the safety checks of the device.' },

  blob_not_found: { status: 404, retryable: true, meaning: 'No source holds the block.' },
  blob_mismatch: { status: 502, retryable: true, meaning: 'Bytes that do not match their CID; the source is blamed.' },
  blob_invalid: {
    status: 400,
    retryable: false,
    meaning: 'A file tree or layout that breaks its own claims; the message says where.',
  },
  blob_too_large: { status: 413, retryable: false, meaning: 'A block over the size limit.' },
  quota_exceeded: { status: 507, retryable: false, meaning: 'The storage quota does not leave room.' },
  disk_full: { status: 507, retryable: true, meaning: 'The disk is full.' },

  database_unavailable: {
    status: 503,
    retryable: true,
    meaning: 'The database does not answer. Nothing was changed, or the message says that this is not known.',
  },
  bus_down: { status: 503, retryable: true, meaning: 'This replica cannot reach the others.' },
  bus_no_responder: { status: 503, retryable: true, meaning: 'No replica listens for this at the moment.' },
  bus_timeout: { status: 503, retryable: true, meaning: 'Another replica did not answer in time.' },
  duty_lost: { status: 503, retryable: true, meaning: 'Another replica has this duty now; nothing was changed.' },
  run_taken_over: {
    status: 503,
    retryable: true,
    meaning: 'Another replica took this request over; asked again with its Idempotency-Key it goes on there.',
  },
  lease_unknown: {
    status: 503,
    retryable: true,
    meaning: 'The device has no such attempt, or no longer; another attempt is made.',
  },
  data_locked: { status: 500, retryable: false, meaning: 'Another process uses this data directory.' },
  audit_broken: {
    status: 500,
    retryable: false,
    meaning: 'An audit log, a copy of one or a proof from one does not hold; the message says where.',
  },
  data_corrupt: {
    status: 500,
    retryable: false,
    meaning: 'A file of the data directory is damaged; the message says which, and the way out.',
  },
  port_in_use: { status: 500, retryable: false, meaning: 'Another program listens on that port.' },
  hub_unreachable: { status: 503, retryable: true, meaning: 'The hub does not answer at that address.' },
  source_unreachable: {
    status: 502,
    retryable: true,
    meaning: 'Where a model is to be fetched from, such as Hugging Face, does not answer, or not as it should.',
  },
  usage: { status: 400, retryable: false, meaning: 'The command line is off; the message says how to write it.' },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorOptions {
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** The message says what was attempted, on what, what was seen, and what to do next. */
export class IdlewildError extends Error {
  override readonly name = 'IdlewildError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}

export const isErrorCode = (code: unknown): code is ErrorCode =>
  typeof code === 'string' && Object.hasOwn(ERRORS, code);

/** The code of anything thrown; `undefined` for what is not ours. */
export function codeOf(thrown: unknown): ErrorCode | undefined {
  const code = (thrown as { code?: unknown } | null | undefined)?.code;
  return isErrorCode(code) ? code : undefined;
}

/** What anything thrown says. */
export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));

/** What was thrown, as an `IdlewildError`: ours unchanged, anything else wrapped as `internal`. */
export function asIdlewildError(thrown: unknown, attempted: string): IdlewildError {
  if (thrown instanceof IdlewildError) return thrown;
  const code = codeOf(thrown);
  const message = messageOf(thrown);
  if (code !== undefined) return new IdlewildError(code, message, { cause: thrown });
  return new IdlewildError('internal', `${attempted}: ${message}`, { cause: thrown });
}
