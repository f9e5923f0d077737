import { expect, onTestFinished, test, vi } from 'vitest';
import { EXIT } from '../exit-codes.ts';
import { startChild } from './child.ts';

const endOf = (words: readonly string[]) => startChild(words, { onLine: () => undefined }).ended;

test('what a process ended of is told: by an error of ours, and by a fault before it was', async () => {
  const asked = await endOf(['status']);
  expect(asked).toMatchObject({
    code: EXIT.usage,
    problem: { code: 'usage', message: expect.stringContaining('unknown option') },
  });
  onTestFinished(() => void vi.unstubAllEnvs());
  vi.stubEnv(
    'NODE_OPTIONS',
    `--import=data:text/javascript,${encodeURIComponent('throw new TypeError("half written")')}`,
  );
  expect(await endOf(['status'])).toMatchObject({ problem: { code: 'internal', message: 'TypeError: half written' } });
});
