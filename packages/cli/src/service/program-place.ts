/**
 * Where this program lies, for a service that is to find it at the next start of the machine too. A place that is
 * emptied without a word is refused: what npx fetches for one call, and folders for temporary things.
 */
import { existsSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { IdlewildError } from '@idlewild/protocol';

export interface ProgramPlace {
  /** Node. */
  readonly program: string;
  readonly script: string;
}

export const placeOfThis = (): ProgramPlace => ({
  program: lastingNode(process.execPath, existsSync),
  script: fileURLToPath(new URL('../../bin/idlewild.mjs', import.meta.url)),
});

/** Homebrew keeps each version in a folder of its own and removes the old one; its link stays. */
export function lastingNode(program: string, exists: (path: string) => boolean): string {
  const [, prefix, name] = /^(.*)\/Cellar\/(node(?:@\d+)?)\/[^/]+\/bin\/node$/.exec(program) ?? [];
  const link = `${prefix}/opt/${name}/bin/node`;
  return prefix !== undefined && exists(link) ? link : program;
}

/** Folders of npm, pnpm, Bun and Yarn that hold a program for one call. */
const PASSING = /[/\\](_npx|dlx(-[^/\\]+)?|bunx-[^/\\]+|xfs-[^/\\]+)[/\\]/;

/** Throws `usage` where one of both may be gone tomorrow. `temporary`: the system's folder for such things. */
export function refusePassing({ program, script }: ProgramPlace, temporary: string = realpathSync(tmpdir())): void {
  for (const path of [script, program]) {
    const why = PASSING.test(path)
      ? 'a folder for programs that were fetched for one call'
      : path.startsWith(temporary + sep)
        ? "this system's folder for temporary things"
        : undefined;
    if (why === undefined) continue;
    throw new IdlewildError(
      'usage',
      `this program lies in ${path}, ${why}, and a service would not find it there for long; ` +
        'keep a clone where it can stay, run `npm ci` in it, and install from there',
    );
  }
}
