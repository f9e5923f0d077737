import { expect, test } from 'vitest';
import { createDeviceLog } from './device-log.ts';

function logged(): {
  lines: Record<string, unknown>[];
  clock: { nowMs: number };
  log: ReturnType<typeof createDeviceLog>;
} {
  const lines: Record<string, unknown>[] = [];
  const clock = { nowMs: Date.UTC(2026, 10, 23) };
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>);
  return { lines, clock, log: createDeviceLog({ write }, () => clock.nowMs) };
}

test('a line has its instant, level, message and fields; what is for debugging is left out', () => {
  const { lines, log } = logged();
  log('info', 'connected', { session: 's1' });
  log('debug', 'a frame');
  expect(lines).toEqual([{ at: '2026-11-23T00:00:00.000Z', level: 'info', message: 'connected', session: 's1' }]);
});

test('a hub that is away for three days leaves lines by the hour, and is news again afterwards', () => {
  const { lines, clock, log } = logged();
  const day = 86_400_000;
  for (let ms = 0; ms < 3 * day; ms += 1_500) {
    log('warn', ms % 4_500 === 0 ? 'the line is dead' : 'connection refused', { retryInMs: ms % 3_000 });
    clock.nowMs += 1_500;
  }
  expect(lines.length).toBeGreaterThan(2 * 72);
  expect(lines.length).toBeLessThan(2 * (72 + 20));
  expect(lines.slice(0, 5).map(({ message, times }) => [message, times])).toEqual([
    ['the line is dead', undefined],
    ['connection refused', undefined],
    ['connection refused', 2],
    ['the line is dead', 2],
    ['connection refused', 4],
  ]);
  const before = lines.length;
  clock.nowMs += 3_600_000;
  log('warn', 'connection refused');
  log('warn', 'connection refused');
  expect(lines.slice(before).map(({ times }) => times)).toEqual([undefined, 2]);
});

test('what it counts is bounded: things that are always new are all written', () => {
  const { lines, log } = logged();
  for (let index = 0; index < 1_000; index++) log('warn', `model ${index} failed`);
  log('warn', 'model 0 failed');
  expect(lines).toHaveLength(1_001);
  expect(lines.at(-1)).not.toHaveProperty('times');
});
