/**
 * What the doors of a hub decide, as notes of the audit log: who used which route, and what was refused to whom.
 *
 * A route is its pattern, never the address that was asked: addresses hold what people write. Whoever shows what was a
 * key or a session here is named by it, also when it is revoked, over, or of somebody suspended. Whoever has none that
 * is known here is a `stranger`, all of them together, and what a stranger asked for is not told apart either: whoever
 * makes up ids or keys by the million adds to one count. A device's own requests for models are its work, and in its
 * receipts; only what it was refused is noted, and why it was not let in.
 */
import type { IdlewildError } from '@idlewild/protocol';
import { actorOf, personOf, type NoMore, type Principal } from '../identity/principal.ts';
import type { Note } from './recorder.ts';

/** What was asked at a door, and what came of it. */
export interface Decision {
  readonly principal?: Principal | undefined;
  /** Method and pattern of the route, as in `DELETE /api/keys/:id`. */
  readonly route: string;
  /** What the policy was asked for. */
  readonly action?: string | undefined;
  /** Id of what it was on, where the address names one. */
  readonly on?: unknown;
  /** Why it was refused; absent: it was let in. */
  readonly refusal?: IdlewildError | undefined;
}

/** Actions of entries that are no acts. */
export const USED = 'used';
export const DENIED = 'denied';

const STRANGER = 'stranger';
const ID = /^[a-z]{3}_[a-z2-7]{26}$/;

const isId = (given: unknown): given is string => typeof given === 'string' && ID.test(given);
const isRefusal = ({ status }: IdlewildError): boolean => status === 401 || status === 403;

/** `undefined` for what is not noted: other errors, and devices at work. */
export function noteOf(decision: Decision, territory: string): Note | undefined {
  const { principal, route, action, on, refusal } = decision;
  if (refusal === undefined) {
    if (principal === undefined || principal.kind === 'device') return undefined;
    return { actor: actorOf(principal), action: USED, subject: territory, details: { route } };
  }
  if (!isRefusal(refusal)) return undefined;
  const { keyId, person } = refusal.details;
  const actor = principal === undefined ? ([keyId, person].find(isId) ?? STRANGER) : actorOf(principal);
  const owner = principal === undefined ? [person].find(isId) : personOf(principal);
  return {
    actor,
    action: DENIED,
    subject: principal !== undefined && isId(on) ? on : territory,
    details: {
      route,
      code: refusal.code,
      ...(action === undefined ? {} : { asked: action }),
      ...(owner === undefined || owner === actor ? {} : { person: owner }),
      ...reasonOf(refusal),
    },
  };
}

const NO_MORE: ReadonlySet<unknown> = new Set<NoMore>(['revoked', 'expired', 'ended', 'suspended', 'left']);

/** By which rule of use, or why not any more; nothing of what was asked. */
const reasonOf = ({ code, details: { reason } }: IdlewildError): { readonly reason?: string } =>
  typeof reason === 'string' && (code === 'use_refused' || NO_MORE.has(reason)) ? { reason } : {};

/** Where devices come in, as the log names it. */
const DEVICE_ROUTE = 'GET /device';

/** A device that was not let in. */
export interface RefusedDevice {
  /** Id of one that is known here and proved its key; absent: a stranger. */
  readonly device?: string | undefined;
  /** `details.invite` is the id of the invite that it came with, where it is one of the territory's. */
  readonly error: IdlewildError;
}

/** Of an invite that somebody has the token of: who made it can tell whom it was given to. */
export function noteOfDevice({ device, error }: RefusedDevice, territory: string): Note {
  const { invite, reason } = error.details;
  return {
    actor: device ?? STRANGER,
    action: DENIED,
    subject: isId(invite) ? invite : (device ?? territory),
    details: {
      route: DEVICE_ROUTE,
      code: error.code,
      asked: 'enrolDevice',
      ...(typeof reason === 'string' ? { reason } : {}),
    },
  };
}
