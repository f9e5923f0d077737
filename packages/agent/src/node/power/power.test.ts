/** Reading what machines draw, from recorded ones; and which of them tell nothing, and why. */
import { describe, expect, test } from 'vitest';
import { ENERGY_LIMITS } from '../../core/lending/energy/limits.ts';
import { openBattery } from './battery.ts';
import { kindOf } from './machine-kind.ts';
import { openPower } from './open-power.ts';
import { createProcessorTime } from './processor-time.ts';
import { openRapl } from './rapl.ts';
import { readerConformance, type Bench } from './testing/reader-conformance.ts';
import {
  CURRENT_NOW,
  POWER_NOW,
  SERVER,
  SERVER_OF_A_USER,
  recordedPower,
  type Recording,
} from './testing/recorded-power.ts';

async function benchOf(recording: Recording, msMax: number): Promise<Bench> {
  const machine = recordedPower(recording);
  const { reader } = await openPower(machine, machine.clock, machine.ownTicks);
  if (reader === undefined) throw new Error('this machine has no reader');
  return { ...machine, reader, msMax };
}

readerConformance('rapl', () => benchOf(SERVER, ENERGY_LIMITS.counterMsMax));
readerConformance('battery', () => benchOf(POWER_NOW, ENERGY_LIMITS.batteryMsMax));
readerConformance('battery, by voltage and current', () => benchOf(CURRENT_NOW, ENERGY_LIMITS.batteryMsMax));

describe('counters of processors', () => {
  test('a counter that goes round counts on, each at its own range', async () => {
    const { reader, pass } = await benchOf(SERVER, 0);
    await reader.take();
    let joules = 0;
    for (let minute = 0; minute < 60; minute++) {
      await pass(60_000, { watts: 300, busyMs: 0, ownMs: 0 });
      joules += (await reader.take())?.joules ?? Number.NaN;
    }
    expect(joules).toBeCloseTo(300 * 3_600, 0);
  });

  test('a counter that was set back tells nothing of that time', async () => {
    const machine = recordedPower(SERVER);
    const { reader } = await openPower(machine, machine.clock, machine.ownTicks);
    await reader?.take();
    await machine.pass(1_000, { watts: 30, busyMs: 0, ownMs: 0 });
    machine.files.set('/sys/class/powercap/intel-rapl:1/energy_uj', '17\n');
    expect(await reader?.take()).toBeUndefined();
    await machine.pass(1_000, { watts: 30, busyMs: 0, ownMs: 0 });
    expect((await reader?.take())?.joules).toBeCloseTo(30, 1);
  });

  test('a machine without /proc/stat is not measured, for nobody knows whose energy it is', async () => {
    const machine = recordedPower(SERVER);
    machine.files.delete('/proc/stat');
    const { reader } = await openPower(machine, machine.clock, machine.ownTicks);
    await reader?.take();
    await machine.pass(1_000, { watts: 30, busyMs: 0, ownMs: 0 });
    expect(await reader?.take()).toBeUndefined();
  });

  test('why there is none is said: none at all, or not for us', () => {
    const why = (recording: Recording): unknown => {
      const machine = recordedPower(recording);
      return openRapl(machine, createProcessorTime(machine, machine.ownTicks), machine.clock);
    };
    expect(why({})).toEqual({ why: expect.stringContaining('tell Linux no energy') as string });
    expect(why(SERVER_OF_A_USER)).toEqual({ why: expect.stringContaining('root alone') as string });
  });
});

