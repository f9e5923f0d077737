/** Claims about `pause.json`, as whoever looks finds it while the device does not run. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PAUSE_FILE, heldPause, pauseResting, readKeptPause } from './kept-pause.ts';
import { newFolder } from './testing/real-hub.ts';

test('a pause that is over holds no more, though its file is still there, and the next one begins anew', async () => {
  const folder = await newFolder();
  expect(await heldPause(folder, 0)).toBeUndefined();
  await pauseResting(folder, 1_000, 5_000);
  expect(await heldPause(folder, 5_999)).toEqual({ sinceMs: 1_000, untilMs: 6_000 });
  expect(await heldPause(folder, 6_000)).toBeUndefined();
  expect(await readKeptPause(folder)).toEqual({ sinceMs: 1_000, untilMs: 6_000 });
  expect(await pauseResting(folder, 9_000, undefined)).toEqual({ sinceMs: 9_000 });
  expect(await pauseResting(folder, 9_500, undefined)).toEqual({ sinceMs: 9_000 });
  expect(JSON.parse(readFileSync(join(folder, PAUSE_FILE), 'utf8'))).toEqual({ since: '1970-01-01T00:00:09.000Z' });
});
