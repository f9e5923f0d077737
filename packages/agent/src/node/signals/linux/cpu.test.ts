/** What of a machine's load is others': by recorded machines, whose clock is the test's. */
import { createFakeClock, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import type { SignalSource } from '../../../core/lending/idleness/port.ts';
import { openSignals } from '../open-signals.ts';
import { NOW_MS, cpuTimes, processStat, server } from '../testing/machines.ts';
import { createRecordedSystem, type Machine, type RecordedSystem } from '../testing/recorded-system.ts';

interface World {
  readonly clock: FakeClock;
  readonly system: RecordedSystem;
  readonly source: SignalSource;
}

async function openWorld(machine: Machine): Promise<World> {
  const clock = createFakeClock(yieldToNode, NOW_MS);
  const system = createRecordedSystem(machine);
  const opening = openSignals({ clock, system });
  await clock.settle();
  return { clock, system, source: await opening };
}

describe("others' load", () => {
  const after = async (
    { clock, system, source }: World,
    files: Record<string, string>,
  ): Promise<number | undefined> => {
    Object.assign(system.machine.files, files);
    await clock.advance(1_000);
    return (await source.read()).otherCpu;
  };

  test('leaves out what we and our children did', async () => {
    const world = await openWorld(server());
    world.system.machine.files['/proc/4242/task/4242/children'] = '4300 ';
    world.system.machine.files['/proc/4300/stat'] = processStat(4300, 'engine (2) x', 4242, 0);
    expect(await after(world, { '/proc/stat': cpuTimes(5_010, 5_090) })).toBeCloseTo(0.1);
    const files = {
      '/proc/stat': cpuTimes(5_090, 5_110),
      '/proc/4300/stat': processStat(4300, 'engine (2) x', 4242, 70),
    };
    expect(await after(world, files)).toBeCloseTo(0.1);
  });

  test('is not what a child did that has just ended, nor what another has done that got its number', async () => {
    const world = await openWorld(server());
    world.system.machine.files['/proc/4242/task/4242/children'] = '4300 ';
    world.system.machine.files['/proc/4300/stat'] = processStat(4300, 'engine', 4242, 50);
    await after(world, { '/proc/stat': cpuTimes(5_050, 5_050) });
    // It is buried: its 60 ticks are its parent's now. Its number is another's, who has been busy for long.
    const files = {
      '/proc/stat': cpuTimes(5_060, 5_140),
      '/proc/4242/task/4242/children': '',
      '/proc/4242/stat': processStat(4242, 'node', 1, 60),
      '/proc/4300/stat': processStat(4300, 'make', 1, 9_999, 777),
    };
    expect(await after(world, files)).toBeCloseTo(0);
  });

  test('stays ours when the parent of a process of ours has gone before it', async () => {
    const world = await openWorld(server());
    world.system.machine.files['/proc/4242/task/4242/children'] = '4300 ';
    world.system.machine.files['/proc/4300/stat'] = processStat(4300, 'engine', 4242, 0);
    await after(world, { '/proc/stat': cpuTimes(5_001, 5_099) });
    const files = {
      '/proc/4242/task/4242/children': '',
      '/proc/stat': cpuTimes(5_081, 5_119),
      '/proc/4300/stat': processStat(4300, 'engine', 1, 80),
    };
    expect(await after(world, files)).toBeCloseTo(0);
  });

  test('is read from processes that name their parents, where the kernel lists no children', async () => {
    const machine = server();
    for (const path of Object.keys(machine.files)) if (path.endsWith('children')) delete machine.files[path];
    machine.files['/proc/4300/stat'] = processStat(4300, 'engine', 4242, 0);
    const world = await openWorld(machine);
    const files = { '/proc/stat': cpuTimes(5_070, 5_030), '/proc/4300/stat': processStat(4300, 'engine', 4242, 60) };
    expect(await after(world, files)).toBeCloseTo(0.1);
  });

  test('is not what another virtual machine took', async () => {
    const world = await openWorld(server());
    expect(await after(world, { '/proc/stat': cpuTimes(5_000, 5_050, 50) })).toBe(0);
  });

  const counted = (nanos: number): string => `${nanos} 1234567 42\n`;

  test('is told apart from ours by what the kernel counts of each thread, which is finer than ticks', async () => {
    const { clock, system, source } = await openWorld(server());
    const { files } = system.machine;
    Object.assign(files, {
      '/proc/4242/task/4242/children': '4300 ',
      '/proc/4300/stat': processStat(4300, 'engine', 4242, 100),
      '/proc/4300/task/4300/schedstat': counted(600_000_000),
      '/proc/4300/task/4301/schedstat': counted(400_900_000),
    });
    await clock.advance(1_000);
    await source.read();
    // Of 50 ms none was idle, and ours took 36, though not a tick of it was counted.
    files['/proc/4300/task/4301/schedstat'] = counted(436_900_000);
    files['/proc/stat'] = cpuTimes(5_004, 5_000);
    await clock.advance(50);
    expect((await source.read()).otherCpu).toBeCloseTo(14 / 50);
    // A thread that ends takes its count along, and nothing is another program's for that.
    delete files['/proc/4300/task/4301/schedstat'];
    files['/proc/4300/stat'] = processStat(4300, 'engine', 4242, 104);
    files['/proc/stat'] = cpuTimes(5_009, 5_000);
    await clock.advance(50);
    expect((await source.read()).otherCpu).toBeCloseTo(1 - (1_040 - 1_036.9) / 50);
  });

  test('is what a program does for which the kernel has counted no tick', async () => {
    const { clock, system, source } = await openWorld(server());
    system.machine.files['/proc/stat'] = cpuTimes(5_000, 5_001);
    await clock.advance(50);
    expect((await source.read()).otherCpu).toBeCloseTo(0.8);
  });

  test('is not told where the kernel counts no time at all', async () => {
    const { clock, source } = await openWorld(server());
    await clock.advance(1_000);
    expect((await source.read()).otherCpu).toBeUndefined();
  });

  test('is told anew after 40 ms, and not sooner', async () => {
    const { clock, system, source } = await openWorld(server());
    system.machine.files['/proc/stat'] = cpuTimes(5_003, 5_001);
    await clock.advance(40);
    expect((await source.read()).otherCpu).toBeCloseTo(0.75);
    system.machine.files['/proc/stat'] = cpuTimes(5_003, 5_003);
    await clock.advance(20);
    expect((await source.read()).otherCpu).toBeCloseTo(0.75);
  });
});
