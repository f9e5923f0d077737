/** `idlewild projects`: on whose account is asked, and what is granted. What may be spent is in `spending.ts`. */
import type { Allocation, Amounts, Client, Project } from '@idlewild/client';
import { InvalidArgumentError, type Command } from 'commander';
import { contextOf } from '../context.ts';
import { parseSize } from '../text/size.ts';
import { factLines, tableLines } from '../text/table.ts';
import { bytesText, whenText } from '../text/units.ts';
import { addSpendingCommands } from './spending.ts';

const PROJECT = ['<project>', 'its name or id'] as const;
const ALLOCATION = ['<allocation>', 'its id, or the beginning of it'] as const;

export function addProjectCommands(program: Command): void {
  const projects = program
    .command('projects')
    .summary('projects, what they are granted, and what was spent')
    .description(
      'Projects of a community. A project asks for an allocation, a steward grants it, keys of the project spend it; ' +
        'caps and the daily floor bound everybody.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild projects ask maps --tokens 2000000 --why "a term of map reading"');
  addList(projects);
  addShow(projects);
  addCreate(projects);
  addClose(projects);
  addAsk(projects);
  addAllocations(projects);
  addGrant(projects);
  addEnds(projects);
  addSpendingCommands(projects);
}

function addList(projects: Command): void {
  projects
    .command('list')
    .summary('list the projects')
    .description('List the projects that you are in; for stewards and auditors all.')
    .addHelpText('after', '\nExample:\n  $ idlewild projects list')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).projects.list();
      const nowMs = Date.now();
      const rows = all.map((each) => [each.name, each.purpose, each.state, whenText(each.createdAt, nowMs), each.id]);
      const titles = ['NAME', 'PURPOSE', 'STATE', 'MADE', 'ID'].map((title) => ({ title }));
      context.show(all, () => (all.length === 0 ? ['there is no project that you see'] : tableLines(titles, rows)));
    });
}

const projectFacts = (project: Project): (readonly [string, string])[] => [
  ['project', project.name],
  ['purpose', project.purpose],
  ...(project.description === '' ? [] : [['description', project.description] as const]),
  ['state', project.state],
  ['made', `${project.createdAt} by ${project.createdBy}`],
  ['id', project.id],
];

function addShow(projects: Command): void {
  projects
    .command('show')
    .summary('show one project, with what it is granted')
    .description('Show one project, with what it asked for, what it is granted, and what is left.')
    .argument(...PROJECT)
    .addHelpText('after', '\nExample:\n  $ idlewild projects show maps')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const project = await (await context.client()).projects.get(wanted);
      context.show(project, () => {
        const { allocations } = project;
        const facts = factLines(projectFacts(project));
        if (allocations.length === 0)
          return [...facts, `nothing is granted yet; ask with: idlewild projects ask ${project.name}`];
        return [...facts, '', ...allocationLines(allocations, () => project.name)];
      });
    });
}

function addCreate(projects: Command): void {
  projects
    .command('create')
    .summary('make a project, which you lead')
    .description('Make a project. You lead it: you ask for allocations, and close it.')
    .argument('<name>', 'small letters, digits and hyphens')
    .requiredOption('--purpose <cause>', 'to whose good it is done, as a word such as education')
    .option('--description <text>', 'one line')
    .addHelpText('after', '\nExample:\n  $ idlewild projects create maps --purpose education')
    .action(
      async (name: string, options: { readonly purpose: string; readonly description?: string }, command: Command) => {
        const context = contextOf(command);
        const made = await (await context.client()).projects.create({ name, ...options });
        context.show(made, () => factLines(projectFacts(made)));
      },
    );
}

function addClose(projects: Command): void {
  projects
    .command('close')
    .summary('close a project for good')
    .description('Close a project for good: what it is granted ends, and its keys are answered no more.')
    .argument(...PROJECT)
    .addHelpText('after', '\nExample:\n  $ idlewild projects close maps')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const closed = await (await context.client()).projects.close(wanted);
      context.show(closed, () => [`closed ${closed.name}`]);
    });
}

