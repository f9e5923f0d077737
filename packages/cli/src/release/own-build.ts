/**
 * What runs here: its version, the place and key of releases that it names, if any, and its commit, if it is a clone.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface OwnBuild {
  readonly version: string;
  /** `https://…#key=BASE64URL`; absent: nobody signs releases of this build. */
  readonly releases: string | undefined;
  readonly folder: string;
  /** Abbreviated; absent outside a clone, or without git. */
  readonly commit: string | undefined;
}

const GIT_MS_MAX = 5_000;

export async function ownBuild(): Promise<OwnBuild> {
  const { version, releases } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
    releases?: string;
  };
  const folder = fileURLToPath(new URL('../../../../', import.meta.url));
  return { version, releases, folder, commit: await commitOf(folder) };
}

function commitOf(folder: string): Promise<string | undefined> {
  // Whoever owns the clone: it is only looked at.
  const words = ['-c', `safe.directory=${folder.replace(/[/\\]$/, '')}`, '-C', folder, 'rev-parse', '--short', 'HEAD'];
  return new Promise((resolve) => {
    execFile('git', words, { timeout: GIT_MS_MAX, windowsHide: true }, (error, out) => {
      resolve(error === null ? out.trim() : undefined);
    });
  });
}
