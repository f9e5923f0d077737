/** What is put before an engine, on systems that allow all of it, some or nothing; and what this one does with it. */
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { leastPriority, priorityPorts, type PriorityPorts } from './priority.ts';

const systemWith = (programs: readonly string[], refused: readonly string[] = []): PriorityPorts => ({
  find: (program) => ([...programs, 'true'].includes(program) ? `/usr/bin/${program}` : undefined),
  works: (words) => !words.some((word) => refused.some((program) => word.endsWith(`/${program}`))),
});

test('an engine is last in every queue that the system has', () => {
  expect(leastPriority(systemWith(['ionice', 'nice', 'chrt']))).toEqual({
    under: ['/usr/bin/ionice', '-c', '3', '/usr/bin/nice', '-n', '19', '/usr/bin/chrt', '--idle', '0'],
    processors: 'idle',
    disk: 'idle',
  });
});

test('what is absent or refused is left out, and said', () => {
  expect(leastPriority(systemWith(['nice', 'chrt'], ['chrt']))).toEqual({
    under: ['/usr/bin/nice', '-n', '19'],
    processors: 'nice',
    disk: 'usual',
  });
  expect(leastPriority(systemWith([]))).toEqual({ under: [], processors: 'usual', disk: 'usual' });
});

test.skipIf(process.platform !== 'linux')('on this system a program runs with what was chosen', () => {
  const { under, processors } = leastPriority(priorityPorts);
  const read = "const f = require('fs').readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ');";
  const script = `${read} console.log(JSON.stringify({ nice: Number(f[16]), policy: Number(f[38]) }))`;
  const words = [...under, process.execPath, '-e', script];
  const { stdout } = spawnSync(words[0] as string, words.slice(1), { encoding: 'utf8' });
  // proc(5): fields 19 and 41; SCHED_IDLE is 5.
  const expected = { idle: { nice: 19, policy: 5 }, nice: { nice: 19, policy: 0 }, usual: { nice: 0, policy: 0 } };
  expect(JSON.parse(stdout)).toEqual(expected[processors]);
});
