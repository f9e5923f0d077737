import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createMemoryBuckets } from '../callers/buckets.ts';
import { createThrottle } from './throttle.ts';

test('tries are counted by address, by what is tried in a community, and come back with time', async () => {
  const clock = createFakeClock(async () => {});
  const buckets = createMemoryBuckets(clock);
  const throttle = createThrottle({ buckets, crypto: nodeCrypto }, 'ter_a');
  const other = createThrottle({ buckets, crypto: nodeCrypto }, 'ter_b');
  for (let i = 0; i < 3; i++) await throttle.check('address', '192.0.2.7', 3);
  const refusal = { code: 'rate_limit_exceeded', details: { retryAfterSeconds: 20 } };
  await expect(throttle.check('address', '192.0.2.7', 3)).rejects.toMatchObject(refusal);
  await throttle.check('address', '192.0.2.8', 3);
  await throttle.check('secret', '192.0.2.7', 3);
  for (let i = 0; i < 3; i++) await throttle.check('secret', 'a code', 3);
  await expect(throttle.check('secret', 'a code', 3)).rejects.toMatchObject(refusal);
  await other.check('secret', 'a code', 3);
  // Whoever goes on elsewhere in the same hub gains nothing.
  await expect(other.check('address', '192.0.2.7', 3)).rejects.toMatchObject(refusal);
  await clock.advance(20_000);
  await throttle.check('address', '192.0.2.7', 3);
  await expect(throttle.check('address', '192.0.2.7', 3)).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
});

test('what tries several at once is counted as often, and refused whole', async () => {
  const clock = createFakeClock(async () => {});
  const throttle = createThrottle({ buckets: createMemoryBuckets(clock), crypto: nodeCrypto }, 'ter_a');
  await throttle.check('address', '192.0.2.7', 30, 9);
  expect(await throttle.take('address', '192.0.2.7', 30, 25)).toEqual({ waitMs: 8_000 });
  // Nothing was taken for what was refused.
  expect(await throttle.take('address', '192.0.2.7', 30, 21)).toEqual({ waitMs: 0 });
  expect(await throttle.take('address', '192.0.2.7', 30)).toEqual({ waitMs: 2_000 });
});

test('a class that signs in at once from one address waits for nobody, and a guesser among it does', async () => {
  const clock = createFakeClock(async () => {});
  const throttle = createThrottle({ buckets: createMemoryBuckets(clock), crypto: nodeCrypto }, 'ter_a');
  for (let i = 0; i < 100; i++) {
    await throttle.check('address', '192.0.2.7', 30, 2);
    await throttle.giveBack('address', '192.0.2.7', 30, 2);
  }
  for (let i = 0; i < 30; i++) await throttle.check('address', '192.0.2.7', 30);
  await expect(throttle.check('address', '192.0.2.7', 30)).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
  // Nobody saves up tries by good ones.
  await throttle.giveBack('address', '192.0.2.8', 30, 1_000);
  expect((await throttle.take('address', '192.0.2.8', 30, 31)).waitMs).toBeGreaterThan(0);
});
