/**
 * What a lender's own program loses while a device lends the machine: pairs of the same loop beside the device, and
 * beside the same processes standing still.
 *
 * Callers ask without end, so a device that does not yield computes all the time. Which of a pair comes first changes
 * from pair to pair. The loop is what the lender does: nobody touches anything else.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { askHub, createConnections } from '../ask.ts';
import { threadStates } from '@idlewild/agent/testing';
import type { BenchRun } from '../bench.ts';
import { bundledModel } from '../models.ts';
import { startBenchProcess } from '../processes.ts';
import { median } from '../statistics.ts';
import { inWorld, type World } from '../world.ts';
import type { ForegroundLoop, ForegroundSaid, ForegroundTask, ForegroundTold } from './foreground-process.ts';
import type { OwnDeviceTask } from './own-device-process.ts';

const MODEL = 'jacobean';
const PAIRS = 30;
const SLICE_MS = 700;
/** A device has noticed by then; how fast it does is `lender.yield_ms_p99`. */
const NOTICE_MS = 1_500;
const CALLERS = 2;
const REFUSED_MS = 50;
/** One-sided, 95 %. */
const Z = 1.645;

export const measureForeground = (run: BenchRun, metric: string, preset: OwnDeviceTask['preset']): Promise<void> =>
  inWorld(
    {
      run,
      devices: 1,
      slots: 4,
      models: { [MODEL]: bundledModel() },
      device: { script: join(import.meta.dirname, 'own-device-process.ts'), task: { preset } satisfies OwnDeviceTask },
    },
    async (world) => {
      const callers = startCallers(world);
      try {
        const found: { readonly loop: ForegroundLoop; readonly losses: readonly number[] }[] = [];
        for (const loop of ['cpu', 'memory'] as const) {
          run.say(`${metric}: ${PAIRS} pairs of a loop over ${loop === 'cpu' ? 'registers' : 'memory'}`);
          found.push({ loop, losses: await measurePairs(run, world.devices[0]?.pid ?? 0, loop) });
        }
        const bounds = found.map(({ losses }) => upperBound(losses));
        const notes = found.map(
          ({ loop, losses }, i) =>
            `${loop}: median ${median(losses).toFixed(2)} %, upper bound of the mean ${bounds[i]?.toFixed(2)} %`,
        );
        run.record(metric, Math.max(...bounds), `${PAIRS} pairs each; ${notes.join('; ')}`);
      } finally {
        await callers.end();
      }
    },
  );

async function measurePairs(run: BenchRun, device: number, loop: ForegroundLoop): Promise<readonly number[]> {
  let heard: (said: ForegroundSaid) => void = () => undefined;
  const program = startBenchProcess<ForegroundSaid>({
    script: join(import.meta.dirname, 'foreground-process.ts'),
    task: { loop } satisfies ForegroundTask,
    onMessage: (said) => heard(said),
  });
  const speed = async (forMs: number): Promise<number> => {
    const said = new Promise<ForegroundSaid>((resolve) => {
      heard = resolve;
    });
    program.tell({ forMs } satisfies ForegroundTold);
    return (await said).perMs;
  };
  let goOn = (): void => undefined;
  try {
    await program.ready;
    const losses: number[] = [];
    for (let pair = 0; pair < PAIRS; pair++) {
      run.signal.throwIfAborted();
      const beside = async (): Promise<number> => {
        goOn();
        goOn = () => undefined;
        // The program runs on while the device notices: from then on is what counts.
        await speed(NOTICE_MS);
        return speed(SLICE_MS);
      };
      const alone = async (): Promise<number> => {
        goOn();
        goOn = stopTree(device);
        return speed(SLICE_MS);
      };
      const [first, second] = pair % 2 === 0 ? [beside, alone] : [alone, beside];
      const [one, other] = [await first(), await second()];
      const [withDevice, without] = pair % 2 === 0 ? [one, other] : [other, one];
      losses.push(100 * (1 - withDevice / without));
    }
    return losses;
  } finally {
    goOn();
    await program.stop();
  }
}

/** Stops a process and all below it, but for what stands already. Returns what lets those go on. */
function stopTree(pid: number): () => void {
  const stopped = treeOf(pid).filter((each) => !threadStates(each).every((state) => state === 'T'));
  const tell = (signal: 'SIGSTOP' | 'SIGCONT'): void => {
    for (const each of stopped) {
      try {
        process.kill(each, signal);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
  };
  tell('SIGSTOP');
  return () => tell('SIGCONT');
}

function treeOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  return [pid, ...children.flatMap(treeOf)];
}

/** Of the mean, with 95 % confidence. */
function upperBound(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return mean + Z * Math.sqrt(variance / values.length);
}

/** Who asks without end. */
function startCallers(world: World): { end(): Promise<void> } {
  const connections = createConnections();
  let isOver = false;
  const caller = async (number: number): Promise<void> => {
    for (let seed = number; !isOver; seed += CALLERS) {
      // While the one device is paused, the hub refuses.
      await askHub(world, connections, { model: MODEL, prompt: 'MENENIUS:\n', seed, tokensMax: 400 }).catch(() =>
        pause(REFUSED_MS),
      );
    }
  };
  const callers = Array.from({ length: CALLERS }, (_, number) => caller(number));
  return {
    async end() {
      isOver = true;
      connections.destroy();
      await Promise.all(callers);
    },
  };
}
