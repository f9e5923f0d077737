/** The filter of system calls, run by a small machine for its instructions; and the kernel's own numbers. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { refusedCalls, systemCallFilter } from './seccomp.ts';

const X64 = 0xc000_003e;
const ARM64 = 0xc000_00b7;
const ALLOWED = 0x7fff_0000;
const KILLED = 0x8000_0000;
const NOT_PERMITTED = 0x0005_0001;
const NO_SUCH_CALL = 0x0005_0026;
const CLONE_THREAD = 0x0001_0000;

/** What the kernel would do, after `man 2 seccomp` and the kernel's networking/filter.rst. */
function judge(program: Uint8Array, audit: number, call: number, argument = 0): number {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const given = new DataView(new ArrayBuffer(64));
  given.setUint32(0, call, true);
  given.setUint32(4, audit, true);
  given.setUint32(16, argument, true);
  let held = 0;
  for (let at = 0; at < program.length / 8;) {
    const [code, value] = [view.getUint16(at * 8, true), view.getUint32(at * 8 + 4, true)];
    const jump = (yes: boolean): number => at + 1 + view.getUint8(at * 8 + (yes ? 2 : 3));
    if (code === 0x06) return value;
    if (code === 0x20) {
      held = given.getUint32(value, true);
      at += 1;
    } else if (code === 0x15) at = jump(held === value);
    else if (code === 0x25) at = jump(held > value);
    else if (code === 0x45) at = jump((held & value) !== 0);
    else throw new Error(`instruction ${code} at ${at}`);
  }
  throw new Error('the program has no end');
}

const filterOf = (arch: string): Uint8Array => systemCallFilter(arch) ?? new Uint8Array(0);

test.each([
  ['x64', X64, 56, { read: 0, write: 1, mmap: 9, execve: 59, futex: 202, eventfd2: 290, sendmsg: 46 }],
  ['arm64', ARM64, 220, { read: 63, write: 64, mmap: 222, execve: 221, futex: 98, eventfd2: 19, sendmsg: 211 }],
] as const)(
  '%s: what leads out of the process is refused, threads and the rest go on',
  (arch, audit, clone, allowed) => {
    const filter = filterOf(arch);
    for (const call of Object.values(allowed)) expect([call, judge(filter, audit, call)]).toEqual([call, ALLOWED]);
    for (const { name, number } of refusedCalls(arch))
      expect([name, judge(filter, audit, number)]).toEqual([name, NOT_PERMITTED]);
    expect(judge(filter, audit, clone, CLONE_THREAD | 0x100)).toBe(ALLOWED);
    expect(judge(filter, audit, clone, 0x1200011)).toBe(NOT_PERMITTED);
    // Its flags cannot be read, so it is not there, and the C library takes the other one.
    expect(judge(filter, audit, 435)).toBe(NO_SUCH_CALL);
  },
);

test('calls of another architecture end the process, and those of x32 are not there', () => {
  expect(judge(filterOf('x64'), 0x4000_0003, 0)).toBe(KILLED);
  expect(judge(filterOf('arm64'), X64, 0)).toBe(KILLED);
  expect(judge(filterOf('x64'), X64, 0x4000_0000 + 41)).toBe(NO_SUCH_CALL);
});

test('where there is no table there is no filter', () => {
  expect(systemCallFilter('riscv64')).toBeUndefined();
  expect(systemCallFilter('constructor')).toBeUndefined();
});

const HEADER = '/usr/include/x86_64-linux-gnu/asm/unistd_64.h';
test.skipIf(!existsSync(HEADER))("the numbers are those of the kernel's header, where that is installed", () => {
  const header = new Map(
    [...readFileSync(HEADER, 'utf8').matchAll(/#define __NR_(\w+)\s+(\d+)/g)].map(([, name, number]) => [
      name,
      Number(number),
    ]),
  );
  for (const { name, number } of refusedCalls('x64'))
    expect([name, header.get(name) ?? number]).toEqual([name, number]);
});
