/**
 * The record of a run: passes each event to whoever listens, keeps the lines of a trace, and sums all of them up in one
 * hash, by which two runs of a seed are compared. It judges nothing.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '@idlewild/protocol';
import { isRoutine, type SimEvent, type Timed } from './events.ts';

export interface Record {
  note(event: SimEvent): void;
  /** A line for the reader of the trace alone. */
  remark(text: string): void;
  listen(hear: (event: Timed) => void): void;
  /** Lines of the trace, oldest first; only the last `linesMax`. */
  lines(): readonly string[];
  /** SHA-256 over all lines, in hex. */
  hash(): string;
}

/** Old lines are dropped so many at a time. */
const TRIM_LINES = 1_000;

export function createRecord(clock: Clock, linesMax: number): Record {
  const hash = createHash('sha256');
  const listeners: ((event: Timed) => void)[] = [];
  let lines: string[] = [];
  return {
    note(event) {
      const timed: Timed = { ...event, atMs: clock.monotonic() };
      if (!isRoutine(event)) {
        const line = lineOf(timed);
        hash.update(line);
        lines.push(line);
        if (lines.length > linesMax + TRIM_LINES) lines = lines.slice(lines.length - linesMax);
      }
      for (const hear of listeners) hear(timed);
    },
    remark: (text) => {
      lines.push(`${clock.monotonic().toFixed(3).padStart(11)} ${text}\n`);
    },
    listen: (hear) => {
      listeners.push(hear);
    },
    lines: () => lines.slice(Math.max(0, lines.length - linesMax)),
    hash: () => hash.copy().digest('hex'),
  };
}

/** Ids are long and their beginnings tell them apart. */
const brief = (value: unknown): string => {
  if (typeof value === 'string') return /^[a-z]{3}_[a-z2-7]{26}$/.test(value) ? value.slice(0, 10) : value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return `${value.length} items`;
  return JSON.stringify(value, (key, inner: unknown) => (key === 'receipt' ? 'bytes' : inner));
};

function lineOf(event: Timed): string {
  const { e, atMs, ...rest } = event;
  const fields = Object.entries(rest).filter(([, value]) => value !== undefined);
  const said = fields.map(([name, value]) => `${name}=${brief(value)}`).join(' ');
  return `${atMs.toFixed(3).padStart(11)} ${e} ${said}\n`;
}
