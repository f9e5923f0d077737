/** The lender's yes to a service, on a terminal, and a second one to running it without a login. */
import { IdlewildError } from '@idlewild/protocol';
import { askYes, terminalOf } from '../ask.ts';

export interface ServiceQuestion {
  readonly json: boolean;
  /** What will be done. */
  readonly lines: readonly string[];
  /** Whether to ask about running without a login; else `linger` is the answer. */
  readonly asksLinger: boolean;
  readonly linger: boolean;
}

/**
 * Returns whether it is to run without a login. Throws `consent_refused` at a no, `usage` where nobody can be asked.
 */
export async function askService({ json, lines, asksLinger, linger }: ServiceQuestion): Promise<boolean> {
  const terminal = terminalOf(json, 'making a service');
  const told = { title: 'Lend this machine as a service', lines };
  if ((await askYes(terminal, 'Do you agree?', told)) !== true) throw refused();
  if (!asksLinger) return linger;
  const also =
    'Shall it run without a login, too? That is a setting for all services of yours (loginctl enable-linger).';
  const answer = await askYes(terminal, also);
  if (answer === undefined) throw refused();
  return answer;
}

const refused = (): IdlewildError =>
  new IdlewildError('consent_refused', 'nothing was changed: the lender did not agree');
