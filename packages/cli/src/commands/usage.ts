/** `idlewild usage`: what keys used, by day and model. */
import type { Client, UsageRow } from '@idlewild/client';
import { InvalidArgumentError, type Command } from 'commander';
import { contextOf } from '../context.ts';
import { tableLines } from '../text/table.ts';
import { spanText } from '../text/units.ts';

interface UsageOptions {
  readonly of?: string;
  readonly model?: string;
  readonly days: number;
}

const DAY_MS = 86_400_000;
const DAYS_MAX = 3_660;

export function addUsageCommand(program: Command): void {
  program
    .command('usage')
    .summary('what keys used, by day and model')
    .description("What keys used, by day (UTC) and model: one's own for a caller, everybody's for a steward.")
    .option('--of <key>', 'only this key: its id, the beginning of its id, or its name')
    .option('-m, --model <name>', 'only this model')
    .option('--days <count>', 'how many days, today included', parseDays, 30)
    .addHelpText('after', '\nExample:\n  $ idlewild usage --days 7')
    .action(async (options: UsageOptions, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const nowMs = Date.now();
      const rows = await client.usage({
        from: dayOf(nowMs - (options.days - 1) * DAY_MS),
        to: dayOf(nowMs),
        key: options.of === undefined ? undefined : await idOf(client, options.of),
        model: options.model,
      });
      context.show(rows, () => (rows.length === 0 ? ['nothing was used'] : usageLines(rows)));
    });
}

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** Revoked keys, too, have used something. */
async function idOf(client: Client, wanted: string): Promise<string> {
  const { isId } = await import('@idlewild/protocol');
  // A caller may not list keys, and knows its own by its id.
  if (isId(wanted, 'key')) return wanted;
  const { pick } = await import('../pick.ts');
  return pick(await client.keys.list(), wanted, 'key').id;
}

function usageLines(rows: readonly UsageRow[]): string[] {
  const sum = (count: (row: UsageRow) => number): string => String(rows.reduce((total, row) => total + count(row), 0));
  const right = (title: string) => ({ title, align: 'right' }) as const;
  const seconds = (ms: number): string => (ms < 9_950 ? `${(ms / 1_000).toFixed(1)} s` : spanText(ms / 1_000));
  return tableLines(
    [
      { title: 'DAY' },
      { title: 'KEY' },
      { title: 'MODEL' },
      right('REQUESTS'),
      right('FAILED'),
      right('PROMPT'),
      right('KEPT'),
      right('ANSWER'),
      right('DEVICE TIME'),
    ],
    [
      ...rows.map((row) => [
        row.day,
        row.keyName === '' ? row.key : row.keyName,
        row.model,
        String(row.requests),
        String(row.failed + row.cancelled),
        String(row.promptTokens),
        String(row.cachedTokens),
        String(row.answerTokens),
        seconds(row.deviceMs),
      ]),
      [
        'all',
        '',
        '',
        sum((row) => row.requests),
        sum((row) => row.failed + row.cancelled),
        sum((row) => row.promptTokens),
        sum((row) => row.cachedTokens),
        sum((row) => row.answerTokens),
        seconds(Number(sum((row) => row.deviceMs))),
      ],
    ],
  );
}

function parseDays(text: string): number {
  const days = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN;
  if (days >= 1 && days <= DAYS_MAX) return days;
  throw new InvalidArgumentError(`It must be a number from 1 to ${DAYS_MAX}.`);
}
