/**
 * What a device did, kept in its folder: `history/2026-11-23.jsonl` for each day, lines only added.
 *
 * Once a minute, and at a stop, what is new is added as a few lines; nothing waits for the disk. A day that is over is
 * summed up into the fewest lines and written whole in its place; days and bytes are bounded, and the oldest go first.
 * A line that is not whole, the last one of a power cut, is skipped.
 */
import { appendFile, mkdir, open, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { asIdlewildError, type Clock, type Timer } from '@idlewild/protocol';
import type { Log } from '../core/agent.ts';
import { HISTORY_LIMITS } from '../core/lending/control/limits.ts';
import type { Energy } from '../core/lending/energy/energy.ts';
import {
  createTally,
  daysOf,
  historyLineSchema,
  sumLines,
  type DayHistory,
  type HistoryLine,
  type TallyState,
} from '../core/lending/control/history.ts';
import type { WorkDone } from '../core/lending/control/work.ts';
import { localDay } from './local-time.ts';

export const HISTORY_FOLDER = 'history';
const FILE = /^(\d{4}-\d\d-\d\d)\.jsonl$/;

export interface History {
  state(state: TallyState): void;
  done(work: WorkDone): void;
  drawn(energy: Energy): void;
  /** Of today, with what is not written yet. */
  today(): DayHistory;
  /** Writes what is new. */
  flush(): Promise<void>;
  /** The last time. */
  close(): Promise<void>;
}

export interface HistoryDeps {
  /** The device's. */
  readonly folder: string;
  readonly clock: Clock;
  /** Id of the community, once work may come. */
  territory(): string;
  readonly log: Log;
}

/** Opens what earlier runs wrote, and sums up the days that are over. */
export async function openHistory({ folder, clock, territory, log }: HistoryDeps): Promise<History> {
  const place = join(folder, HISTORY_FOLDER);
  await mkdir(place, { recursive: true, mode: 0o700 });
  const tally = createTally({ clock, territory, dayOf: localDay });
  let day = localDay(clock.now());
  await tidy(place, day);
  /** Of this day, as it is on the disk or on its way there. */
  let written: HistoryLine[] = await readDay(place, day);
  let waiting: HistoryLine[] = [];
  let writing: Promise<void> = Promise.resolve();
  let timer: Timer | undefined;

  function collect(): void {
    // Whoever looks often makes no more lines of it.
    waiting = sumLines([...waiting, ...tally.take()]);
    const now = localDay(clock.now());
    if (now === day) return;
    day = now;
    written = [];
  }
  async function write(): Promise<void> {
    const lines = waiting;
    if (lines.length === 0) return;
    waiting = [];
    const before = day;
    written = sumLines([...written, ...lines.filter((line) => line.day === before)]);
    for (const [on, some] of Map.groupBy(lines, (line) => line.day)) await add(place, on, some);
    if (lines.some((line) => line.day !== before)) await tidy(place, before);
  }
  function flush(): Promise<void> {
    collect();
    writing = writing.then(write).catch((thrown: unknown) => {
      log('warn', asIdlewildError(thrown, 'writing the history').message);
    });
    return writing;
  }
  const wait = (): void => {
    timer = clock.after(HISTORY_LIMITS.flushMs, () => {
      void flush();
      wait();
    });
  };
  wait();
  return {
    state: (state) => tally.state(state),
    done: (work) => tally.done(work),
    drawn: (energy) => tally.drawn(energy),
    today() {
      collect();
      const lines = [...written, ...waiting].filter((line) => line.day === day);
      return daysOf(lines)[0] ?? { day, work: [], pauses: [] };
    },
    flush,
    async close() {
      timer?.cancel();
      await flush();
    },
  };
}

/** Of the newest days, as far as they are written; for whoever shows it, also while the device runs. */
export async function readHistory(folder: string, days: number, nowMs: number): Promise<DayHistory[]> {
  const place = join(folder, HISTORY_FOLDER);
  const first = localDay(nowMs, days - 1);
  const lines: HistoryLine[] = [];
  for (const { day } of await files(place)) if (day >= first) lines.push(...(await readDay(place, day)));
  return daysOf(lines);
}

const pathOf = (place: string, day: string): string => join(place, `${day}.jsonl`);
const textOf = (lines: readonly HistoryLine[]): string => lines.map((line) => `${JSON.stringify(line)}\n`).join('');

/** Whatever ends without a line's end was cut off: what follows must not hang on to it. */
async function add(place: string, day: string, lines: readonly HistoryLine[]): Promise<void> {
  const path = pathOf(place, day);
  if (!(await isHistory(path))) await rm(path, { force: true });
  const isTorn = await endsTorn(path);
  await appendFile(path, `${isTorn ? '\n' : ''}${textOf(lines)}`, { mode: 0o600 });
  const { size } = await stat(path);
  if (size > HISTORY_LIMITS.fileBytesMax) await compact(place, day);
}

async function endsTorn(path: string): Promise<boolean> {
  const file = await open(path, 'r').catch(ifAbsent(undefined));
  if (file === undefined) return false;
  try {
    const { size } = await file.stat();
    if (size === 0) return false;
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
    return buffer[0] !== 0x0a;
  } finally {
    await file.close();
  }
}

/** What no device has written, a pipe or gigabytes, is not waited for or read. */
async function isHistory(path: string): Promise<boolean> {
  const found = await stat(path).catch(ifAbsent(undefined));
  return found?.isFile() === true && found.size <= HISTORY_LIMITS.bytesMax;
}

async function readDay(place: string, day: string): Promise<HistoryLine[]> {
  const path = pathOf(place, day);
  const text = (await isHistory(path)) ? await readFile(path, 'utf8').catch(ifAbsent('')) : '';
  return text.split('\n').flatMap((line) => {
    const parsed = historyLineSchema.safeParse(parse(line));
    return parsed.success && parsed.data.day === day ? [parsed.data] : [];
  });
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Whole beside its place and moved there: a power cut leaves the one or the other. */
async function compact(place: string, day: string): Promise<void> {
  const path = pathOf(place, day);
  const beside = `${path}.new`;
  await writeFile(beside, textOf(sumLines(await readDay(place, day))), { mode: 0o600 });
  await rename(beside, path);
}

/** Sums up what is over, and removes what there is no room for. */
async function tidy(place: string, today: string): Promise<void> {
  for (const { day, bytes } of await files(place)) {
    if (day < today && bytes > HISTORY_LIMITS.compactedBytes) await compact(place, day);
  }
  let bytesLeft: number = HISTORY_LIMITS.bytesMax;
  for (const [index, { day, bytes }] of (await files(place)).toReversed().entries()) {
    bytesLeft -= bytes;
    if (index > 0 && (bytesLeft < 0 || index >= HISTORY_LIMITS.daysMax)) await rm(pathOf(place, day), { force: true });
  }
}

/** Oldest first. */
async function files(place: string): Promise<{ readonly day: string; readonly bytes: number }[]> {
  const names = await readdir(place).catch(ifAbsent<string[]>([]));
  const days = names.flatMap((name) => FILE.exec(name)?.[1] ?? []).sort();
  return Promise.all(
    days.map(async (day) => ({ day, bytes: (await stat(pathOf(place, day)).catch(ifAbsent({ size: 0 }))).size })),
  );
}

const ifAbsent =
  <Value>(instead: Value) =>
  (error: unknown): Value => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return instead;
    throw error;
  };
