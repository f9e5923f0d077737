/** `idlewild lending history`: what a device did, by day, and what kept it from it. */
import type { DayHistory } from '@idlewild/agent';
import { readHistory } from '@idlewild/agent/node';
import type { Context } from '../context.ts';
import { tableLines } from '../text/table.ts';
import { spanText, wattHoursText } from '../text/units.ts';
import { checkJoined } from './ask-device.ts';

export async function showHistory(
  context: Context,
  { data, days }: { readonly data: string; readonly days: number },
): Promise<void> {
  checkJoined(data);
  const history = await readHistory(data, days, Date.now());
  context.show(history, () => historyLines(history));
}

const right = (title: string) => ({ title, align: 'right' }) as const;
const span = (ms: number): string => (ms === 0 ? '–' : spanText(ms / 1_000));

function historyLines(history: readonly DayHistory[]): string[] {
  if (history.length === 0)
    return ['nothing was done in these days; the last minute of a running device is not in yet'];
  const work = history.flatMap(({ day, work: all }) =>
    all.map((sum) => [
      day,
      sum.territory,
      sum.cause ?? '–',
      String(sum.answers),
      String(sum.embeddings),
      String(sum.tokens),
      span(sum.lentMs),
      span(sum.workedMs),
      sum.wattHours === undefined ? '–' : wattHoursText(sum.wattHours),
    ]),
  );
  const pauses = history.flatMap(({ day, pauses: all }) =>
    all.map((sum) => [day, sum.pause, String(sum.times), span(sum.ms), sum.text]),
  );
  const columns = [
    ...[{ title: 'DAY' }, { title: 'COMMUNITY' }, { title: 'FOR' }],
    ...['ANSWERS', 'EMBEDDED', 'TOKENS', 'LENT', 'WORKED', 'WH'].map(right),
  ];
  return [
    ...(work.length === 0 ? [] : tableLines(columns, work)),
    ...(work.length === 0 || pauses.length === 0 ? [] : ['']),
    ...(pauses.length === 0
      ? []
      : tableLines(
          [{ title: 'DAY' }, { title: 'PAUSED BY' }, right('TIMES'), right('FOR'), { title: 'LAST' }],
          pauses,
        )),
  ];
}
