/**
 * Durations as people write them: a number and a unit, `90m`, `24h`, `30d`; several follow each other, `1h30m`.
 */
import { InvalidArgumentError } from 'commander';

const MS_OF_UNIT: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const DURATION_MS_MAX = 100 * 365 * 86_400_000;

/** Milliseconds. Throws an `InvalidArgumentError`, which the command line shows with the option's name. */
export function parseDuration(text: string): number {
  const parts = [...text.trim().matchAll(/(\d{1,9}(?:\.\d{1,3})?)\s*(min|[smhdw])/g)];
  const covered = parts.reduce((length, [part]) => length + part.length, 0);
  if (parts.length === 0 || covered !== text.trim().length) {
    throw new InvalidArgumentError('Write a number and a unit (s, m, h, d or w), like 90m, 24h or 30d.');
  }
  const ms = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (MS_OF_UNIT[unit ?? ''] ?? 0), 0);
  if (ms < 1_000) throw new InvalidArgumentError('It must be at least a second.');
  if (ms > DURATION_MS_MAX) throw new InvalidArgumentError('It must be at most a hundred years.');
  return Math.round(ms);
}

/** The same in whole seconds, as the hub's routes take them. */
export const parseDurationSeconds = (text: string): number => Math.ceil(parseDuration(text) / 1_000);
