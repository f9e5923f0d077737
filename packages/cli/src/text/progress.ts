/**
 * A progress bar on a terminal's stderr, for what takes longer than a moment. It draws nothing before `quietMs`, at
 * most ten times a second, and never where nobody looks: no terminal, or --json.
 */
import { bytesText, spanText } from './units.ts';

export interface Progress {
  update(doneBytes: number, totalBytes: number): void;
  /** Wipes the line. */
  end(): void;
}

interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const QUIET_MS = 500;
const REDRAW_MS = 100;
const BAR_CHARACTERS = 24;

export function createProgress(label: string, screen: Screen, enabled: boolean): Progress {
  if (!enabled || screen.isTTY !== true) return { update: () => undefined, end: () => undefined };
  const startedMs = performance.now();
  let drawnMs = startedMs + QUIET_MS - REDRAW_MS;
  let drawn = false;
  let hadBytes: number | undefined;
  return {
    update(doneBytes, totalBytes) {
      const nowMs = performance.now();
      // What was there before is no speed; what starts over is not counted against it.
      hadBytes = Math.min(hadBytes ?? doneBytes, doneBytes);
      if (nowMs - drawnMs < REDRAW_MS) return;
      drawnMs = nowMs;
      drawn = true;
      const line = progressLine(label, { doneBytes, totalBytes, hadBytes, seconds: (nowMs - startedMs) / 1_000 });
      screen.write(`\r\u001b[2K${line.slice(0, (screen.columns ?? 80) - 1)}`);
    },
    end() {
      if (drawn) screen.write('\r\u001b[2K');
    },
  };
}

export interface ProgressFigures {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Of the done ones, those that were there at the start. */
  readonly hadBytes: number;
  readonly seconds: number;
}

/** Shorter than this nobody plans anything. */
const LEFT_SECONDS_MIN = 5;

export function progressLine(label: string, { doneBytes, totalBytes, hadBytes, seconds }: ProgressFigures): string {
  const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const filled = Math.round(share * BAR_CHARACTERS);
  const bar = '█'.repeat(filled) + '░'.repeat(BAR_CHARACTERS - filled);
  const bytesPerSecond = seconds > 0 ? (doneBytes - hadBytes) / seconds : 0;
  const rate = bytesPerSecond > 0 ? `  ${bytesText(bytesPerSecond)}/s` : '';
  const secondsLeft = bytesPerSecond > 0 ? (totalBytes - doneBytes) / bytesPerSecond : 0;
  const left = secondsLeft >= LEFT_SECONDS_MIN ? `  ${spanText(secondsLeft)} left` : '';
  const bytes = `${bytesText(doneBytes)} of ${bytesText(totalBytes)}`;
  return `${label} ${bar} ${Math.floor(share * 100)} %  ${bytes}${rate}${left}`;
}
