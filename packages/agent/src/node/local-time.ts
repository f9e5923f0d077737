/** The time where this machine is, by the time zone that it was told. */
import type { LocalTime } from '../core/lending/terms/hours.ts';

export function localTimeOf(ms: number): LocalTime {
  const date = new Date(ms);
  return { weekday: (date.getDay() + 6) % 7, minute: date.getHours() * 60 + date.getMinutes() };
}

/** The lender's day, or one of the days before it: in the time zone of the machine. */
export function localDay(nowMs: number, daysBefore = 0): string {
  const at = new Date(nowMs);
  // Of the calendar: a day on which clocks are changed has not 24 hours.
  at.setDate(at.getDate() - daysBefore);
  const two = (part: number): string => String(part).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}
