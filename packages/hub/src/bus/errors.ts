/** What requests on the bus fail with, in the same words whichever bus it is. */
import { IdlewildError } from '@idlewild/protocol';

export const downError = (subject: string): IdlewildError =>
  new IdlewildError('bus_down', `asking ${subject} failed: this replica has no connection to the bus; try again`);

export const noResponderError = (subject: string): IdlewildError =>
  new IdlewildError('bus_no_responder', `asking ${subject} failed: no replica listens to it at the moment`);

export const timeoutError = (subject: string, timeoutMs: number): IdlewildError =>
  new IdlewildError('bus_timeout', `asking ${subject} failed: nobody answered within ${timeoutMs} ms`);
