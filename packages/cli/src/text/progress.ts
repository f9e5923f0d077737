/**
 * A progress bar on a terminal's stderr, for what takes longer than a moment. It draws nothing before `quietMs`, at
 * most ten times a second, and never where nobody looks: no terminal, or --json.
 */
import { bytesText } from './units.ts';

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
  return {
    update(doneBytes, totalBytes) {
      const nowMs = performance.now();
      if (nowMs - drawnMs < REDRAW_MS) return;
      drawnMs = nowMs;
      drawn = true;
      const line = progressLine(label, doneBytes, totalBytes, (nowMs - startedMs) / 1_000);
      screen.write(`\r\u001b[2K${line.slice(0, (screen.columns ?? 80) - 1)}`);
    },
    end() {
      if (drawn) screen.write('\r\u001b[2K');
    },
  };
}

export function progressLine(label: string, doneBytes: number, totalBytes: number, seconds: number): string {
  const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const filled = Math.round(share * BAR_CHARACTERS);
  const bar = '█'.repeat(filled) + '░'.repeat(BAR_CHARACTERS - filled);
  const rate = seconds > 0 ? `  ${bytesText(doneBytes / seconds)}/s` : '';
  return `${label} ${bar} ${Math.floor(share * 100)} %  ${bytesText(doneBytes)} of ${bytesText(totalBytes)}${rate}`;
}
