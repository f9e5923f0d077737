/** A yes before what cannot be taken back, asked where a person sits. */
import { IdlewildError } from '@idlewild/protocol';
import type { Context } from './context.ts';

/** Whether to go on. Throws `usage` where nobody can be asked; `doing` is what would be done: "removing Ada". */
export async function isSure({ json }: Context, yes: boolean, doing: string, question: string): Promise<boolean> {
  if (yes) return true;
  const { stdin: input, stdout: output } = process;
  if (json || !input.isTTY || !output.isTTY)
    throw new IdlewildError('usage', `${doing} needs a yes: run this on a terminal, or write --yes`);
  const { askYes } = await import('./ask.ts');
  return (await askYes({ input, output }, question)) === true;
}
