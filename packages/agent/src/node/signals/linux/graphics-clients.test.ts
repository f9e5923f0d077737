/** Claims about graphics load by what each program counts, as the kernel's drivers write it; machines are records. */
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { processStat } from '../testing/machines.ts';
import { createRecordedSystem, emptyMachine, type Machine } from '../testing/recorded-system.ts';
import { createGraphicsClientsProbe } from './graphics-clients.ts';

const SECOND_NS = 1e9;

/** A board whose driver has no count of its own, and two programs beside ours. */
function board(): Machine {
  const machine = emptyMachine('linux');
  machine.files['/sys/class/drm/renderD128/dev'] = '226:128\n';
  machine.files['/proc/1/stat'] = processStat(1, 'init', 0, 0);
  for (const [pid, parent] of [
    [700, 1],
    [800, 1],
    [machine.pid, 1],
    [4300, machine.pid],
  ] as const) {
    machine.files[`/proc/${pid}/stat`] = processStat(pid, 'a (b) c', parent, 0);
  }
  return machine;
}

/** A process has a card open as this file. */
function opens(machine: Machine, pid: number, file: number, text: string): void {
  machine.links[`/proc/${pid}/fd/${file}`] = '/dev/dri/renderD128';
  machine.files[`/proc/${pid}/fdinfo/${file}`] = `pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t284\n${text}`;
}

const v3d = (client: number, renderSeconds: number, binSeconds = 0): string =>
  `drm-driver:\tv3d\ndrm-client-id:\t${client}\n` +
  `drm-engine-bin:\t${binSeconds * SECOND_NS} ns\nv3d-jobs-bin:\t9 jobs\n` +
  `drm-engine-render:\t${renderSeconds * SECOND_NS} ns\ndrm-memory-memory:\t88 KiB\n`;

interface World {
  readonly machine: Machine;
  /** After so many seconds. */
  after(seconds: number): Promise<number | undefined>;
  sources(): object;
}

async function openWorld(machine: Machine): Promise<World> {
  const clock: FakeClock = createFakeClock(() => Promise.resolve());
  const probe = createGraphicsClientsProbe(createRecordedSystem(machine), clock);
  await probe.read();
  return {
    machine,
    async after(seconds) {
      await clock.advance(seconds * 1_000);
      return (await probe.read()).otherGpu;
    },
    sources: () => probe.sources(),
  };
}

test('the busiest engine tells, summed over programs, and a client with two files counts once', async () => {
  const machine = board();
  opens(machine, 700, 5, v3d(1, 10));
  opens(machine, 700, 6, v3d(1, 10));
  opens(machine, 800, 9, v3d(2, 50, 3));
  const { after, sources } = await openWorld(machine);
  expect(sources()).toEqual({ otherGpu: expect.stringContaining('fdinfo') });
  opens(machine, 700, 5, v3d(1, 10.5));
  opens(machine, 700, 6, v3d(1, 10.5));
  opens(machine, 800, 9, v3d(2, 50.2, 3.4));
  // Half a second and a fifth of rendering in two; binning is another engine.
  expect(await after(2)).toBeCloseTo(0.35);
  expect(await after(1)).toBe(0);
});

test('what we and what we started use is left out', async () => {
  const machine = board();
  opens(machine, 700, 5, v3d(1, 0));
  opens(machine, machine.pid, 30, v3d(7, 0));
  opens(machine, 4300, 31, v3d(8, 0));
  const { after } = await openWorld(machine);
  opens(machine, machine.pid, 30, v3d(7, 1));
  opens(machine, 4300, 31, v3d(8, 1));
  expect(await after(1)).toBe(0);
  opens(machine, 700, 5, v3d(1, 0.25));
  expect(await after(1)).toBeCloseTo(0.25);
});

test('a driver that counts cycles is read by them, and one of several engines by how many there are', async () => {
  const machine = board();
  const xe = (cycles: number, total: number): string =>
    `drm-driver:\txe\ndrm-pdev:\t0000:03:00.0\ndrm-client-id:\t4\ndrm-total-cycles-rcs:\t${total}\n` +
    `drm-cycles-rcs:\t${cycles}\n`;
  const i915 = (seconds: number): string =>
    `drm-driver:\ti915\ndrm-pdev:\t0000:00:02.0\ndrm-client-id:\t4\n` +
    `drm-engine-video:\t${seconds * SECOND_NS} ns\ndrm-engine-capacity-video:\t2\n`;
  opens(machine, 700, 5, xe(1_000, 50_000));
  opens(machine, 800, 5, i915(1));
  const { after } = await openWorld(machine);
  opens(machine, 700, 5, xe(4_000, 60_000));
  opens(machine, 800, 5, i915(1.2));
  expect(await after(1)).toBeCloseTo(0.3);
  opens(machine, 700, 5, xe(4_000, 70_000));
  opens(machine, 800, 5, i915(2));
  expect(await after(1)).toBeCloseTo(0.4);
});

test('a game that starts among many programs is seen at the next look, and gone when it has ended', async () => {
  const machine = board();
  for (let pid = 1_000; pid < 1_300; pid++) machine.files[`/proc/${pid}/stat`] = processStat(pid, 'idle', 1, 0);
  const { after, sources } = await openWorld(machine);
  expect([await after(1), sources()]).toEqual([undefined, {}]);
  for (let round = 0; round < 12; round++) await after(5);
  machine.files['/proc/9000/stat'] = processStat(9000, 'game', 1, 0);
  opens(machine, 9000, 4, v3d(3, 100));
  await after(5);
  opens(machine, 9000, 4, v3d(3, 100.9));
  expect(await after(1)).toBeCloseTo(0.9);
  for (const path of Object.keys(machine.files)) if (path.startsWith('/proc/9000/')) delete machine.files[path];
  delete machine.links['/proc/9000/fd/4'];
  expect(await after(1)).toBe(0);
});

test('what is no count says nothing, and a machine without a card is not searched', async () => {
  const machine = board();
  opens(machine, 700, 5, 'drm-driver:\tnouveau\n');
  opens(machine, 800, 5, 'drm-driver:\tx\ndrm-client-id:\t1\ndrm-engine-render:\tmany ns\ndrm-cycles-a:\t5\n');
  const { after, sources } = await openWorld(machine);
  expect([await after(1), sources()]).toEqual([undefined, {}]);
  opens(machine, 700, 5, v3d(1, 0));
  delete machine.files['/sys/class/drm/renderD128/dev'];
  expect(await after(60)).toBeUndefined();
});
