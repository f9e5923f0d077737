/**
 * The command line as a whole: its options, its commands, and how its help reads. What a command needs to do its work
 * is loaded when it is called, so that help costs nothing.
 */
import { readFileSync } from 'node:fs';
import { Command, Help, Option } from 'commander';
import { addAppealCommands } from './commands/appeals.ts';
import { addAuditCommands } from './commands/audit.ts';
import { addBackupCommands } from './commands/backup.ts';
import { addChatCommand } from './commands/chat.ts';
import { addDeviceCommands } from './commands/devices.ts';
import { addEmbedCommands } from './commands/embed.ts';
import { addGroupCommands } from './commands/groups.ts';
import { addInviteCommand } from './commands/invite.ts';
import { addJoinCommand } from './commands/join.ts';
import { addKeyCommands } from './commands/keys.ts';
import { addLendingCommands } from './commands/lending.ts';
import { addMemberCommands } from './commands/members.ts';
import { addModelCommands } from './commands/models.ts';
import { addProjectCommands } from './commands/projects.ts';
import { addProxyCommand } from './commands/proxy.ts';
import { addReceiptCommands } from './commands/receipt.ts';
import { addRoleCommands } from './commands/roles.ts';
import { addServiceCommands } from './commands/service.ts';
import { addSessionCommands } from './commands/sessions.ts';
import { addSignInCommands } from './commands/sign-in.ts';
import { addStewardCommands } from './commands/stewards.ts';
import { addStatusCommand } from './commands/status.ts';
import { addTerritoriesCommands } from './commands/territories.ts';
import { addTerritoryCommands } from './commands/territory.ts';
import { addUpCommand } from './commands/up.ts';
import { addUpdateCommand } from './commands/update.ts';
import { addPolicyCommands } from './commands/policy.ts';
import { addUseCommands } from './commands/use.ts';
import { addUsageCommand } from './commands/usage.ts';
import { addWhoamiCommand } from './commands/whoami.ts';

/** The commands in the order of the help, by what one is up to. */
const GROUPS: readonly (readonly [heading: string, readonly ((program: Command) => void)[]])[] = [
  ['Begin:', [addUpCommand, addInviteCommand, addJoinCommand, addStatusCommand]],
  ['Ask:', [addChatCommand, addEmbedCommands, addProxyCommand, addReceiptCommands]],
  ['You:', [addSignInCommands, addWhoamiCommand, addSessionCommands, addUsageCommand]],
  ['Lend this machine:', [addLendingCommands, addServiceCommands, addUpdateCommand]],
  ['Models and devices:', [addModelCommands, addDeviceCommands, addStewardCommands]],
  ['People:', [addMemberCommands, addGroupCommands, addRoleCommands, addKeyCommands, addProjectCommands]],
  ['Rules:', [addPolicyCommands, addUseCommands, addAppealCommands, addAuditCommands]],
  ['The hub:', [addTerritoriesCommands, addTerritoryCommands, addBackupCommands]],
];

export function createProgram(): Command {
  const program = new Command('idlewild')
    .description('AI from idle devices, for everyone who shares one.')
    .version(ownVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .addOption(
      new Option('--hub <address>', 'the hub to talk to (default: the one on this machine)').env('IDLEWILD_HUB'),
    )
    .addOption(
      new Option('--key <key>', "the key to ask with (default: the steward's, on the hub's own machine)").env(
        'IDLEWILD_KEY',
      ),
    )
    .option('--json', 'print JSON for scripts, and errors as one JSON line on stderr')
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false, optionDescription })
    .showHelpAfterError('(write --help after a command to see how it is used)')
    .addHelpText(
      'after',
      `
Examples:
  $ idlewild up --devices 1            a hub, and this machine lent to it
  $ idlewild models add models/jacobean
  $ idlewild chat "What news of the king?"
  $ idlewild invite                    let another machine join`,
    );
  for (const [heading, adders] of GROUPS) {
    program.commandsGroup(heading);
    for (const add of adders) add(program);
  }
  return program;
}

/** An option that may be given several times has an empty list for a default, which tells nobody anything. */
const optionDescription = (option: Option): string =>
  Array.isArray(option.defaultValue) && option.defaultValue.length === 0
    ? option.description
    : new Help().optionDescription(option);

function ownVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}
