/** `idlewild appeals`: whoever was refused by a rule of use asks a person to look, and that person decides. */
import type { Appeal } from '@idlewild/client';
import { Option, type Command } from 'commander';
import { contextOf } from '../context.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { asIs, namesBehind } from '../text/names.ts';
import { tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

const STATES = ['open', 'upheld', 'reversed', 'withdrawn'] as const;

export function addAppealCommands(program: Command): void {
  const appeals = program
    .command('appeals')
    .summary('ask a person to look at a refusal, and decide on that')
    .description(
      "Appeals against what a community's rules of use refused. A refusal names its id; a person decides, nobody on " +
        'their own. A reversal lifts the rule for whoever appealed.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild appeals file ref_… "I teach chemistry"');
  addFile(appeals);
  addList(appeals);
  addShow(appeals);
  addDecide(appeals);
  addWithdraw(appeals);
}

function addFile(appeals: Command): void {
  appeals
    .command('file')
    .summary('appeal against a refusal')
    .description('Ask a person to look at a refusal. What you write is kept with the appeal, for those who decide.')
    .argument('<refusal>', 'the id that the refusal named, ref_…')
    .argument('<words>', 'why it was wrong')
    .addHelpText('after', '\nExample:\n  $ idlewild appeals file ref_… "I teach chemistry"')
    .action(async (refusal: string, words: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const appeal = await (await context.client()).appeals.file({ refusal, words });
      context.show(appeal, () => [`${appeal.id}: somebody should have looked by ${appeal.dueAt}`]);
    });
}

function addList(appeals: Command): void {
  appeals
    .command('list')
    .summary('list appeals')
    .description('List appeals: your own, or all for those who decide. Open ones come oldest first.')
    .addOption(new Option('--state <state>', 'only those').choices([...STATES]))
    .addHelpText('after', '\nExample:\n  $ idlewild appeals list --state open')
    .action(async ({ state }: { state?: Appeal['state'] }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const all = await client.appeals.list({ state });
      const called = all.length === 0 || context.json ? asIs : await namesBehind(client);
      const nowMs = Date.now();
      const titles = ['STATE', 'FILED', 'DUE', 'WHO', 'REASON', 'MODEL', 'ID'];
      context.show(all, () =>
        all.length === 0
          ? ['no appeals']
          : tableLines(
              titles.map((title) => ({ title })),
              all.map((appeal) => [
                appeal.state,
                whenText(appeal.createdAt, nowMs),
                appeal.state === 'open' ? whenText(appeal.dueAt, nowMs) : '',
                called(appeal.actor),
                appeal.reason,
                appeal.model,
                appeal.id,
              ]),
            ),
      );
    });
}

function linesOf(appeal: Appeal, called: (id: string) => string): readonly string[] {
  const { decidedAt, decidedBy, note } = appeal;
  return [
    `${appeal.id}  ${appeal.state}`,
    `  refused    ${appeal.reason}, model ${appeal.model}, ${appeal.refusedAt} (${appeal.refusal})`,
    `  by         ${called(appeal.actor)}, filed ${appeal.createdAt}`,
    `  says       ${appeal.words}`,
    ...(decidedAt === null
      ? [`  due        ${appeal.dueAt}`]
      : [`  decided    ${decidedAt}${decidedBy === null ? '' : ` by ${called(decidedBy)}`}`]),
    ...(note === null ? [] : [`  note       ${note}`]),
  ];
}

function addShow(appeals: Command): void {
  appeals
    .command('show')
    .summary('one appeal with what was said')
    .description('Show one appeal, with what both sides said.')
    .argument('<id>', 'apl_…')
    .addHelpText('after', '\nExample:\n  $ idlewild appeals show apl_…')
    .action(async (id: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const appeal = await client.appeals.get(id);
      const called = context.json ? asIs : await namesBehind(client);
      context.show(appeal, () => linesOf(appeal, called));
    });
}

interface DecideOptions {
  readonly uphold?: boolean;
  readonly reverse?: boolean;
  readonly note?: string;
  readonly exempt?: number;
}

function addDecide(appeals: Command): void {
  appeals
    .command('decide')
    .summary('decide on an appeal')
    .description(
      'Decide on an appeal of somebody else. A reversal lifts the rule for whoever appealed, for good or for a time.',
    )
    .argument('<id>', 'apl_…')
    .addOption(new Option('--uphold', 'the refusal was right').conflicts('reverse'))
    .option('--reverse', 'the refusal was wrong')
    .option('--note <words>', 'what to tell whoever appealed')
    .option('--exempt <duration>', 'how long the rule is lifted, like 30d (default: for good)', parseDurationSeconds)
    .addHelpText('after', '\nExample:\n  $ idlewild appeals decide apl_… --reverse --note "she teaches chemistry"')
    .action(async (id: string, { uphold, reverse, note, exempt }: DecideOptions, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      if ((uphold ?? false) === (reverse ?? false)) {
        const { IdlewildError } = await import('@idlewild/protocol');
        throw new IdlewildError('usage', 'say how you decide: --uphold or --reverse');
      }
      const state = reverse === true ? 'reversed' : 'upheld';
      const appeal = await client.appeals.decide(id, { state, note, exemptSeconds: exempt });
      const called = context.json ? asIs : await namesBehind(client);
      context.show(appeal, () => linesOf(appeal, called));
    });
}

function addWithdraw(appeals: Command): void {
  appeals
    .command('withdraw')
    .summary('take your own appeal back')
    .description('Take your own appeal back, as long as nobody has decided.')
    .argument('<id>', 'apl_…')
    .addHelpText('after', '\nExample:\n  $ idlewild appeals withdraw apl_…')
    .action(async (id: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      await (await context.client()).appeals.withdraw(id);
      context.show({ id, state: 'withdrawn' }, () => [`${id} is withdrawn`]);
    });
}
