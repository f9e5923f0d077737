import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { createMemoryBuckets } from './buckets.ts';
import { createLimits, type Admission, type DefaultLimits, type LimitedKey, type Limits } from './limits.ts';
import { testBuckets } from './testing/buckets-conformance.ts';

testBuckets('in memory', async () => createMemoryBuckets(createFakeClock(async () => {})));

const MINUTE_MS = 60_000;
const key = (over: Omit<LimitedKey, 'keyId'> = {}): LimitedKey => ({ keyId: 'key_a', ...over });

function setUp(defaults: DefaultLimits = {}): { limits: Limits; clock: ReturnType<typeof createFakeClock> } {
  const clock = createFakeClock(async () => {});
  const onFault = (error: unknown): void => {
    throw error;
  };
  return {
    clock,
    limits: createLimits({ buckets: createMemoryBuckets(clock), asks: createMemoryBuckets(clock), defaults, onFault }),
  };
}
async function admitted(limits: Limits, of: LimitedKey, tokens = 1): Promise<Admission> {
  const answer = await limits.admit(of, tokens);
  if ('error' in answer) throw answer.error;
  return answer;
}
const refusedFor = async (limits: Limits, of: LimitedKey, tokens = 1): Promise<number | undefined> => {
  const answer = await limits.admit(of, tokens);
  return 'error' in answer ? (answer.error.details.retryAfterMs as number) : undefined;
};

test('without a limit everything goes, and there is nothing to tell', async () => {
  const { limits } = setUp();
  for (let i = 0; i < 1_000; i++) expect((await admitted(limits, key(), 1e9)).standing).toEqual({});
});

test('a minute of requests may come at once, and the next when there is room again', async () => {
  const { limits, clock } = setUp();
  const three = key({ requestsPerMinute: 3 });
  for (const remaining of [2, 1, 0]) {
    const { standing } = await admitted(limits, three);
    expect(standing.requests).toMatchObject({ perMinute: 3, remaining });
    expect(standing.tokens).toBeUndefined();
  }
  expect(await refusedFor(limits, three)).toBe(20_000);
  await clock.advance(19_999);
  expect(await refusedFor(limits, three)).toBe(1);
  await clock.advance(1);
  expect((await admitted(limits, three)).standing.requests).toMatchObject({ remaining: 0, resetMs: MINUTE_MS });
});

test('a refusal takes nothing, of neither bucket, and names what is short for longest', async () => {
  const { limits } = setUp();
  const tight = key({ requestsPerMinute: 10, tokensPerMinute: 100 });
  await admitted(limits, tight, 80);
  const answer = await limits.admit(tight, 50);
  expect(answer).toMatchObject({
    error: { code: 'rate_limit_exceeded', details: { limit: 'tokens', retryAfterMs: 18_000, retryAfterSeconds: 18 } },
    standing: { requests: { remaining: 9 }, tokens: { remaining: 20 } },
  });
  expect((await limits.standing(tight)).requests).toMatchObject({ remaining: 9 });
  expect((await admitted(limits, tight, 20)).standing.requests).toMatchObject({ remaining: 8 });
});

test('an estimate is settled by what was used, in whatever order the two come', async () => {
  for (const usedFirst of [true, false]) {
    const { limits } = setUp({ tokensPerMinute: 1_000 });
    const { release } = await admitted(limits, key(), 600);
    const steps = [() => limits.charge('key_a', 150), release];
    for (const step of usedFirst ? steps : steps.toReversed()) step();
    release();
    expect((await limits.standing(key())).tokens).toMatchObject({ remaining: 850 });
  }
});

test('what went beyond the estimate is a debt that is paid first', async () => {
  const { limits, clock } = setUp({ tokensPerMinute: 600 });
  const { release } = await admitted(limits, key(), 100);
  release();
  limits.charge('key_a', 1_200);
  expect((await limits.standing(key())).tokens).toMatchObject({ remaining: 0, resetMs: 2 * MINUTE_MS });
  expect(await refusedFor(limits, key(), 10)).toBe(MINUTE_MS + 1_000);
  await clock.advance(MINUTE_MS + 1_000);
  await admitted(limits, key(), 10);
});

test('a request larger than the whole bucket waits for a full one, and goes', async () => {
  const { limits, clock } = setUp({ tokensPerMinute: 100 });
  await admitted(limits, key(), 5_000);
  expect(await refusedFor(limits, key(), 5_000)).toBe(MINUTE_MS);
  await clock.advance(MINUTE_MS);
  await admitted(limits, key(), 5_000);
});

