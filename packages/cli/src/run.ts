/**
 * One call of the command line, from its words to its exit code. A person's mistake is told in a sentence; the stack is
 * shown only to those who ask for it with IDLEWILD_DEBUG=1.
 */
import { CommanderError, type Command } from 'commander';
import { EXIT, exitOf } from './exit-codes.ts';
import { createProgram } from './program.ts';
import { jsonLine, plainText } from './text/units.ts';

/** Resolves with the exit code when the command is over. Prints, and throws nothing. */
export async function run(words: readonly string[]): Promise<number> {
  forgetEmpty(process.env);
  const json = words.slice(0, ends(words)).includes('--json');
  let said = '';
  const program = createProgram();
  quietly(program, (text) => {
    said += text;
  });
  try {
    await program.parseAsync(words, { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok;
      if (json)
        tellJson(
          'usage',
          said
            .trim()
            .split('\n')[0]
            ?.replace(/^error: /, '') ?? error.message,
        );
      else process.stderr.write(said);
      return EXIT.usage;
    }
    tell(error, json);
    return exitOf((error as { code?: string }).code);
  }
}

/** `IDLEWILD_HUB= idlewild …` is how people unset one for a call; what is started from here is told the same. */
function forgetEmpty(env: NodeJS.ProcessEnv): void {
  for (const [name, value] of Object.entries(env)) if (name.startsWith('IDLEWILD_') && value === '') delete env[name];
}

/** What follows `--` is no option. */
const ends = (words: readonly string[]): number => {
  const at = words.indexOf('--');
  return at === -1 ? words.length : at;
};

/** Commands inherit neither from their parents. */
function quietly(command: Command, write: (text: string) => void): void {
  command.exitOverride().configureOutput({ writeErr: write });
  for (const inner of command.commands) quietly(inner, write);
}

function tell(error: unknown, json: boolean): void {
  const {
    code = 'internal',
    message = String(error),
    stack,
    cause,
  } = error as { code?: string; message?: string; stack?: string; cause?: unknown };
  const sentence = plainText(hinted(code, message));
  if (json) tellJson(code, sentence);
  else if (code === 'cancelled') process.stderr.write('interrupted\n');
  else process.stderr.write(`idlewild: ${sentence}\n`);
  if (process.env.IDLEWILD_DEBUG === '1') {
    process.stderr.write(`${plainText(stack ?? '')}\n`);
    if (cause !== undefined)
      process.stderr.write(`because of: ${plainText((cause as { stack?: string }).stack ?? jsonLine(cause))}\n`);
  } else if (!json && code === 'internal')
    process.stderr.write('IDLEWILD_DEBUG=1 before the command shows where this comes from\n');
}

const tellJson = (code: string, message: string): void => {
  process.stderr.write(`${jsonLine({ error: { code, message } })}\n`);
};

/** What to do next, where the error comes from a part that does not know of this command line. */
function hinted(code: string, message: string): string {
  if (code === 'hub_unreachable')
    return `${message}; start one with \`idlewild up\`, or name another with --hub or IDLEWILD_HUB`;
  // What is said of a key, a code or a session has its own way out; this one is for programs.
  if (code !== 'unauthenticated' || !message.startsWith('no key was sent')) return message;
  return (
    'nobody is signed in to that hub from here, and no key was sent; sign in with `idlewild sign-in`, or give a key ' +
    'with --key or IDLEWILD_KEY; a steward makes them with `idlewild keys create`'
  );
}
