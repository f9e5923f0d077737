/**
 * What a device costs that has nothing to do: *Balanced*, its model loaded, connected, looking at the machine as it
 * always does.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { BenchRun } from '../bench.ts';
import { inWorld, type World } from '../world.ts';
import { bundledModel } from '../models.ts';
import type { OwnDeviceTask } from './own-device-process.ts';
import { leavesBelow, processorMs } from './threads.ts';

/** What has just been loaded is tidied up. */
const SETTLE_MS = 15_000;
const LOOK_MS = 45_000;

export const measureIdle = (run: BenchRun): Promise<void> =>
  inWorld(
    {
      run,
      devices: 1,
      slots: 1,
      models: { jacobean: bundledModel() },
      device: {
        script: join(import.meta.dirname, 'own-device-process.ts'),
        task: { preset: 'balanced' } satisfies OwnDeviceTask,
      },
    },
    async ({ devices }: World) => {
      const pid = devices[0]?.pid ?? 0;
      run.say(`lender.idle_cpu_pct: ${LOOK_MS / 1_000} s of nothing to do`);
      await pause(SETTLE_MS, undefined, { signal: run.signal });
      const processes = [pid, ...leavesBelow(pid)];
      const used = (): number => processes.reduce((sum, each) => sum + processorMs(each), 0);
      const [fromMs, fromUsedMs] = [performance.now(), used()];
      await pause(LOOK_MS, undefined, { signal: run.signal });
      const share = (used() - fromUsedMs) / (performance.now() - fromMs);
      const [agent, ...engines] = processes.map(residentMegabytes);
      run.record('lender.idle_cpu_pct', 100 * share, 'of one processor: the agent with its signals, and its engine');
      run.record(
        'lender.idle_rss_mb',
        agent ?? 0,
        `the agent; ${engines.map((size) => `${size.toFixed(0)} MB`).join(', ') || 'nothing'} more in its engine`,
      );
    },
  );

/** Of proc(5). */
function residentMegabytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return (Number(kilobytes) * 1_024) / 1e6;
}
