/** Control groups of recorded machines: where the kernel keeps the lender's limits, and what is said where not. */
import { expect, test } from 'vitest';
import { openEngineCgroup, type EngineCgroup } from './cgroup.ts';
import { HYBRID, SERVICE, TERMINAL, UNDELEGATED, VERSION_1, recordedCgroups } from './testing/recorded-cgroups.ts';

const LIMITS = { cpuShare: 0.6, cores: 8, memoryBytesMax: 4_000_000_000 };
const SELF = { pid: 4_242, children: [4_243] };

test('as a service of its own, the kernel keeps processors and memory of all engines together', () => {
  const files = recordedCgroups({ ...SERVICE, procs: [4_242, 4_243] });
  const opened = openEngineCgroup(files, LIMITS, SELF) as EngineCgroup;
  expect(opened.holds).toEqual(['cpu', 'memory']);
  expect(files.text('cgroup.procs')).toBe('');
  expect(files.text('agent/cgroup.procs')).toBe('4242\n4243\n');
  opened.adopt(5_000);
  opened.adopt(5_001);
  expect(files.text('engines/cgroup.procs')).toBe('5000\n5001\n');
  expect(files.text('engines/cpu.max')).toBe('480000 100000\n');
  expect(files.text('engines/cpu.idle')).toBe('1\n');
  expect(files.text('engines/memory.max')).toBe('4000000000\n');
  expect(files.text('engines/memory.high')).toBe('3800000000\n');
  expect(files.text('engines/pids.max')).toBe('768\n');
  expect([files.text('cpu.max'), files.text('pids.max')]).toEqual(['max 100000\n', 'max\n']);
});

test('started again from where it was moved to, it finds its groups', () => {
  const files = recordedCgroups({ ...SERVICE, own: SERVICE.own, procs: [4_242] });
  const first = openEngineCgroup(files, LIMITS, SELF) as EngineCgroup;
  const moved = {
    ...files,
    read: (path: string) => (path === '/proc/self/cgroup' ? SERVICE.own.replace('\n', '/agent\n') : files.read(path)),
  };
  const second = openEngineCgroup(moved, { ...LIMITS, cpuShare: 0.001, cores: 2 }, SELF) as EngineCgroup;
  expect(second.path).toBe(first.path);
  expect(files.text('engines/cpu.max')).toBe('1000 100000\n');
  second.close();
  expect(files.text('engines/cpu.max')).toBeUndefined();
});

test('a kernel that knows no idle groups gives the least weight, and only handed controllers are used', () => {
  const files = recordedCgroups({ ...SERVICE, withoutIdle: true, controllers: 'cpu pids\n' });
  expect(openEngineCgroup(files, LIMITS, SELF)).toMatchObject({ holds: ['cpu'] });
  expect(files.text('engines/cpu.weight')).toBe('1\n');
  expect(files.text('engines/memory.max')).toBeUndefined();
});

test('a service that was installed before tasks were handed over goes without their bound', () => {
  const files = recordedCgroups({ ...SERVICE, controllers: 'cpu memory\n' });
  expect(openEngineCgroup(files, LIMITS, SELF)).toMatchObject({ holds: ['cpu', 'memory'] });
  expect(files.text('engines/pids.max')).toBeUndefined();
});

test('no program of others is moved or limited, and why there is no group is said', () => {
  for (const [recording, why] of [
    [TERMINAL, /holds other programs/],
    [UNDELEGATED, /not ours to divide \(EACCES/],
    [HYBRID, /no controllers were handed/],
    [VERSION_1, /no control groups of version 2/],
  ] as const) {
    const files = recordedCgroups(recording);
    expect(openEngineCgroup(files, LIMITS, SELF)).toEqual({ why: expect.stringMatching(why) as string });
    expect(files.text('cgroup.procs')).toBe(
      recording === VERSION_1 ? undefined : recording.procs.map((pid) => `${pid}\n`).join(''),
    );
    expect(files.text('engines/cgroup.procs')).toBeUndefined();
  }
});

test('an engine that is still on its way out does not hold up the end', () => {
  const files = recordedCgroups(SERVICE);
  const opened = openEngineCgroup(files, LIMITS, SELF) as EngineCgroup;
  opened.adopt(5_000);
  opened.close();
  expect(files.text('engines/cgroup.procs')).toBe('5000\n');
});
