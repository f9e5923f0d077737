/** A lender's yes, asked where a person sits. Where nobody can be asked nothing is done, and the way out is told. */
import type { Readable, Writable } from 'node:stream';
import { IdlewildError } from '@idlewild/protocol';

/** Where a person can be asked. */
export interface Terminal {
  readonly input: Readable;
  readonly output: Writable;
}

/** Throws `usage` where nobody can be asked; `what` is what the question would be about. */
export function terminalOf(json: boolean, what: string): Terminal {
  const { stdin: input, stdout: output } = process;
  if (!json && input.isTTY && output.isTTY) return { input, output };
  throw new IdlewildError(
    'usage',
    `${what} needs its owner's yes: run this on a terminal, or write --yes if you are the owner`,
  );
}

/** What the box around lines takes of a screen, and the least that is left for them. */
const BOX = 6;
const ROOM_MIN = 24;

/** Characters of a line that is read before the question; wider ones are broken anywhere. */
export function roomIn({ output }: Terminal): number {
  const { columns = Number.POSITIVE_INFINITY } = output as Partial<NodeJS.WriteStream>;
  return Math.max(ROOM_MIN, columns - BOX);
}

/** What is read before the question. */
interface Told {
  readonly title: string;
  readonly lines: readonly string[];
}

/** `undefined` for who went away instead of answering. Nobody says yes by a mere Enter. */
export async function askYes(terminal: Terminal, message: string, told?: Told): Promise<boolean | undefined> {
  const { confirm, isCancel, note } = await import('@clack/prompts');
  if (told !== undefined) note(told.lines.join('\n'), told.title, terminal);
  const answer = await confirm({ ...terminal, message, active: 'yes', inactive: 'no', initialValue: false });
  return isCancel(answer) ? undefined : answer;
}
