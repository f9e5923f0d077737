/**
 * Machines as records, in the formats of their kernels and commands: a laptop on battery, a desktop with two graphics
 * cards, a headless server, a container with a share of a server, a MacBook, a Windows laptop.
 */
import { emptyMachine, type Machine } from './recorded-system.ts';

/** Of the clock that tests begin with. */
export const NOW_MS = 1_800_000_000_000;

const lines = (...all: string[]): string => `${all.join('\n')}\n`;

/** user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice. */
export const cpuTimes = (busy: number, idle: number, stolen = 0): string =>
  lines(
    `cpu  ${busy} 0 0 ${idle} 0 0 0 ${stolen} 0 0`,
    `cpu0 ${busy} 0 0 ${idle} 0 0 0 ${stolen} 0 0`,
    'intr 8885920 0 9 0 0 0 0 0 0 1',
    'ctxt 17512024',
    'btime 1795367074',
    'processes 123456',
    'procs_running 2',
    'procs_blocked 0',
  );

/** A line of /proc/PID/stat: proc(5). */
export const processStat = (pid: number, name: string, parent: number, ticks: number, started = 100): string =>
  `${pid} (${name}) S ${parent} ${pid} ${pid} 0 -1 4194304 1 0 0 0 ${ticks} 0 0 0 20 0 1 0 ${started} 1000 10 ` +
  '18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n';

const memory = (totalKb: number, availableKb: number): string =>
  lines(
    `MemTotal:       ${totalKb} kB`,
    `MemFree:          300000 kB`,
    `MemAvailable:   ${availableKb} kB`,
    'Buffers: 1 kB',
  );

const pressure = (avg10: string): string =>
  lines(
    `some avg10=${avg10} avg60=0.10 avg300=0.02 total=123456`,
    'full avg10=0.00 avg60=0.00 avg300=0.00 total=99999',
  );

const folder = (path: string, files: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(files).map(([name, text]) => [`${path}/${name}`, text]));

const process = (pid: number, name: string, parent = 1, ticks = 0): Record<string, string> =>
  folder(`/proc/${pid}`, {
    comm: `${name.slice(0, 15)}\n`,
    stat: processStat(pid, name.slice(0, 15), parent, ticks),
    cmdline: `${name}\0`,
    [`task/${pid}/children`]: '',
  });

const every = (busy: number, idle: number): Record<string, string> => ({
  '/proc/stat': cpuTimes(busy, idle),
  ...process(4242, 'node'),
  ...process(1, 'systemd', 0),
});

const inputDevices = lines(
  'I: Bus=0019 Vendor=0000 Product=0001 Version=0000',
  'N: Name="Power Button"',
  'H: Handlers=kbd event0 ',
  'B: PROP=0',
  'B: EV=3',
  '',
  'I: Bus=0011 Vendor=0001 Product=0001 Version=ab83',
  'N: Name="AT Translated Set 2 keyboard"',
  'H: Handlers=sysrq kbd leds event1 ',
  'B: PROP=0',
  'B: EV=120013',
  '',
  'I: Bus=0018 Vendor=04f3 Product=3195 Version=0100',
  'N: Name="ELAN0412:00 04F3:3195 Touchpad"',
  'H: Handlers=mouse0 event2 ',
  'B: PROP=5',
  'B: EV=b',
  '',
  'I: Bus=0018 Vendor=0483 Product=7211 Version=0001',
  'N: Name="ST LIS3LV02DL Accelerometer"',
  'H: Handlers=js0 event3 ',
  'B: PROP=40',
  'B: EV=9',
  '',
  'I: Bus=0003 Vendor=0000 Product=0000 Version=0000',
  'N: Name="HDA Intel PCH Headphone"',
  'H: Handlers=event4 ',
  'B: PROP=0',
  'B: EV=21',
);

/** Its person sits at a text console; it may read the devices of input. */
export const laptop = (): Machine => ({
  ...emptyMachine('linux'),
  files: {
    ...every(1000, 9000),
    '/proc/meminfo': memory(16_000_000, 8_000_000),
    '/proc/pressure/memory': pressure('2.50'),
    '/proc/bus/input/devices': inputDevices,
    ...Object.fromEntries(['0', '1', '2', '3', '4'].map((event) => [`/dev/input/event${event}`, ''])),
    '/sys/class/drm/card0-eDP-1/status': 'connected\n',
    '/sys/class/drm/card0-HDMI-A-1/status': 'disconnected\n',
    '/sys/class/drm/card0/gt/gt0/rc6_residency_ms': '500000\n',
    ...folder('/sys/class/power_supply/AC', { type: 'Mains\n', online: '0\n' }),
    ...folder('/sys/class/power_supply/BAT0', {
      type: 'Battery\n',
      status: 'Discharging\n',
      energy_now: '21500000\n',
      energy_full: '50000000\n',
      capacity: '43\n',
    }),
    ...folder('/sys/class/power_supply/hidpp_battery_0', {
      type: 'Battery\n',
      scope: 'Device\n',
      status: 'Discharging\n',
      capacity: '5\n',
    }),
    ...folder('/sys/class/hwmon/hwmon4', {
      name: 'coretemp\n',
      temp1_label: 'Package id 0\n',
      temp1_input: '61000\n',
      temp2_label: 'Core 0\n',
      temp2_input: '63000\n',
    }),
    ...folder('/sys/class/hwmon/hwmon1', { name: 'nvme\n', temp1_input: '79850\n' }),
    ...folder('/sys/class/thermal/thermal_zone0', { type: 'acpitz\n', temp: '127000\n' }),
    ...folder('/sys/class/thermal/thermal_zone7', { type: 'x86_pkg_temp\n', temp: '62000\n' }),
    '/proc/asound/card0/pcm0p/sub0/status': 'closed\n',
    '/proc/asound/card0/pcm0c/sub0/status': 'closed\n',
    '/sys/class/video4linux/video0/name': 'Integrated Camera\n',
    '/sys/module/uvcvideo/refcnt': '0\n',
    '/sys/class/tty/tty0/active': 'tty2\n',
  },
  links: { '/sys/class/video4linux/video0/device/driver': '../../../../bus/usb/drivers/uvcvideo' },
  readAtMs: { '/dev/tty2': NOW_MS - 40_000, '/dev/pts/0': NOW_MS - 90_000, '/dev/pts/ptmx': NOW_MS },
});

