/** `idlewild projects cap|caps|floor|left|showback`: what may be spent, by whom, and what was. */
import type { CapKind, Caps, CapsChange, Client, ShowbackQuery, ShowbackRow, SpendLevel } from '@idlewild/client';
import { Argument, InvalidArgumentError, Option, type Command } from 'commander';
import { contextOf } from '../context.ts';
import { limitText } from '../text/limits.ts';
import { factLines, tableLines } from '../text/table.ts';
import { wattHoursText } from '../text/units.ts';

const DAY_MS = 86_400_000;
const DAYS_MAX = 3_660;

export function addSpendingCommands(projects: Command): void {
  addLeft(projects);
  addShowback(projects);
  addCap(projects);
  addCaps(projects);
  addFloor(projects);
}

const right = (title: string) => ({ title, align: 'right' }) as const;

const LEVELS: Readonly<Record<SpendLevel['kind'], string>> = {
  territory: 'the community',
  project: 'the project',
  key: 'this key',
  person: 'all your keys',
  floor: 'your daily floor',
  allocation: 'allocation',
};

function addLeft(projects: Command): void {
  projects
    .command('left')
    .summary('what you may still spend today')
    .description('What bounds the key that asks, and what is left of it today.')
    .addHelpText('after', '\nExample:\n  $ idlewild projects left')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const standing = await (await context.client()).spending.left();
      const { levels, renewsAt } = standing;
      context.show(standing, () =>
        levels.length === 0
          ? ['nothing bounds what this key may spend in a day']
          : [
              ...tableLines(
                [
                  { title: 'OF' },
                  right('TOKENS LEFT'),
                  right('OF TOKENS'),
                  right('REQUESTS LEFT'),
                  right('OF REQUESTS'),
                ],
                levels.map(({ kind, subject, tokens, requests }) => [
                  kind === 'allocation' ? `allocation ${subject}` : LEVELS[kind],
                  limitText(tokens?.left),
                  limitText(tokens?.most),
                  limitText(requests?.left),
                  limitText(requests?.most),
                ]),
              ),
              `what is counted by the day renews at ${renewsAt}`,
            ],
      );
    });
}

interface ShowbackOptions {
  readonly by: NonNullable<ShowbackQuery['by']>;
  readonly days: number;
  readonly from?: string;
  readonly to?: string;
  readonly project?: string;
  readonly csv?: true;
}

function addShowback(projects: Command): void {
  projects
    .command('showback')
    .summary('what was used, by project, person, key, model or device')
    .description('What was used and on whose account: your own and your projects’; for stewards and auditors all.')
    .addOption(
      new Option('--by <what>', 'whose sums')
        .choices(['project', 'person', 'key', 'model', 'device'])
        .default('project'),
    )
    .option('--days <count>', 'how many days, today included', parseDays, 30)
    .option('--from <day>', 'first day, like 2027-01-01, in place of --days')
    .option('--to <day>', 'last day (default: today)')
    .option('--project <project>', 'only this one')
    .option('--csv', 'comma-separated values, for a spreadsheet')
    .addHelpText('after', '\nExample:\n  $ idlewild projects showback --by model --project maps --csv')
    .action(async ({ by, days, from, to, project, csv }: ShowbackOptions, command: Command) => {
      const context = contextOf(command);
      const last = to ?? dayText(Date.now());
      const first = from ?? dayText(Date.parse(last) - (days - 1) * DAY_MS);
      const rows = await (await context.client()).spending.showback({ by, from: first, to: last, project });
      context.show(rows, () => (csv === true ? csvLines(by, rows) : showbackLines(by, rows)));
    });
}

const dayText = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

function showbackLines(by: string, rows: readonly ShowbackRow[]): string[] {
  if (rows.length === 0) return ['nothing was used'];
  const titles = ['REQUESTS', 'FAILED', 'PROMPT', 'ANSWER', 'DEVICE-HOURS', 'WH', 'UNTOLD'].map(right);
  const isTold = rows.every(({ energyUntold }) => energyUntold === 0);
  const lines = tableLines(
    [{ title: by.toUpperCase() }, ...titles],
    rows.map((row) => [
      row.name === '' ? row.id || '–' : row.name,
      String(row.requests),
      String(row.failed),
      String(row.promptTokens),
      String(row.answerTokens),
      row.deviceHours.toFixed(2),
      wattHoursText(row.energyWh),
      String(row.energyUntold),
    ]),
  );
  return isTold ? lines : [...lines, 'UNTOLD: answers of which no device said what they drew; WH is of the others'];
}

function csvLines(by: string, rows: readonly ShowbackRow[]): string[] {
  const columns = [
    'requests',
    'failed',
    'promptTokens',
    'answerTokens',
    'deviceHours',
    'energyWh',
    'energyUntold',
  ] as const;
  const head = [by, 'name', ...columns].join(',');
  return [head, ...rows.map((row) => [row.id, row.name, ...columns.map((name) => row[name])].map(csvCell).join(','))];
}

