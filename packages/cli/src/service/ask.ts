/** The lender's yes to a service, on a terminal, and a second one to running it without a login. */
import { IdlewildError } from '@idlewild/protocol';
import { terminalOf } from '../consent-screen.ts';

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
  const { confirm, isCancel, note } = await import('@clack/prompts');
  note(lines.join('\n'), 'Lend this machine as a service', terminal);
  const ask = async (message: string): Promise<boolean> => {
    const answer = await confirm({ ...terminal, message, active: 'yes', inactive: 'no', initialValue: false });
    if (isCancel(answer)) throw refused();
    return answer;
  };
  if (!(await ask('Do you agree?'))) throw refused();
  if (!asksLinger) return linger;
  return ask(
    'Shall it run without a login, too? That is a setting for all services of yours (loginctl enable-linger).',
  );
}

const refused = (): IdlewildError =>
  new IdlewildError('consent_refused', 'nothing was changed: the lender did not agree');
