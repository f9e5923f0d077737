/**
 * What is told to the audit log, and what may stand in it: ids, names of ours, numbers, and short labels such as the
 * name of a key. Nothing that is as long as a text, no secret (a key, a session, a link, an invite, …), and nothing
 * that steers a terminal.
 */
import { IdlewildError, holdsSecret } from '@idlewild/protocol';
import { AUDIT_LIMITS } from './limits.ts';

/** Flat and small: what was changed, never what somebody wrote. */
export type AuditDetails = Readonly<Record<string, string | number | boolean>>;

export interface AuditEvent {
  readonly territory: string;
  /** Id of the key, person or device that acted; `hub` for the hub itself. */
  readonly actor: string;
  readonly action: string;
  /** Id of what was acted on. */
  readonly subject: string;
  readonly details?: AuditDetails;
}

/** Also what lets later lines of a list look like an entry. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

const { detailsMax, detailCharactersMax, nameCharactersMax } = AUDIT_LIMITS;

/** Throws `invalid_request` for what does not belong into the log. */
export function checkEvent({ actor, action, subject, details = {} }: AuditEvent): void {
  const isName = (name: string): boolean =>
    name.length <= nameCharactersMax && !holdsSecret(name) && !CONTROL.test(name);
  if (!isName(actor) || !isName(action) || !isName(subject)) {
    throw new IdlewildError(
      'invalid_request',
      `an entry of the audit log names its actor, action and subject in at most ${nameCharactersMax} characters, ` +
        'and none of them by a key, an invite or another secret',
    );
  }
  checkDetails(action, details);
}

function checkDetails(action: string, details: AuditDetails): void {
  const values = Object.values(details);
  const isUnfit = (value: string | number | boolean): boolean =>
    typeof value === 'string' && (value.length > detailCharactersMax || holdsSecret(value));
  if (values.length <= detailsMax && !values.some(isUnfit)) return;
  throw new IdlewildError(
    'invalid_request',
    `the details of ${action} do not belong into an audit log: ` +
      `at most ${detailsMax} of at most ${detailCharactersMax} characters, and none of them a key, an invite ` +
      'or another secret',
  );
}