/** After RFC 4180; what a spreadsheet would take for a formula is text. */
function csvCell(value: string | number): string {
  const text = typeof value === 'string' && /^[=+\-@\t]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

type CapOptions = Omit<CapsChange, 'kind' | 'subject'> & { readonly everybody?: boolean };

function addCap(projects: Command): void {
  projects
    .command('cap')
    .summary('cap the community, a project, a key or a person')
    .description(
      'Cap what the community, a project, a key or a person may use in a day; a person also in a minute, over all ' +
        'her keys. What is set for everybody holds for each person as far as she has no cap of her own. Nothing goes ' +
        'beyond a cap but by changing it. A cap that is not named stays.',
    )
    .addArgument(new Argument('<what>', 'community, project, key or person').choices(['community', ...KINDS]))
    .argument('[which]', 'its name or id; nothing for the community')
    .option('--everybody', 'of each person who has none of her own')
    .option('--tokens-per-day <count>', 'prompts and answers; none takes the cap away', parseCap)
    .option('--requests-per-day <count>', 'the same for requests', parseCap)
    .option('--tokens-per-minute <count>', 'of a person', parseCap)
    .option('--requests-per-minute <count>', 'of a person', parseCap)
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild projects cap project maps --tokens-per-day 200000\n' +
        '  $ idlewild projects cap person --everybody --requests-per-minute 30',
    )
    .action(async (what: string, which: string | undefined, { everybody, ...caps }: CapOptions, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const kind = what === 'community' ? 'territory' : (what as CapKind);
      if (everybody === true && (kind !== 'person' || which !== undefined)) {
        const { IdlewildError } = await import('@idlewild/protocol');
        throw new IdlewildError(
          'usage',
          '--everybody is for people, and names them all: projects cap person --everybody',
        );
      }
      const named = which === undefined ? undefined : await subjectOf(client, kind, which);
      const subject = everybody === true ? 'everybody' : named;
      const now = await client.spending.cap({ kind, subject, ...caps });
      context.show(now, () => factLines(capFacts(now)));
    });
}

async function subjectOf(client: Client, kind: CapKind, which: string): Promise<string> {
  const { keyMeant, memberMeant } = await import('../meant.ts');
  if (kind === 'key') return (await keyMeant(client, which, 'capSpending')).id;
  return kind === 'person' ? (await memberMeant(client, which, 'capSpending')).id : which;
}

const capFacts = (caps: Caps): (readonly [string, string])[] => [
  [caps.kind === 'territory' ? 'community' : caps.kind, caps.subject],
  ['tokens per day', limitText(caps.tokensPerDay)],
  ['requests per day', limitText(caps.requestsPerDay)],
  ...(caps.kind === 'person'
    ? ([
        ['tokens per minute', limitText(caps.tokensPerMinute)],
        ['requests per minute', limitText(caps.requestsPerMinute)],
      ] as const)
    : []),
];

function addCaps(projects: Command): void {
  projects
    .command('caps')
    .summary('show all caps, and the daily floor')
    .description('Show all caps, the daily floor, and whether work needs an allocation.')
    .addHelpText('after', '\nExample:\n  $ idlewild projects caps')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).spending.caps();
      const { settings, caps } = all;
      context.show(all, () => [
        ...factLines([
          ['allocations', settings.allocations],
          ['daily floor', `${settings.floorTokens} tokens and ${settings.floorRequests} requests for every member`],
        ]),
        ...(caps.length === 0 ? ['there is no cap'] : ['', ...capTable(caps)]),
      ]);
    });
}

const capTable = (caps: readonly Caps[]): string[] =>
  tableLines(
    [{ title: 'OF' }, { title: 'WHICH' }, ...['TOKENS/DAY', 'REQUESTS/DAY', 'TOKENS/MIN', 'REQUESTS/MIN'].map(right)],
    caps.map((each) => [
      each.kind === 'territory' ? 'community' : each.kind,
      each.subject === '' ? '–' : each.subject,
      limitText(each.tokensPerDay),
      limitText(each.requestsPerDay),
      limitText(each.tokensPerMinute),
      limitText(each.requestsPerMinute),
    ]),
  );

interface FloorOptions {
  readonly allocations?: 'optional' | 'required';
  readonly tokens?: number;
  readonly requests?: number;
}

function addFloor(projects: Command): void {
  projects
    .command('floor')
    .summary('change the daily floor, and whether work needs an allocation')
    .description(
      'Change what every member has each day, whatever else is spent, and whether work that belongs to no project ' +
        'needs one.',
    )
    .addOption(new Option('--allocations <how>', 'whether work needs an allocation').choices(['optional', 'required']))
    .option('--tokens <count>', 'of each member', parseFloor)
    .option('--requests <count>', 'of each member', parseFloor)
    .addHelpText('after', '\nExample:\n  $ idlewild projects floor --tokens 20000 --allocations required')
    .action(async ({ allocations, tokens, requests }: FloorOptions, command: Command) => {
      const context = contextOf(command);
      const now = await (
        await context.client()
      ).spending.change({
        ...(allocations === undefined ? {} : { allocations }),
        ...(tokens === undefined ? {} : { floorTokens: tokens }),
        ...(requests === undefined ? {} : { floorRequests: requests }),
      });
      context.show(now, () => [
        `every member has ${now.floorTokens} tokens and ${now.floorRequests} requests a day; ` +
          `allocations are ${now.allocations}`,
      ]);
    });
}

const KINDS = ['project', 'key', 'person'];

function parseCount(text: string, least: number): number {
  const count = /^\d{1,13}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= least) return count;
  throw new InvalidArgumentError(`It must be a whole number from ${least} on.`);
}
const parseCap = (text: string): number | 'none' => (text === 'none' ? text : parseCount(text, 1));
const parseFloor = (text: string): number => parseCount(text, 0);

function parseDays(text: string): number {
  const days = parseCount(text, 1);
  if (days <= DAYS_MAX) return days;
  throw new InvalidArgumentError(`It must be at most ${DAYS_MAX}.`);
}
