/**
 * The system calls that an engine may not make, as a program for the kernel (seccomp, in classic BPF), which
 * bubblewrap loads just before Node begins.
 *
 * A list of what is refused and not of what is allowed: Node and the C library take up new calls with new versions, and
 * an engine that dies of an update protects nobody. Refused is what opens a way out of the process: sockets, other
 * processes, new namespaces and mounts, and the parts of the kernel in which most of its holes were found. Threads
 * stay. `execve` must stay, since it is how Node begins; what it could run is what the files' wall shows, which is
 * Node. The numbers are the kernel's, which never change for an architecture; `man 2 seccomp` tells the format.
 */

interface Call {
  readonly name: string;
  readonly number: number;
}

interface Architecture {
  /** AUDIT_ARCH_*, which the kernel gives to the program beside the number. */
  readonly audit: number;
  /** Numbers from here on are of another calling convention (x32), whose calls would pass by the list. */
  readonly numbersMax: number;
  readonly clone: number;
  readonly refused: readonly Call[];
}

/** Of every architecture alike: calls that are newer than the common table. */
const NEWER: Readonly<Record<string, number>> = {
  pidfd_send_signal: 424,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  fspick: 433,
  pidfd_open: 434,
  pidfd_getfd: 438,
  process_madvise: 440,
  mount_setattr: 442,
  quotactl_fd: 443,
};

/** Name, number on x86-64, number on ARM64; -1 where there is none. */
const REFUSED: readonly (readonly [name: string, x64: number, arm64: number])[] = [
  // Sockets: the pipe to the agent is open already.
  ['socket', 41, 198],
  ['connect', 42, 203],
  ['bind', 49, 200],
  ['listen', 50, 201],
  ['accept', 43, 202],
  ['accept4', 288, 242],
  // Processes: new ones (`clone` is looked at below), and the memory of others.
  ['fork', 57, -1],
  ['vfork', 58, -1],
  ['execveat', 322, 281],
  ['ptrace', 101, 117],
  ['process_vm_readv', 310, 270],
  ['process_vm_writev', 311, 271],
  ['kcmp', 312, 272],
  // Namespaces, mounts, and files by handle instead of by path.
  ['unshare', 272, 97],
  ['setns', 308, 268],
  ['mount', 165, 40],
  ['umount2', 166, 39],
  ['pivot_root', 155, 41],
  ['chroot', 161, 51],
  ['name_to_handle_at', 303, 264],
  ['open_by_handle_at', 304, 265],
  ['fanotify_init', 300, 262],
  // Parts of the kernel that an engine has no use for.
  ['bpf', 321, 280],
  ['perf_event_open', 298, 241],
  ['userfaultfd', 323, 282],
  ['keyctl', 250, 219],
  ['add_key', 248, 217],
  ['request_key', 249, 218],
  ['kexec_load', 246, 104],
  ['kexec_file_load', 320, 294],
  ['init_module', 175, 105],
  ['finit_module', 313, 273],
  ['delete_module', 176, 106],
  ['syslog', 103, 116],
  ['acct', 163, 89],
  ['quotactl', 179, 60],
  ['swapon', 167, 224],
  ['swapoff', 168, 225],
  ['reboot', 169, 142],
  ['settimeofday', 164, 170],
  ['clock_settime', 227, 112],
  ['adjtimex', 159, 171],
  ['clock_adjtime', 305, 266],
  ['sethostname', 170, 161],
  ['setdomainname', 171, 162],
  ['iopl', 172, -1],
  ['ioperm', 173, -1],
  ['uselib', 134, -1],
  ['modify_ldt', 154, -1],
  ['personality', 135, 92],
  ['lookup_dcookie', 212, 18],
  ['vmsplice', 278, 75],
  ['move_pages', 279, 239],
  ['migrate_pages', 256, 238],
];