test("a key's own limit goes before the territory's, and `none` is none", async () => {
  const { limits } = setUp({ requestsPerMinute: 1, tokensPerMinute: 10 });
  expect(await limits.standing(key())).toMatchObject({ requests: { perMinute: 1 }, tokens: { perMinute: 10 } });
  const own = { keyId: 'key_b', requestsPerMinute: 7, tokensPerMinute: 'none' } as const;
  const standing = await limits.standing(own);
  expect(standing.requests).toMatchObject({ perMinute: 7 });
  expect(standing.tokens).toBeUndefined();
});

test('a limit that is changed holds at once, and who waits for half a bucket still does', async () => {
  const { limits } = setUp();
  for (let i = 0; i < 5; i++) await admitted(limits, key({ requestsPerMinute: 10 }));
  expect((await limits.standing(key({ requestsPerMinute: 100 }))).requests).toMatchObject({
    perMinute: 100,
    remaining: 50,
    resetMs: MINUTE_MS / 2,
  });
});

test('one key does not use up what another may', async () => {
  const { limits } = setUp({ requestsPerMinute: 1 });
  await admitted(limits, { keyId: 'key_a' });
  await admitted(limits, { keyId: 'key_b' });
  expect(await refusedFor(limits, { keyId: 'key_a' })).toBe(MINUTE_MS);
});

test.each([1, 2, 3, 4, 5, 6, 7, 8])(
  'never more than a minute at once and the speed after it, in any window (seed %i)',
  async (seed) => {
    const random = createSeededRandom(seed);
    const { limits, clock } = setUp();
    const perMinute = 1 + Math.floor(random.unit() * 500);
    const limited = key({ tokensPerMinute: perMinute, requestsPerMinute: 1 + Math.floor(random.unit() * 60) });
    const taken: { atMs: number; requests: number; tokens: number }[] = [];
    for (let i = 0; i < 250; i++) {
      await clock.advance(random.unit() < 0.3 ? 0 : random.unit() * 4_000);
      const estimate = Math.ceil(random.unit() * perMinute * 0.4);
      const answer = await limits.admit(limited, estimate);
      if ('error' in answer) {
        // Who waits as long as told is let in.
        if (random.unit() < 0.5) continue;
        await clock.advance(answer.error.details.retryAfterMs as number);
        expect('error' in (await limits.admit(limited, estimate))).toBe(false);
        taken.push({ atMs: clock.monotonic(), requests: 1, tokens: estimate });
        continue;
      }
      // Every answer uses at most what was estimated.
      const used = Math.floor(estimate * random.unit());
      limits.charge('key_a', used);
      answer.release();
      taken.push({ atMs: clock.monotonic(), requests: 1, tokens: used });
    }
    expect(taken.length).toBeGreaterThan(20);
    for (const [first, { atMs }] of taken.entries()) {
      let requests = 0;
      let tokens = 0;
      for (const entry of taken.slice(first)) {
        requests += entry.requests;
        tokens += entry.tokens;
        const share = 1 + (entry.atMs - atMs) / MINUTE_MS;
        expect(requests).toBeLessThanOrEqual((limited.requestsPerMinute as number) * share + 1e-6);
        expect(tokens).toBeLessThanOrEqual(perMinute * share + 1e-6);
      }
    }
  },
);

test('a key with a limit may ask for the same some times as often, one without as often as it likes', async () => {
  const { limits, clock } = setUp();
  const one = key({ requestsPerMinute: 1 });
  for (let i = 0; i < HUB_LIMITS.asksPerRequest; i++) expect(await limits.mayAsk(one)).toBeUndefined();
  expect(await limits.mayAsk(one)).toMatchObject({ code: 'rate_limit_exceeded', details: { retryAfterSeconds: 6 } });
  expect((await admitted(limits, one)).standing.requests).toMatchObject({ remaining: 0 });
  await clock.advance(MINUTE_MS / HUB_LIMITS.asksPerRequest);
  expect(await limits.mayAsk(one)).toBeUndefined();
  for (let i = 0; i < 1_000; i++) expect(await limits.mayAsk(key())).toBeUndefined();
});

test('a store forgets the key that was quiet for longest, and no other', async () => {
  const clock = createFakeClock(async () => {});
  const buckets = createMemoryBuckets(clock, { keysMax: 2 });
  const limits = createLimits({ buckets, asks: buckets, defaults: { requestsPerMinute: 5 }, onFault: () => {} });
  for (const keyId of ['a', 'b', 'a', 'c']) await admitted(limits, { keyId });
  const remaining = async (keyId: string) => (await limits.standing({ keyId })).requests?.remaining;
  expect(await remaining('a')).toBe(3);
  expect(await remaining('c')).toBe(4);
  expect(await remaining('b')).toBe(5);
});
