import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { crowdBounds, openFilesMax } from './open-files.ts';

test('a process knows how many files it may open', () => {
  const script = "import { openFilesMax } from './open-files.ts'; console.log(openFilesMax());";
  const ran = execFileSync(
    'sh',
    ['-c', 'ulimit -n 777 && exec "$0" --input-type=module -e "$1"', process.execPath, script],
    { cwd: import.meta.dirname, encoding: 'utf8' },
  );
  expect(ran.trim()).toBe('777');
  expect(openFilesMax()).toBeGreaterThan(0);
});

test('strangers fit into the files that there are, and the hub keeps some for itself', () => {
  const { strangersMax, strangersPerAddressMax, filesKeptMax } = HUB_LIMITS;
  const plenty = crowdBounds({}, 1_048_576);
  expect(plenty).toEqual({
    all: 1_048_576 - filesKeptMax,
    strangers: strangersMax,
    perAddress: strangersPerAddressMax,
  });
  expect(crowdBounds({}, 1_024)).toEqual({ all: 768, strangers: 384, perAddress: 384 });
  expect(crowdBounds({ perAddress: 20, inAll: 500 }, 1_024)).toEqual({ all: 768, strangers: 384, perAddress: 20 });
  expect(crowdBounds({})).toMatchObject({ all: Number.POSITIVE_INFINITY, strangers: strangersMax });
});
