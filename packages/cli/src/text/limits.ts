/** Limits of keys as people write and read them. */
import { InvalidArgumentError } from 'commander';

const PER_MINUTE_MAX = 60_000_000;

/** A number of requests or tokens in a minute. */
export function parsePerMinute(text: string): number {
  const count = /^\d{1,8}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= 1 && count <= PER_MINUTE_MAX) return count;
  throw new InvalidArgumentError(`It must be a number from 1 to ${PER_MINUTE_MAX}.`);
}

export const parsePerMinuteOrNone = (text: string): number | 'none' => (text === 'none' ? text : parsePerMinute(text));

export const parseLimitChange = (text: string): number | 'none' | 'default' =>
  text === 'default' ? text : parsePerMinuteOrNone(text);

/** `60`, `none`, or `–` for what holds for every key. */
export const limitText = (limit: number | 'none' | null | undefined): string =>
  limit === null || limit === undefined ? '–' : String(limit);