interface AskOptions {
  readonly tokens: number;
  readonly deviceHours?: number;
  readonly storage?: number;
  readonly from?: string;
  readonly to?: string;
  readonly why: string;
}

function addAsk(projects: Command): void {
  projects
    .command('ask')
    .summary('ask for an allocation')
    .description('Ask for an allocation, which a steward grants, changes or denies.')
    .argument(...PROJECT)
    .requiredOption('--tokens <count>', 'of prompts and answers', parseCount)
    .requiredOption('--why <text>', 'what for')
    .option('--device-hours <hours>', 'the time of devices; without it that is not bounded', parseHours)
    .option('--storage <size>', 'like 20GB; nothing uses storage yet', parseStorage)
    .option('--from <day>', 'from when on (default: now)')
    .option('--to <day>', 'until when (default: thirty days later)')
    .addHelpText('after', '\nExample:\n  $ idlewild projects ask maps --tokens 2000000 --why "a term of map reading"')
    .action(async (wanted: string, { storage: bytes, ...options }: AskOptions, command: Command) => {
      const context = contextOf(command);
      const asked = await (await context.client()).projects.ask(wanted, { ...options, bytes });
      if (bytes !== undefined) context.note('storage is written down; nothing uses it yet');
      context.show(asked, () => [`asked for ${amountText(asked.asked)}: ${asked.id}`]);
    });
}

function addAllocations(projects: Command): void {
  projects
    .command('allocations')
    .summary('list allocations, or show one')
    .description('List the allocations that you see, newest first, or show one with all that was done with it.')
    .argument('[allocation]', ALLOCATION[1])
    .option('--asked', 'only those that wait for an answer')
    .addHelpText('after', '\nExample:\n  $ idlewild projects allocations --asked')
    .action(async (wanted: string | undefined, { asked }: { readonly asked?: true }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      if (wanted !== undefined) {
        const one = await client.allocations.get(await idOf(client, wanted));
        context.show(one, () => [
          ...factLines([...allocationFacts(one)]),
          '',
          ...tableLines(
            ['WHEN', 'WHAT', 'BY', 'HOW MUCH', 'NOTE'].map((title) => ({ title })),
            one.history.map((each) => [each.at, each.act, each.actor, amountText(each), each.note]),
          ),
        ]);
        return;
      }
      const all = await client.allocations.list(asked === true ? { state: 'asked' } : {});
      const names = new Map((await client.projects.list()).map(({ id, name }) => [id, name]));
      const nameOf = (id: string): string => names.get(id) ?? id;
      context.show(all, () => (all.length === 0 ? ['there is none'] : allocationLines(all, nameOf)));
    });
}

const allocationFacts = (each: Allocation): (readonly [string, string])[] => [
  ['allocation', each.id],
  ['state', each.state],
  ['asked', amountText(each.asked)],
  ['granted', each.state === 'asked' ? '–' : amountText(each.granted)],
  ['spent', `${each.spent.tokens} tokens, ${(each.spent.deviceHours ?? 0).toFixed(2)} device-hours`],
  ['left', `${each.leftTokens} tokens${each.heldTokens > 0 ? `, and ${each.heldTokens} held by open requests` : ''}`],
  ['time', `${each.from} to ${each.to}`],
  ['why', each.why],
];

function allocationLines(all: readonly Allocation[], nameOf: (project: string) => string): string[] {
  const right = (title: string) => ({ title, align: 'right' }) as const;
  const nowMs = Date.now();
  return tableLines(
    [
      { title: 'PROJECT' },
      { title: 'STATE' },
      right('ASKED'),
      right('GRANTED'),
      right('SPENT'),
      right('LEFT'),
      { title: 'ENDS' },
      { title: 'ID' },
    ],
    all.map((each) => [
      nameOf(each.project),
      each.state,
      String(each.asked.tokens),
      String(each.granted.tokens),
      String(each.spent.tokens),
      String(each.leftTokens),
      whenText(each.to, nowMs),
      each.id,
    ]),
  );
}

