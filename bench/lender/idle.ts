/**
 * What a device costs that has nothing to do: `idlewild join` with *Balanced*, as a person starts it, its model loaded,
 * connected, looking at the machine as it always does.
 *
 * It is started twice: what the first start after an installation compiles is kept, and a lender's machine starts it
 * every day. The second is measured; the note tells the memory of the first.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createClient } from '@idlewild/client';
import { leavesBelow, processorMs } from '@idlewild/agent/testing';
import type { BenchRun } from '../bench.ts';
import { inWorld, type World } from '../world.ts';
import { bundledModel } from '../models.ts';

/** What has just been loaded is tidied up, and what was compiled is kept. */
const SETTLE_MS = 20_000;
const LOOK_MS = 45_000;
const STOP_MS_MAX = 15_000;
const COMMAND = join(import.meta.dirname, '../../packages/cli/bin/idlewild.mjs');

export const measureIdle = (run: BenchRun): Promise<void> =>
  inWorld({ run, devices: 0, slots: 1, models: { jacobean: bundledModel() } }, async (world) => {
    const data = mkdtempSync(join(tmpdir(), 'idlewild-idle-'));
    try {
      const { token } = await createClient({ hub: world.url, key: world.stewardKey }).invites.create({
        uses: 1,
        expiresInSeconds: 600,
      });
      const first = await lending(run, world, ['--data', data, '--token', token, '--yes'], (pid) =>
        Promise.resolve(residentMegabytes(pid)),
      );
      await lending(run, world, ['--data', data], (pid) => measure(run, pid, first));
    } finally {
      rmSync(data, { recursive: true, force: true });
    }
  });

async function measure(run: BenchRun, pid: number, firstMegabytes: number): Promise<void> {
  run.say(`lender.idle_cpu_pct: ${LOOK_MS / 1_000} s of nothing to do`);
  const processes = [pid, ...leavesBelow(pid)];
  const used = (): number => processes.reduce((sum, each) => sum + processorMs(each), 0);
  const [fromMs, fromUsedMs] = [performance.now(), used()];
  await pause(LOOK_MS, undefined, { signal: run.signal });
  const share = (used() - fromUsedMs) / (performance.now() - fromMs);
  const [agent, ...engines] = processes.map(residentMegabytes);
  run.record('lender.idle_cpu_pct', 100 * share, 'of one processor: the agent with its signals, and its engine');
  const beside = engines.map((size) => `${size.toFixed(0)} MB`).join(', ') || 'nothing';
  const note = `${beside} more in its engine; ${firstMegabytes.toFixed(0)} MB at the first start`;
  run.record('lender.idle_rss_mb', agent ?? 0, note);
}

/** A process of `idlewild join`, for as long as `look` takes once it is ready and settled. */
async function lending<T>(run: BenchRun, world: World, words: string[], look: (pid: number) => Promise<T>): Promise<T> {
  const child = spawn(process.execPath, [COMMAND, 'join', world.url, ...words, '--json', '--stop-with-stdin'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  try {
    await world.ready(1);
    await pause(SETTLE_MS, undefined, { signal: run.signal });
    return await look(child.pid ?? 0);
  } finally {
    child.stdin.end();
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    await ended;
    clearTimeout(late);
  }
}

/** Of proc(5). */
function residentMegabytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kilobytes) * 1_024) / 1e6;
}
