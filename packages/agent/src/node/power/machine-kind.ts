/**
 * What kind of machine this is, for its power curve: what its case says (SMBIOS on Linux and Windows, the model's name
 * on macOS and on boards), else whether it has a battery, else how many processors it has. A virtual machine says
 * nothing true of what is under it and counts as a server, for most are on one.
 */
import type { MachineKind } from '../../core/lending/energy/energy.ts';
import { batteriesOf, type PowerFiles } from './files.ts';

export interface KindPorts extends PowerFiles {
  readonly platform: string;
  /** Standard output of a command that ended well. */
  run(command: string, args: readonly string[]): Promise<string | undefined>;
}

/** SMBIOS 3.7, 7.4.1: portable, laptop, notebook, hand held, sub-notebook, tablet, convertible, detachable. */
const PORTABLE = [8, 9, 10, 11, 14, 30, 31, 32];
/** Desktop, low profile, pizza box, mini tower, tower, all in one, lunch box, sealed case, mini and stick computers. */
const DESKTOP = [3, 4, 5, 6, 7, 13, 16, 24, 35, 36];
/** Main server chassis, rack mount, blade and its enclosure, multi-system chassis. */
const SERVER = [17, 23, 25, 28, 29];
/** More hardware threads than desktops are sold with. */
const SERVER_THREADS = 48;

export async function kindOf(ports: KindPorts, threads: number): Promise<MachineKind> {
  return (await saidKind(ports)) ?? (threads >= SERVER_THREADS ? 'server' : 'desktop');
}

async function saidKind(ports: KindPorts): Promise<MachineKind | undefined> {
  switch (ports.platform) {
    case 'linux':
      return linuxKind(ports);
    case 'darwin':
      return (await ports.run('sysctl', ['-n', 'hw.model']))?.startsWith('MacBook') === true ? 'laptop' : 'desktop';
    case 'win32': {
      const script = '(Get-CimInstance Win32_SystemEnclosure).ChassisTypes';
      return ofChassis(await ports.run('powershell.exe', ['-NoProfile', '-NonInteractive', '-Command', script]));
    }
    default:
      return undefined;
  }
}

async function linuxKind(ports: KindPorts): Promise<MachineKind | undefined> {
  if (ports.peek('/sys/firmware/devicetree/base/model')?.startsWith('Raspberry Pi') === true) return 'board';
  if (/^flags\s*:.*\bhypervisor\b/m.test(ports.peek('/proc/cpuinfo') ?? '')) return 'server';
  const said = ofChassis(ports.peek('/sys/class/dmi/id/chassis_type'));
  if (said !== undefined) return said;
  return (await batteriesOf(ports)).length > 0 ? 'laptop' : undefined;
}

/** The first number of a text; what is no known kind of case says nothing. */
function ofChassis(text: string | undefined): MachineKind | undefined {
  const type = Number(/\d+/.exec(text ?? '')?.[0] ?? Number.NaN);
  if (PORTABLE.includes(type)) return 'laptop';
  if (DESKTOP.includes(type)) return 'desktop';
  return SERVER.includes(type) ? 'server' : undefined;
}
