/**
 * `idlewild update --check`: whether there is a newer release. It tells, and installs nothing; no other command asks.
 */
import type { Command } from 'commander';
import { calledAs, contextOf, type Context } from '../context.ts';
import type { Judged } from '../release/check.ts';
import type { OwnBuild } from '../release/own-build.ts';
import type { Release } from '../release/statement.ts';
import { factLines } from '../text/table.ts';

export function addUpdateCommand(program: Command): void {
  program
    .command('update')
    .summary('whether there is a newer release; nothing is ever installed')
    .description(
      'Tell whether there is a newer release. It is looked up only by this command, with --check, at the place ' +
        'that this build or IDLEWILD_RELEASES names, and believed only if signed. Nothing is ever installed by itself.',
    )
    .option('--check', 'look it up now')
    .addHelpText('after', '\nExample:\n  $ idlewild update --check')
    .action(async ({ check = false }: { check?: boolean }, command: Command) => {
      if (check) return checkNow(contextOf(command));
      const { IdlewildError } = await import('@idlewild/protocol');
      throw new IdlewildError(
        'usage',
        'updates are not installed by this program; `idlewild update --check` tells whether there is one',
      );
    });
}

async function checkNow(context: Context): Promise<void> {
  const { ownBuild } = await import('../release/own-build.ts');
  const build = await ownBuild();
  const { version, commit, folder } = build;
  const facts = { version, commit: commit ?? null, folder };
  const named = process.env.IDLEWILD_RELEASES ?? build.releases;
  if (named === undefined) {
    return context.show({ ...facts, release: null, relation: null, tooOld: null }, () => [
      `this build names no place where releases are told of, so nothing was asked; ${whatRuns(build)}`,
      ...howLines(build),
    ]);
  }
  const [{ judge, newestRelease, readPlace }, { nodeCrypto, systemClock }] = await Promise.all([
    import('../release/check.ts'),
    import('@idlewild/protocol/node'),
  ]);
  const place = readPlace(named);
  const release = await newestRelease(place, { env: process.env, clock: systemClock, crypto: nodeCrypto });
  const judged = judge(version, release);
  context.show({ ...facts, release, ...judged }, () => toldLines(build, release, judged));
}

const whatRuns = ({ version, commit }: OwnBuild): string =>
  `this is ${version}${commit === undefined ? '' : `, commit ${commit}`}`;

function toldLines(
  build: OwnBuild,
  { version, date, notes, minimum }: Release,
  { relation, tooOld }: Judged,
): string[] {
  const old = tooOld ? [`it is older than ${minimum}, the oldest version that should still be run`] : [];
  switch (relation) {
    case 'same':
      return [`${whatRuns(build)}, the newest release, of ${date}`, ...old];
    case 'older':
      return [
        `the newest release that is told of is ${version}, of ${date}, and older: no update; ${whatRuns(build)}`,
        ...old,
      ];
    case 'newer':
      return [
        `there is ${version}, of ${date}; ${whatRuns(build)}, and nothing was installed`,
        ...old,
        ...factLines([['notes', notes]]),
        ...howLines(build),
      ];
  }
}

const howLines = ({ folder, commit }: OwnBuild): string[] =>
  commit === undefined
    ? [`to update, put a newer one in the place of ${folder}`]
    : [
        `to update: git pull && npm ci in ${folder}`,
        `then start hubs and devices again; a service starts again with \`${calledAs()} service install\``,
      ];
