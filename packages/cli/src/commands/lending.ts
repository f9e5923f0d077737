/**
 * `idlewild lending`: what a lender sees of a device of theirs and does with it, whether it runs or not. What it takes
 * is in `../lending/`, and loaded when it is asked for.
 */
import { resolve } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { contextOf } from '../context.ts';
import { deviceFolder } from '../data-folder.ts';
import { parseDuration } from '../text/duration.ts';
import { addLendingOptions, type LendingFlags } from './lending-options.ts';

interface FolderOption {
  readonly data?: string;
}
interface LimitsOptions extends FolderOption, LendingFlags {
  readonly yes?: boolean;
}
interface LeaveOptions extends FolderOption {
  readonly now?: boolean;
  readonly receipt?: string;
  readonly yes?: boolean;
}

const DAYS_MAX = 400;
const DAYS_DEFAULT = 7;

export function addLendingCommands(program: Command): void {
  const lending = program
    .command('lending')
    .summary('the device that this machine lends: status, pause, limits, history, leave')
    .description('The device that this machine lends, as its lender sees it. `idlewild join` is what lends it.')
    .addHelpText(
      'after',
      `
Examples:
  $ idlewild lending status            what runs now, for whom, and what it cost
  $ idlewild lending pause --for 2h
  $ idlewild lending limits --cpu 40%`,
    );
  const inFolder = (name: string): Command =>
    lending.command(name).option('--data <dir>', "the device's folder (default: as `idlewild join` has it)");
  addLooking(inFolder);
  addPausing(inFolder);
  addLimits(inFolder);
  addLeaving(inFolder);
}

type InFolder = (name: string) => Command;

function addLooking(inFolder: InFolder): void {
  inFolder('status')
    .summary('what runs now, for whom and why, and why nothing does')
    .description(
      'What runs now, for which community and cause; what it has done today; every reason for a pause; which signals ' +
        'of the machine are read; what protects the machine here; and what was agreed.',
    )
    .option('--watch', 'stay, and show each change')
    .addHelpText('after', '\nExample:\n  $ idlewild lending status --watch')
    .action(async (options: FolderOption & { watch?: boolean }, command: Command) => {
      const { showStatus } = await import('../lending/show-status.ts');
      await showStatus(contextOf(command), { data: deviceFolder(options.data), watch: options.watch === true });
    });
  inFolder('history')
    .summary('what it did, by day')
    .description('What this device did, by day, community and cause, and how long which reason kept it paused.')
    .option('--days <count>', 'how many days, today included', parseDays, DAYS_DEFAULT)
    .addHelpText('after', '\nExample:\n  $ idlewild lending history --days 30')
    .action(async (options: FolderOption & { days: number }, command: Command) => {
      const { showHistory } = await import('../lending/show-history.ts');
      await showHistory(contextOf(command), { data: deviceFolder(options.data), days: options.days });
    });
}

function addPausing(inFolder: InFolder): void {
  inFolder('pause')
    .summary('stop working, until told or for a time')
    .description(
      'Stop working: running answers go to other devices at once. It holds until `resume`, or for the time, also ' +
        'over a restart, and whether the device runs now or not.',
    )
    .option('--for <duration>', 'how long, like 45m or 2h (default: until resumed)', parseDuration)
    .addHelpText('after', '\nExample:\n  $ idlewild lending pause --for 2h')
    .action(async (options: FolderOption & { for?: number }, command: Command) => {
      const { pause } = await import('../lending/pause.ts');
      await pause(contextOf(command), { data: deviceFolder(options.data), forMs: options.for });
    });
  inFolder('resume')
    .summary("end the lender's own pause")
    .description("End the lender's own pause. Other reasons for a pause stay: `status` tells them.")
    .addHelpText('after', '\nExample:\n  $ idlewild lending resume')
    .action(async (options: FolderOption, command: Command) => {
      const { resume } = await import('../lending/pause.ts');
      await resume(contextOf(command), { data: deviceFolder(options.data) });
    });
}

function addLimits(inFolder: InFolder): void {
  addLendingOptions(
    inFolder('limits')
      .summary('show and change what was agreed')
      .description(
        'Show what was agreed; with options, change it. The device signs it anew, ends the answers under way and ' +
          'goes on by it. What is not named stays as it was; what lends more than was agreed is asked first.',
      )
      .option('--yes', 'agree to lend more without being asked, for scripts'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild lending limits\n  $ idlewild lending limits --cpu 40% --memory 4GB',
    )
    .action(async (options: LimitsOptions, command: Command) => {
      const { limits } = await import('../lending/limits.ts');
      await limits(contextOf(command), { data: deviceFolder(options.data), flags: options, yes: options.yes === true });
    });
}

function addLeaving(inFolder: InFolder): void {
  inFolder('leave')
    .summary('leave the community, and remove everything but a receipt')
    .description(
      'Leave the community for good: answers under way end, the hub signs that the device is gone, and keys, models, ' +
        'consent and history are removed. A receipt is left. Without the hub it leaves, too, and says so.',
    )
    .option('--now', 'let running answers go to other devices at once')
    .option('--receipt <file>', "where the receipt is to lie (default: in the device's folder)")
    .option('--yes', 'without being asked, for scripts')
    .addHelpText('after', '\nExample:\n  $ idlewild lending leave')
    .action(async ({ now, receipt, yes, ...options }: LeaveOptions, command: Command) => {
      const { leave } = await import('../lending/leave.ts');
      const file = receipt === undefined ? undefined : resolve(receipt);
      const order = { now: now === true, receipt: file };
      await leave(contextOf(command), { data: deviceFolder(options.data), order, yes: yes === true });
    });
}

function parseDays(text: string): number {
  const days = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (days >= 1 && days <= DAYS_MAX) return days;
  throw new InvalidArgumentError(`It must be a number from 1 to ${DAYS_MAX}.`);
}
