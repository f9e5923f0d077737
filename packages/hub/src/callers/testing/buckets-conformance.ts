/** What every store of buckets must do, as tests that each implementation runs. */
import { expect, test } from 'vitest';
import { fullBucket } from '../bucket.ts';
import type { Buckets, KeyBuckets } from '../buckets.ts';

export function testBuckets(name: string, create: () => Promise<Buckets>): void {
  const read = (buckets: Buckets, key: string): Promise<KeyBuckets> =>
    Promise.resolve(buckets.read(key, (kept) => kept));
  const add = (buckets: Buckets, key: string): Promise<number> =>
    Promise.resolve(
      buckets.update(key, (kept, nowMs) => {
        const perMinute = (kept.requests?.perMinute ?? 0) + 1;
        return { buckets: { requests: fullBucket(perMinute, nowMs) }, result: perMinute };
      }),
    );

  test(`${name}: an unknown key has no buckets, and what a step makes is there for the next`, async () => {
    const buckets = await create();
    expect(await read(buckets, 'key_a')).toEqual({});
    expect(await add(buckets, 'key_a')).toBe(1);
    expect(await read(buckets, 'key_a')).toMatchObject({ requests: { perMinute: 1 } });
    expect(await read(buckets, 'key_b')).toEqual({});
  });

  test(`${name}: the time of steps and looks never goes back`, async () => {
    const buckets = await create();
    const times: number[] = [];
    for (let i = 0; i < 20; i++) {
      await buckets.update('key_a', (_, nowMs) => {
        times.push(nowMs);
        return { buckets: { requests: fullBucket(1, nowMs) }, result: undefined };
      });
      await buckets.read('key_a', (_, nowMs) => times.push(nowMs));
    }
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  test(`${name}: steps that come at once come one after the other`, async () => {
    const buckets = await create();
    const counts = await Promise.all(Array.from({ length: 50 }, () => add(buckets, 'key_a')));
    expect(counts.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  });

  test(`${name}: a step that throws changes nothing`, async () => {
    const buckets = await create();
    await add(buckets, 'key_a');
    const failing = async (): Promise<unknown> =>
      buckets.update('key_a', () => {
        throw new Error('on purpose');
      });
    await expect(failing()).rejects.toThrow('on purpose');
    expect(await read(buckets, 'key_a')).toMatchObject({ requests: { perMinute: 1 } });
  });
}
