/** The table of faults, as `docs/reliability.md` has it. */
import type { Findings } from './examine.ts';

export interface Reported {
  readonly fault: string;
  /** Callers who retry and resume. */
  readonly resuming: Findings;
  /** Callers who do not ask twice once their answer has begun. */
  readonly plain: Findings;
}

const seconds = (ms: number): string => (ms / 1_000).toFixed(ms < 1_000 ? 2 : 1);
const failures = ({ asked, failed }: Findings): string =>
  failed === 0 ? `0 of ${asked}` : `${failed} of ${asked} (${((failed / asked) * 100).toFixed(1)} %)`;

const HEAD = [
  'Fault',
  'Failed, resuming',
  'Failed, plain',
  'Bridged',
  'Longest gap, s',
  '99 % of gaps below, s',
  'First token, s',
  'Lost',
  'Wrong',
];

const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;

export const tableOf = (rows: readonly Reported[]): string =>
  [
    row(HEAD),
    row(HEAD.map(() => '---')).replaceAll(' ', ''),
    ...rows.map(({ fault, resuming, plain }) =>
      row([
        fault,
        failures(resuming),
        failures(plain),
        resuming.bridged,
        seconds(resuming.gapMsMax),
        seconds(resuming.gapMsP99),
        seconds(resuming.firstMsMax),
        resuming.lost + plain.lost,
        resuming.wrong.length + plain.wrong.length,
      ]),
    ),
  ].join('\n');

/** What lies behind a row, for whoever looks into it. */
export const reasonsOf = ({ fault, resuming, plain }: Reported): string =>
  `${fault}: ${listOf(resuming.reasons)}; of those who do not resume: ${listOf(plain.reasons)}\n  ${resuming.worst}`;

const listOf = (reasons: Findings['reasons']): string =>
  Object.entries(reasons)
    .toSorted(([, one], [, other]) => other - one)
    .map(([why, count]) => `${count} × ${why}`)
    .join(', ') || 'nothing broke';
