/** The time where this machine is, by the time zone that it was told. */
import type { LocalTime } from '../core/lending/hours.ts';

export function localTimeOf(ms: number): LocalTime {
  const date = new Date(ms);
  return { weekday: (date.getDay() + 6) % 7, minute: date.getHours() * 60 + date.getMinutes() };
}