/** AMD and NVIDIA graphics, a game that is running, music over Bluetooth. */
export const desktop = (): Machine => ({
  ...emptyMachine('linux'),
  files: {
    ...every(1000, 9000),
    ...process(900, 'Cyberpunk2077.e'),
    '/proc/900/cmdline': 'Z:\\games\\Cyberpunk2077.exe\0-skip\0',
    ...process(901, 'bash'),
    '/proc/meminfo': memory(64_000_000, 48_000_000),
    '/proc/pressure/memory': pressure('0.00'),
    '/sys/class/drm/card0-DP-1/status': 'connected\n',
    '/sys/class/drm/card0/device/gpu_busy_percent': '87\n',
    '/sys/class/drm/card0/device/power/runtime_status': 'active\n',
    '/proc/driver/nvidia/gpus/0000:01:00.0/information': 'Model: \t\t NVIDIA GeForce RTX 3060\n',
    '/sys/bus/pci/devices/0000:01:00.0/power/runtime_status': 'active\n',
    '/sys/class/power_supply/ucsi-source-psy-USBC000:001/type': 'USB\n',
    '/sys/class/power_supply/ucsi-source-psy-USBC000:001/online': '0\n',
    ...folder('/sys/class/hwmon/hwmon2', {
      name: 'k10temp\n',
      temp1_label: 'Tctl\n',
      temp1_input: '80125\n',
      temp2_label: 'Tdie\n',
      temp2_input: '60125\n',
    }),
    ...folder('/sys/class/hwmon/hwmon3', {
      name: 'amdgpu\n',
      temp1_label: 'edge\n',
      temp1_input: '71000\n',
      'device/power/runtime_status': 'active\n',
    }),
    '/proc/asound/card1/pcm0p/sub0/status': 'closed\n',
    '/sys/class/bluetooth/hci0/address': '00:11:22:33:44:55\n',
    '/run/user/1000/pulse/native': '',
  },
  links: { '/proc/901/exe': '/usr/bin/bash', '/proc/4242/exe': '/usr/bin/node' },
  readAtMs: { '/dev/pts/1': NOW_MS - 5_000 },
  env: { XDG_RUNTIME_DIR: '/run/user/1000' },
  outputs: {
    'nvidia-smi --query-gpu=utilization.gpu,temperature.gpu --format=csv,noheader,nounits': '3, 44\n',
    'pactl list short sinks': lines(
      '47\talsa_output.pci-0000_00_1f.3.analog-stereo\tPipeWire\ts32le 2ch 48000Hz\tSUSPENDED',
      '92\tbluez_output.00_11_22_33_44_55.1\tPipeWire\ts16le 2ch 48000Hz\tRUNNING',
    ),
    'pactl list short sources': lines(
      '47\talsa_output.pci-0000_00_1f.3.analog-stereo.monitor\tPipeWire\ts32le 2ch 48000Hz\tSUSPENDED',
      '92\tbluez_output.00_11_22_33_44_55.1.monitor\tPipeWire\ts16le 2ch 48000Hz\tRUNNING',
    ),
  },
});

/** In a rack: nothing to see it by, nothing to touch; somebody works on it over ssh. */
export const server = (): Machine => ({
  ...emptyMachine('linux'),
  files: {
    ...every(5000, 5000),
    '/proc/meminfo': memory(128_000_000, 100_000_000),
    '/proc/pressure/memory': pressure('0.00'),
    '/sys/class/drm/card0-VGA-1/status': 'disconnected\n',
    '/sys/class/power_supply': '',
    ...folder('/sys/class/hwmon/hwmon0', { name: 'coretemp\n', temp1_label: 'Package id 0\n', temp1_input: '48000\n' }),
    ...folder('/sys/class/hwmon/hwmon1', { name: 'coretemp\n', temp1_label: 'Package id 1\n', temp1_input: '51000\n' }),
  },
  readAtMs: { '/dev/pts/0': NOW_MS - 1_000 },
});

