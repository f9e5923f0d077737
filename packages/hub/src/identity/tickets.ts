/**
 * The tickets with which devices fetch blobs, as any replica can check them: who it is, in which session, until when,
 * and HMAC-SHA256 over that (by HKDF, RFC 5869) under a key that all replicas share. Nothing is kept of them.
 *
 * A ticket says what was true when it was issued. Whether that session still lasts is not known here.
 */
import {
  SECRET_PREFIXES,
  concat,
  equalBytes,
  isId,
  utf8,
  type Clock,
  type Crypto,
  type IdPrefix,
  type MaybePromise,
} from '@idlewild/protocol';
import { base32 } from 'multiformats/bases/base32';
import { base64url } from 'multiformats/bases/base64';
import { HUB_LIMITS } from '../limits.ts';

export interface TicketHolder {
  readonly device: string;
  readonly session: string;
  readonly territory: string;
}

export interface Tickets {
  /** Good for `ticketMs`. */
  issue(holder: TicketHolder): MaybePromise<string>;
  /** `undefined` for whatever no replica issued, and for what has expired. */
  read(ticket: string): MaybePromise<TicketHolder | undefined>;
}

const PREFIX = SECRET_PREFIXES.ticket;
const LABEL = utf8('idlewild/v1/ticket');
const IDS = [
  ['device', 'dev'],
  ['session', 'ses'],
  ['territory', 'ter'],
] as const satisfies readonly (readonly [keyof TicketHolder, IdPrefix])[];
const ID_BYTES = 16;
const INSTANT_BYTES = 8;
const CLAIM_BYTES = IDS.length * ID_BYTES + INSTANT_BYTES;
const MARK_BYTES = 32;
const TICKET_CHARACTERS = PREFIX.length + Math.ceil(((CLAIM_BYTES + MARK_BYTES) * 8) / 6);

/** `key` has 32 bytes and is for this alone; `clock` is the same for all replicas. */
export function createTickets(deps: {
  readonly key: Uint8Array;
  readonly crypto: Crypto;
  readonly clock: Pick<Clock, 'now'>;
}): Tickets {
  const { key, crypto, clock } = deps;
  const mark = (claim: Uint8Array): MaybePromise<Uint8Array> => crypto.hkdf(key, LABEL, claim, MARK_BYTES);
  return {
    issue(holder) {
      const claim = claimOf(holder, clock.now() + HUB_LIMITS.ticketMs);
      const write = (marked: Uint8Array): string => PREFIX + base64url.baseEncode(concat([claim, marked]));
      const marked = mark(claim);
      return marked instanceof Promise ? marked.then(write) : write(marked);
    },
    read(ticket) {
      const bytes = bytesOf(ticket);
      if (bytes === undefined) return undefined;
      const claim = bytes.subarray(0, CLAIM_BYTES);
      const judge = (marked: Uint8Array): TicketHolder | undefined =>
        equalBytes(marked, bytes.subarray(CLAIM_BYTES)) && clock.now() < expiryOf(claim) ? holderOf(claim) : undefined;
      const marked = mark(claim);
      return marked instanceof Promise ? marked.then(judge) : judge(marked);
    },
  };
}

/** Which territory's it says to be; whether it is, that territory's hub finds out. */
export function claimedTerritory(ticket: string): string | undefined {
  const bytes = bytesOf(ticket);
  return bytes === undefined ? undefined : holderOf(bytes).territory;
}

function claimOf(holder: TicketHolder, expiresAtMs: number): Uint8Array {
  const ids = IDS.map(([field, prefix]) => {
    const id = holder[field];
    if (!isId(id, prefix)) throw new Error(`a ticket for ${id}, which is no id of a ${field}`);
    return base32.baseDecode(id.slice(prefix.length + 1));
  });
  const instant = new Uint8Array(INSTANT_BYTES);
  new DataView(instant.buffer).setBigUint64(0, BigInt(Math.floor(expiresAtMs)));
  return concat([...ids, instant]);
}

const expiryOf = (claim: Uint8Array): number =>
  Number(new DataView(claim.buffer, claim.byteOffset).getBigUint64(IDS.length * ID_BYTES));

function holderOf(claim: Uint8Array): TicketHolder {
  const [device = '', session = '', territory = ''] = IDS.map(
    ([, prefix], index) => `${prefix}_${base32.baseEncode(claim.subarray(index * ID_BYTES, (index + 1) * ID_BYTES))}`,
  );
  return { device, session, territory };
}

/** Callers' keys come by here, too: what cannot be a ticket is not even decoded. */
function bytesOf(ticket: string): Uint8Array | undefined {
  if (ticket.length !== TICKET_CHARACTERS || !ticket.startsWith(PREFIX)) return undefined;
  try {
    const bytes = base64url.baseDecode(ticket.slice(PREFIX.length));
    return bytes.length === CLAIM_BYTES + MARK_BYTES ? bytes : undefined;
  } catch {
    // Not base64url: a stranger's text, and nothing to be told of.
    return undefined;
  }
}