const ANY_NUMBER = 0xffff_ffff;
const architecture = (audit: number, numbersMax: number, clone: number, column: 1 | 2): Architecture => {
  const common = REFUSED.map((row): Call => ({ name: row[0], number: row[column] })).filter(
    ({ number }) => number >= 0,
  );
  const newer = Object.entries(NEWER).map(([name, number]): Call => ({ name, number }));
  return { audit, numbersMax, clone, refused: [...common, ...newer] };
};

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  x64: architecture(0xc000_003e, 0x3fff_ffff, 56, 1),
  arm64: architecture(0xc000_00b7, ANY_NUMBER, 220, 2),
};

/** A new way to make threads, whose flags lie in memory where no filter can read them; without it `clone` is used. */
const CLONE3 = 435;
const CLONE_THREAD = 0x0001_0000;

/** Places in what the kernel hands the program, `struct seccomp_data`, of little-endian machines. */
const NUMBER_AT = 0;
const ARCHITECTURE_AT = 4;
const FIRST_ARGUMENT_AT = 16;

const LOAD = 0x20;
const IF_EQUAL = 0x15;
const IF_ABOVE = 0x25;
const IF_ANY_BIT = 0x45;
const RETURN = 0x06;

const KILL_PROCESS = 0x8000_0000;
const ALLOW = 0x7fff_0000;
const ERROR = 0x0005_0000;
const EPERM = 1;
const ENOSYS = 38;

const INSTRUCTION_BYTES = 8;

const architectureOf = (arch: string): Architecture | undefined =>
  Object.hasOwn(ARCHITECTURES, arch) ? ARCHITECTURES[arch] : undefined;

/** What is refused on an architecture, by Node's name for it; `clone` and `clone3` beside it. */
export const refusedCalls = (arch: string): readonly Call[] => architectureOf(arch)?.refused ?? [];

/** The program for this architecture (Node's name for it), or `undefined` where we have no table. */
export function systemCallFilter(arch: string): Uint8Array | undefined {
  const known = architectureOf(arch);
  if (known === undefined) return undefined;
  type Verdict = 'kill' | 'absent' | 'refuse' | 'allow' | 'next';
  const rows: [code: number, value: number, then: Verdict, otherwise: Verdict][] = [
    [LOAD, ARCHITECTURE_AT, 'next', 'next'],
    [IF_EQUAL, known.audit, 'next', 'kill'],
    [LOAD, NUMBER_AT, 'next', 'next'],
    [IF_ABOVE, known.numbersMax, 'absent', 'next'],
    [IF_EQUAL, CLONE3, 'absent', 'next'],
    ...known.refused.map(({ number }): [number, number, Verdict, Verdict] => [IF_EQUAL, number, 'refuse', 'next']),
    [IF_EQUAL, known.clone, 'next', 'allow'],
    [LOAD, FIRST_ARGUMENT_AT, 'next', 'next'],
    [IF_ANY_BIT, CLONE_THREAD, 'allow', 'refuse'],
  ];
  const ends = [
    ['kill', KILL_PROCESS],
    ['absent', ERROR | ENOSYS],
    ['refuse', ERROR | EPERM],
    ['allow', ALLOW],
  ] as const;
  const program = new DataView(new ArrayBuffer((rows.length + ends.length) * INSTRUCTION_BYTES));
  const jump = (from: number, to: Verdict): number =>
    to === 'next' ? 0 : rows.length - from - 1 + ends.findIndex(([verdict]) => verdict === to);
  for (const [i, [code, value, then, otherwise]] of rows.entries()) {
    write(program, i, code, jump(i, then), jump(i, otherwise), value);
  }
  for (const [i, [, value]] of ends.entries()) write(program, rows.length + i, RETURN, 0, 0, value);
  return new Uint8Array(program.buffer);
}

function write(program: DataView, i: number, code: number, then: number, otherwise: number, value: number): void {
  program.setUint16(i * INSTRUCTION_BYTES, code, true);
  program.setUint8(i * INSTRUCTION_BYTES + 2, then);
  program.setUint8(i * INSTRUCTION_BYTES + 3, otherwise);
  program.setUint32(i * INSTRUCTION_BYTES + 4, value, true);
}