interface GrantOptions {
  readonly tokens?: number;
  readonly deviceHours?: number | 'none';
  readonly storage?: number;
  readonly from?: string;
  readonly to?: string;
  readonly note?: string;
}

function addGrant(projects: Command): void {
  projects
    .command('grant')
    .summary('grant what was asked, or something else')
    .description(
      'Grant what was asked, or less or more of it; or change what was granted. What is not said stays as it is.',
    )
    .argument(...ALLOCATION)
    .option('--tokens <count>', 'of prompts and answers', parseCount)
    .option('--device-hours <hours>', 'the time of devices, or none: not bounded', parseHoursOrNone)
    .option('--storage <size>', 'like 20GB; nothing uses storage yet', parseStorage)
    .option('--from <day>', 'from when on')
    .option('--to <day>', 'until when')
    .option('--note <text>', 'for whoever asked')
    .addHelpText('after', '\nExample:\n  $ idlewild projects grant alc_mzxw --tokens 1000000 --note "half for now"')
    .action(async (wanted: string, { storage: bytes, ...options }: GrantOptions, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const granted = await client.allocations.grant(await idOf(client, wanted), { ...options, bytes });
      context.show(granted, () => [`granted ${amountText(granted.granted)}, until ${granted.to}`]);
    });
}

function addEnds(projects: Command): void {
  for (const [name, summary, past, example] of [
    ['deny', 'deny what was asked for', 'denied', 'ask again in spring'],
    ['withdraw', 'withdraw what you asked for, before it is answered', 'withdrew', 'the course is cancelled'],
    ['end', 'end what was granted, at once', 'ended', 'the term is over'],
  ] as const)
    projects
      .command(name)
      .summary(summary)
      .description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`)
      .argument(...ALLOCATION)
      .option('--note <text>', 'why, for the others')
      .addHelpText('after', `\nExample:\n  $ idlewild projects ${name} alc_mzxw --note "${example}"`)
      .action(async (wanted: string, { note }: { readonly note?: string }, command: Command) => {
        const context = contextOf(command);
        const client = await context.client();
        const done = await client.allocations[name](await idOf(client, wanted), note);
        context.show(done, () => [`${past} ${done.id}`]);
      });
}

async function idOf(client: Client, wanted: string): Promise<string> {
  const { isId } = await import('@idlewild/protocol');
  if (isId(wanted, 'alc')) return wanted;
  const { pick } = await import('../pick.ts');
  const all = (await client.allocations.list()).map(({ id }) => ({ id, name: null }));
  return pick(all, wanted, 'allocation').id;
}

function amountText({ tokens, deviceHours, bytes }: Amounts): string {
  const parts = [`${tokens} tokens`];
  if (deviceHours !== null && deviceHours > 0) parts.push(`${deviceHours} device-hours`);
  if (bytes > 0) parts.push(`${bytesText(bytes)} of storage`);
  return parts.join(', ');
}

function parseCount(text: string): number {
  const count = /^\d{1,13}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= 0) return count;
  throw new InvalidArgumentError('It must be a whole number.');
}

function parseHours(text: string): number {
  const hours = Number(text);
  if (hours > 0 && Number.isFinite(hours)) return hours;
  throw new InvalidArgumentError('It must be a number of hours, like 40 or 0.5.');
}

function parseStorage(text: string): number {
  const bytes = parseSize(text);
  if (bytes !== undefined) return bytes;
  throw new InvalidArgumentError('It must be a size, like 20GB.');
}

const parseHoursOrNone = (text: string): number | 'none' => (text === 'none' ? text : parseHours(text));
