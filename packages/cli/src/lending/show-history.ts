/** `idlewild lending history`: what a device did, by day, what it drew for that, and what kept it from it. */
import { gridOf, toldOf, type DayHistory } from '@idlewild/agent';
import { readHistory, readLending } from '@idlewild/agent/node';
import type { Context } from '../context.ts';
import { tableLines } from '../text/table.ts';
import { spanText, wattHoursText } from '../text/units.ts';
import { checkJoined } from './ask-device.ts';

type Grid = ReturnType<typeof gridOf>;

/** A day's energy with what it is worth in carbon, by the grid that the lender names now. */
interface DayEnergy extends ReturnType<typeof toldOf> {
  readonly wattHours: number;
}
type Day = Omit<DayHistory, 'energy'> & { readonly energy?: DayEnergy };

export async function showHistory(
  context: Pick<Context, 'show'>,
  { data, days }: { readonly data: string; readonly days: number },
): Promise<void> {
  checkJoined(data);
  const [history, settings] = await Promise.all([readHistory(data, days, Date.now()), readLending(data)]);
  const grid = gridOf({ place: settings?.place, gramsPerKwh: settings?.energy?.gramsPerKwh });
  const told = history.map((day) => withCarbon(day, grid));
  context.show(told, () => historyLines(told));
}

/** A day of which only the work's watt-hours are known has these. */
export function withCarbon({ energy, ...day }: DayHistory, grid: Grid): Day {
  const ofWork = day.work.flatMap(({ wattHours }) => wattHours ?? []);
  if (energy === undefined && ofWork.length === 0) return day;
  const wattHours = energy?.drawnWattHours ?? ofWork.reduce((sum, each) => sum + each, 0);
  const sums = { wattHours, measuredWattHours: energy?.measuredWattHours ?? 0 };
  return { ...day, energy: { wattHours, ...toldOf(sums, grid) } };
}

const right = (title: string) => ({ title, align: 'right' }) as const;
const gramsText = (grams: number): string => (grams > 0 && grams < 1 ? '<1' : grams.toFixed(0));
const span = (ms: number): string => (ms === 0 ? '–' : spanText(ms / 1_000));

export function historyLines(history: readonly Day[]): string[] {
  if (history.length === 0)
    return ['nothing was done in these days; the last minute of a running device is not in yet'];
  return [workLines(history), energyLines(history), pauseLines(history)]
    .filter((lines) => lines.length > 0)
    .flatMap((lines, index) => (index === 0 ? lines : ['', ...lines]));
}

function workLines(history: readonly Day[]): string[] {
  const rows = history.flatMap(({ day, work }) =>
    work.map((sum) => [
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
  const columns = [
    ...[{ title: 'DAY' }, { title: 'COMMUNITY' }, { title: 'FOR' }],
    ...['ANSWERS', 'EMBEDDED', 'TOKENS', 'LENT', 'WORKED', 'WH'].map(right),
  ];
  return rows.length === 0 ? [] : tableLines(columns, rows);
}

/** Of the whole device, and last whose grams for a kilowatt-hour these are. */
function energyLines(history: readonly Day[]): string[] {
  const known = history.flatMap(({ day, energy }) => (energy === undefined ? [] : [{ day, ...energy }]));
  const [first] = known;
  if (first === undefined) return [];
  const columns = [{ title: 'DAY' }, right('WH IN ALL'), { title: 'KNOWN' }, right('G OF CO₂')];
  const rows = known.map(({ day, wattHours, how, grams }) => [day, wattHoursText(wattHours), how, gramsText(grams)]);
  return [...tableLines(columns, rows), `CO₂ by ${first.grid}; \`lending limits --grid\` names another`];
}

function pauseLines(history: readonly Day[]): string[] {
  const rows = history.flatMap(({ day, pauses }) =>
    pauses.map((sum) => [day, sum.pause, String(sum.times), span(sum.ms), sum.text]),
  );
  const columns = [{ title: 'DAY' }, { title: 'PAUSED BY' }, right('TIMES'), right('FOR'), { title: 'LAST' }];
  return rows.length === 0 ? [] : tableLines(columns, rows);
}