/** Two of sixteen processors and 4 GB of a machine whose monitor it sees in /sys, and whose keyboard it does not. */
export const container = (): Machine => ({
  ...emptyMachine('linux'),
  files: {
    ...every(1000, 15_000),
    '/proc/meminfo': memory(64_000_000, 60_000_000),
    '/proc/1/cgroup': '0::/kubepods/burstable/pod1234/abcd\n',
    '/sys/class/drm/card0-DP-1/status': 'connected\n',
    '/sys/class/power_supply': '',
    '/sys/fs/cgroup/cpu.max': '200000 100000\n',
    '/sys/fs/cgroup/cpu.stat': lines('usage_usec 1000000', 'user_usec 800000', 'system_usec 200000'),
    '/sys/fs/cgroup/memory.max': '4000000000\n',
    '/sys/fs/cgroup/memory.current': '3800000000\n',
    '/sys/fs/cgroup/memory.stat': lines('anon 3000000000', 'file 800000000', 'inactive_file 600000000'),
    '/sys/fs/cgroup/memory.pressure': pressure('12.00'),
  },
  readAtMs: { '/dev/pts/0': NOW_MS - 1_000 },
});

export const macBook = (): Machine => ({
  ...emptyMachine('darwin'),
  processors: { busyMs: 100_000, totalMs: 1_000_000 },
  outputs: {
    '/usr/sbin/ioreg -r -c IOHIDSystem -d 1': lines(
      '+-o IOHIDSystem  <class IOHIDSystem, id 0x100000275, registered, matched, active, busy 0 (0 ms), retain 31>',
      '    {',
      '      "IOClass" = "IOHIDSystem"',
      '      "HIDIdleTime" = 68130403958',
      '      "HIDParameters" = {"HIDClickTime"=500000000,"HIDKeyRepeat"=33333333}',
      '    }',
    ),
    '/usr/sbin/ioreg -n Root -d 1': lines(
      '+-o Root  <class IORegistryEntry, id 0x100000100, retain 12>',
      '    {',
      '      "IOConsoleLocked" = No',
      '      "IOConsoleUsers" = ({"kCGSSessionOnConsoleKey"=Yes,"kSCSecuritySessionID"=100008,"kCGSSessionIDKey"=257})',
      '    }',
    ),
    '/usr/bin/pmset -g assertions': lines(
      '2026-03-23 15:42:58 -0500 ',
      'Assertion status system-wide:',
      '   BackgroundTask                 0',
      '   UserIsActive                   1',
      '   PreventUserIdleDisplaySleep    1',
      '   PreventUserIdleSystemSleep     1',
      'Listed by owning process:',
      '   pid 426(coreaudiod): [0x000026ae00018d0d] 00:07:19 PreventUserIdleSystemSleep named: "com.apple.audio"',
      '\tCreated for PID: 1379. ',
      '\tResources: audio-out BuiltInSpeakerDevice ',
      'No kernel assertions.',
    ),
    '/usr/sbin/ioreg -r -c IOAccelerator -d 1': lines(
      '+-o AGXAcceleratorG13G_B1  <class AGXAcceleratorG13G_B1, id 0x1000003a1, registered, matched, active>',
      '    {',
      '      "PerformanceStatistics" = {"recoveryCount"=0,"Device Utilization %"=34,"Renderer Utilization %"=30}',
      '    }',
    ),
    '/usr/bin/pmset -g batt': lines(
      "Now drawing from 'Battery Power'",
      ' -InternalBattery-0 (id=22806627)\t78%; discharging; 5:05 remaining present: true',
    ),
    '/usr/bin/memory_pressure -Q': lines(
      'The system has 17179869184 (1048576 pages with a page size of 16384).',
      'System-wide memory free percentage: 56%',
    ),
    '/bin/ps -A -o pid=,ppid=,time=,comm=': macProcesses(10, 20),
  },
});

/** Seconds that we and a browser have used. */
export const macProcesses = (own: number, other: number): string =>
  lines(
    '    1     0   1-02:03:04 /sbin/launchd',
    ` 4242     1   0:${own.toFixed(2)} /usr/local/bin/node`,
    ` 4250  4242   0:${own.toFixed(2)} /usr/local/bin/node`,
    `  900     1   0:${other.toFixed(2)} /Applications/Google Chrome.app/Contents/MacOS/Google Chrome`,
  );

const windowsLine = (more: Record<string, unknown>): string =>
  JSON.stringify({
    session: 1,
    idleMs: 4_210,
    state: 5,
    line: 0,
    flag: 1,
    percent: 62,
    memoryFree: 0.412,
    busyMs: 1_000,
    totalMs: 10_000,
    ownMs: 200,
    ...more,
  });

export const windowsLaptop = (): Machine => ({
  ...emptyMachine('win32'),
  lines: [
    windowsLine({ camera: false, microphone: false, metered: true, programs: ['System', 'explorer.exe', 'node.exe'] }),
    windowsLine({ busyMs: 2_000, totalMs: 12_000, ownMs: 700, sound: false }),
  ],
});

export { windowsLine };
