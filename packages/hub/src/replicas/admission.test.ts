/** Claims about who may join a replica, and how devices spread over several. */
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { createAdmission, type Admission, type AdmissionDeps } from './admission.ts';

interface Other {
  readonly devices: number;
  readonly state?: 'live' | 'draining';
}

function setUp(own: number, others: readonly Other[] = [], more: Partial<AdmissionDeps> = {}) {
  const clock = createFakeClock(async () => {});
  const random = createSeededRandom(1);
  const counts = { own };
  const admission = createAdmission({
    clock,
    random,
    devices: () => counts.own,
    live: () => [
      { devices: counts.own, state: 'live', isSelf: true },
      ...others.map(({ devices, state = 'live' }) => ({ devices, state, isSelf: false })),
    ],
    ...more,
  });
  return { admission, clock, counts };
}

/** Of so many tries, how many got in. */
const tries = (admission: Admission, count: number): number =>
  Array.from({ length: count }, () => admission.mayJoin()).filter((refused) => refused === undefined).length;

test('joins come at a pace, and a burst may come at once', async () => {
  const { admission, clock } = setUp(0);
  expect(tries(admission, 5_000)).toBe(HUB_LIMITS.joinsBurst);
  await clock.advance(500);
  expect(tries(admission, 5_000)).toBe(HUB_LIMITS.joinsPerSecond / 2);
});

test('a storm of 20,000 comes back as a queue: all are in as fast as the pace allows, after few tries', async () => {
  const { admission, clock } = setUp(0);
  let waiting = new Map<number, number[]>([[0, Array.from({ length: 20_000 }, () => 0)]]);
  let most = 0;
  let lastMs = 0;
  const step = 100;
  for (let nowMs = 0; waiting.size > 0; nowMs += step) {
    const next = new Map<number, number[]>();
    for (const [dueMs, tried] of waiting) {
      if (dueMs > nowMs) {
        next.set(dueMs, [...(next.get(dueMs) ?? []), ...tried]);
        continue;
      }
      for (const count of tried) {
        const refused = admission.mayJoin();
        most = Math.max(most, count + 1);
        lastMs = nowMs;
        if (refused === undefined) continue;
        const back = Math.ceil((nowMs + refused.retryAfterMs) / step) * step;
        next.set(back, [...(next.get(back) ?? []), count + 1]);
      }
    }
    waiting = next;
    await clock.advance(step);
  }
  const ideal = ((20_000 - HUB_LIMITS.joinsBurst) / HUB_LIMITS.joinsPerSecond) * 1_000;
  expect(lastMs).toBeLessThan(ideal * 1.15);
  expect(most).toBeLessThanOrEqual(8);
});

test('a full replica takes nobody, and one that is behind with its work tells a time to come back', () => {
  const full = setUp(10, [], { devicesMax: 10 });
  expect(full.admission.mayJoin()).toMatchObject({ code: 'too_busy', message: expect.stringContaining('(10)') });
});

test('who is alone, has its share or has few devices refuses nobody for that', () => {
  expect(tries(setUp(5_000).admission, 500)).toBe(500);
  expect(tries(setUp(1_000, [{ devices: 1_000 }]).admission, 500)).toBe(500);
  expect(tries(setUp(1_090, [{ devices: 1_000 }, { devices: 1_000 }]).admission, 500)).toBe(500);
  expect(tries(setUp(40, [{ devices: 0 }]).admission, 500)).toBe(500);
});

test('who has more than its share sends most elsewhere and lets a few in, so that nobody tries for ever', () => {
  const admitted = tries(setUp(1_000, [{ devices: 0 }]).admission, 1_000);
  expect(admitted).toBeGreaterThan(150);
  expect(admitted).toBeLessThan(350);
  expect(tries(setUp(0, [{ devices: 1_000 }]).admission, 1_000)).toBe(1_000);
});

test('devices of a replica that drains are counted as coming', () => {
  const others = [{ devices: 1_000 }, { devices: 1_000, state: 'draining' as const }];
  expect(tries(setUp(1_400, others).admission, 500)).toBe(500);
});

test('three replicas behind a balancer that knows no load end up with a third each', async () => {
  const clock: FakeClock = createFakeClock(async () => {});
  const random = createSeededRandom(3);
  const counts = [900, 100, 0];
  let seen = [...counts];
  const admissions = counts.map((_, self) =>
    createAdmission({
      clock,
      random,
      devices: () => counts[self] ?? 0,
      live: () => seen.map((devices, index) => ({ devices, state: 'live', isSelf: index === self })),
    }),
  );
  const join = (): void => {
    for (;;) {
      const at = Math.floor(random.unit() * 3);
      if (admissions[at]?.mayJoin() !== undefined) continue;
      counts[at] = (counts[at] ?? 0) + 1;
      return;
    }
  };
  let moved = 0;
  let minutes = 0;
  for (; minutes < 30; minutes++) {
    const moves = admissions.map((admission) => admission.toMove());
    for (const [at, count] of moves.entries()) {
      expect(count).toBeLessThanOrEqual((counts[at] ?? 0) * HUB_LIMITS.movedPerMinute + 1);
      counts[at] = (counts[at] ?? 0) - count;
      moved += count;
      for (let i = 0; i < count; i++) join();
    }
    seen = [...counts];
    await clock.advance(60_000);
  }
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(1_000);
  expect(Math.max(...counts)).toBeLessThanOrEqual(1_000 / 3 / (1 - HUB_LIMITS.shareSlack) + 5);
  // Some land where they came from; none go round for ever.
  expect(moved).toBeLessThan(1_500);
  expect(admissions.map((admission) => admission.toMove())).toEqual([0, 0, 0]);
});

test('a replica that restarts empties nobody: only who is over its share for longer lets devices go', () => {
  const { admission, counts } = setUp(1_000, [{ devices: 0 }]);
  expect(admission.toMove()).toBe(0);
  expect(admission.toMove()).toBe(100);
  counts.own = 0;
  expect(admission.toMove()).toBe(0);
  counts.own = 1_000;
  expect(admission.toMove()).toBe(0);
});