describe('batteries', () => {
  test('one that charges, rests or is full tells nothing; one that is emptied again does', async () => {
    const machine = recordedPower(POWER_NOW);
    const { reader } = await openPower(machine, machine.clock, machine.ownTicks);
    const after = async (status: string): Promise<number | undefined> => {
      machine.files.set('/sys/class/power_supply/BAT0/status', `${status}\n`);
      await machine.pass(1_000, { watts: 8, busyMs: 0, ownMs: 0 });
      return (await reader?.take())?.joules;
    };
    expect(await after('Discharging')).toBeUndefined();
    expect(await after('Discharging')).toBeCloseTo(8);
    for (const status of ['Charging', 'Full', 'Not charging', 'Unknown']) expect(await after(status)).toBeUndefined();
    expect(await after('Discharging')).toBeUndefined();
    expect(await after('Discharging')).toBeCloseTo(8);
  });

  test("the battery of a mouse is none of the machine's", async () => {
    const machine = recordedPower(POWER_NOW);
    for (const path of [...machine.files.keys()]) if (path.includes('BAT0')) machine.files.delete(path);
    const processors = createProcessorTime(machine, machine.ownTicks);
    expect(await openBattery(machine, processors, machine.clock)).toBeUndefined();
  });
});

describe('which of them', () => {
  test("counters before the battery, the battery where they are root's, and nothing elsewhere", async () => {
    const found = async (recording: Recording): Promise<unknown> => {
      const machine = recordedPower(recording);
      const { reader, why } = await openPower(machine, machine.clock, machine.ownTicks);
      return [reader?.name, why !== undefined];
    };
    expect(await found({ files: { ...SERVER.files, ...POWER_NOW.files } })).toEqual(['rapl', false]);
    expect(
      await found({ files: { ...SERVER.files, ...POWER_NOW.files }, denied: SERVER_OF_A_USER.denied ?? [] }),
    ).toEqual(['battery', true]);
    expect(await found(SERVER_OF_A_USER)).toEqual([undefined, true]);
    expect(await found({ platform: 'darwin' })).toEqual([undefined, true]);
    expect(await found({ platform: 'win32' })).toEqual([undefined, true]);
  });
});

describe('what kind of machine it is', () => {
  const WINDOWS =
    'powershell.exe -NoProfile -NonInteractive -Command (Get-CimInstance Win32_SystemEnclosure).ChassisTypes';
  test.each<[string, Recording, number, string]>([
    ['a notebook by its case', { files: { '/sys/class/dmi/id/chassis_type': '10\n' } }, 8, 'laptop'],
    ['a tower', { files: { '/sys/class/dmi/id/chassis_type': '7\n' } }, 64, 'desktop'],
    ['a rack', { files: { '/sys/class/dmi/id/chassis_type': '23\n' } }, 8, 'server'],
    [
      'a case that says "other", with a battery',
      { files: { ...POWER_NOW.files, '/sys/class/dmi/id/chassis_type': '1\n' } },
      8,
      'laptop',
    ],
    ['a case that says "other", without one', { files: { '/sys/class/dmi/id/chassis_type': '2\n' } }, 8, 'desktop'],
    ['nothing but many processors', {}, 96, 'server'],
    ['garbage', { files: { '/sys/class/dmi/id/chassis_type': 'To be filled\n' } }, 4, 'desktop'],
    [
      'a virtual machine in a tower',
      { files: { '/sys/class/dmi/id/chassis_type': '7\n', '/proc/cpuinfo': 'flags\t\t: fpu hypervisor lahf_lm\n' } },
      2,
      'server',
    ],
    [
      'a Raspberry Pi',
      { files: { '/sys/firmware/devicetree/base/model': 'Raspberry Pi 5 Model B Rev 1.0\0' } },
      4,
      'board',
    ],
    ['a MacBook', { platform: 'darwin', commands: { 'sysctl -n hw.model': 'MacBookPro18,3\n' } }, 10, 'laptop'],
    ['another Mac', { platform: 'darwin', commands: { 'sysctl -n hw.model': 'Mac14,13\n' } }, 12, 'desktop'],
    ['Windows in a notebook', { platform: 'win32', commands: { [WINDOWS]: '10\r\n' } }, 12, 'laptop'],
    ['Windows that says nothing', { platform: 'win32' }, 12, 'desktop'],
    ['a system that nobody knows', { platform: 'freebsd' }, 12, 'desktop'],
  ])('%s', async (_, recording, threads, kind) => {
    expect(await kindOf(recordedPower(recording), threads)).toBe(kind);
  });
});
