/**
 * Durations as people write them: a number and a unit, `90m`, `24h`, `30d`; several follow each other, `1h30m`. And
 * times, as such durations before now or as they are written.
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

const WRITTEN = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2})?)?$/;

/** A time: how long ago, like `2h`; or as ISO 8601 has it, by this machine's clock unless it says otherwise. */
export function parseMoment(text: string, nowMs: number): number {
  const wanted = text.trim();
  if (!/^\d{4}-/.test(wanted)) return nowMs - parseDuration(wanted);
  // A day alone would be one of Greenwich.
  const atMs = WRITTEN.test(wanted) ? Date.parse(wanted.length === 10 ? `${wanted}T00:00` : wanted) : Number.NaN;
  if (!Number.isNaN(atMs)) return atMs;
  throw new InvalidArgumentError('Write how long ago, like 2h or 3d, or a time like 2026-10-01 or 2026-10-01T14:30.');
}
