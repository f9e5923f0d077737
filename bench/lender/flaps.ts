/** Days of a machine whose signals waver about their thresholds: how often it pauses or resumes in vain. */
import { noisyDay } from '@idlewild/agent/testing';
import { createSeededRandom } from '@idlewild/protocol/testing';
import type { BenchRun } from '../bench.ts';

const DAYS = 10;

export function measureFlaps(run: BenchRun): Promise<void> {
  run.say(`lender.flaps: ${DAYS} days of 24 hours`);
  const days = Array.from({ length: DAYS }, (_, seed) => noisyDay(createSeededRandom(seed)));
  const pauses = days.reduce((sum, day) => sum + day.pauses, 0);
  const share = days.reduce((sum, day) => sum + day.pausedShare, 0) / DAYS;
  const halted = days.reduce((sum, day) => sum + day.haltedShare, 0) / DAYS;
  run.record(
    'lender.flaps',
    days.reduce((sum, day) => sum + day.flaps.length, 0),
    `${DAYS} simulated days with ${pauses} pauses; paused for ${(100 * share).toFixed(0)} % of them, and halted ` +
      `for ${(100 * halted).toFixed(1)} % of the time for work`,
  );
  return Promise.resolve();
}
