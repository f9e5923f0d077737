/** The table of faults, as `docs/reliability.md` has it. */
import type { Findings } from './examine.ts';

export interface Reported {
  readonly fault: string;
  readonly findings: Findings;
}

const seconds = (ms: number): string => (ms / 1_000).toFixed(ms < 1_000 ? 2 : 1);

export function tableOf(rows: readonly Reported[]): string {
  const head = '| Fault | Asked | Failed | Error rate | Bridged | Longest gap (p99) s | First token s | Lost | Wrong |';
  const line = ({ fault, findings }: Reported): string => {
    const { asked, failed, errorRate, bridged, gapMsMax, gapMsP99, firstMsMax, lost, wrong } = findings;
    const gap = `${seconds(gapMsMax)} (${seconds(gapMsP99)})`;
    const share = `${(errorRate * 100).toFixed(2)} %`;
    return `| ${[fault, asked, failed, share, bridged, gap, seconds(firstMsMax), lost, wrong.length].join(' | ')} |`;
  };
  return [head, '|---|---|---|---|---|---|---|---|---|', ...rows.map(line)].join('\n');
}

/** What lies behind a row, for whoever looks into it. */
export const reasonsOf = ({ fault, findings }: Reported): string =>
  `${fault}: ${
    Object.entries(findings.reasons)
      .toSorted(([, one], [, other]) => other - one)
      .map(([why, count]) => `${count} × ${why}`)
      .join(', ') || 'nothing broke'
  }`;
