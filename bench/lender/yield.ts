/**
 * How long it takes until a lent machine is its owner's: from what they do to the last that the engine computes.
 *
 * With Xvfb and xdotool what they do is a real touch of a display: the clock starts before xdotool is started, so its
 * own start counts as ours. There are several displays, in turn, because a display tells of a touch that comes after a
 * second of none. Everywhere a second series starts a program that computes, and the clock with it. The engine makes
 * tokens when the clock starts, each time, or the trial is not counted. The clock ends with the processor time of its
 * threads, as the kernel counts it; that all are told as stopped comes later where others are busy, for a thread stops
 * in its own turn, and uses nothing meanwhile.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { askHub, createConnections } from '../ask.ts';
import type { BenchRun } from '../bench.ts';
import { bundledModel } from '../models.ts';
import { median, percentile } from '../statistics.ts';
import { inWorld, type World, type WorldDevice } from '../world.ts';
import type { LentDeviceTask, LentDeviceTold } from './lent-device-process.ts';
import { leavesBelow, processorMs, threadStates } from './threads.ts';

const MODEL = 'jacobean';
const TRIALS = 2_000;
const DISPLAYS = 16;
/** Of the run of all metrics, what this one may take: as many trials as fit. */
const TOUCHES_MS_MAX = 330_000;
const LOADS_MS_MAX = 60_000;
const LOADS_MAX = 60;
/** Longer than a display takes to call a touch the first again. */
const AWAY_MS = 1_100;
const WORK_MS_MAX = 10_000;
/** Of ten milliseconds. */
const WORKING_MS_MIN = 2;
const STAND_MS_MAX = 3_000;
const CALLERS = 2;
const REFUSED_MS = 20;
/** Of a program's load nothing is left in the next reading; two readings, and a margin. */
const QUIET_MS = 250;
/** Of processor time: a thread takes some microseconds to stop. */
const STOPPING_MS = 0.2;

export async function measureYield(run: BenchRun): Promise<void> {
  const displays = await startDisplays();
  const task: LentDeviceTask = { displays: displays.map(({ name }) => name) };
  const device = { script: join(import.meta.dirname, 'lent-device-process.ts'), task };
  try {
    await inWorld({ run, devices: 1, slots: 4, device, models: { [MODEL]: bundledModel() } }, async (world) => {
      const lent = await lend(world);
      try {
        const touches = await measureTouches(run, lent, displays);
        const loads = await measureLoads(run, lent);
        const values = touches.length > 0 ? touches : loads;
        run.record('lender.yield_ms_p99', percentile(values, 0.99), noteOf(touches, loads));
      } finally {
        await lent.end();
      }
    });
  } finally {
    for (const { server } of displays) server.kill();
  }
}

const noteOf = (touches: readonly number[], loads: readonly number[]): string =>
  [
    touches.length > 0 ? `${touches.length} touches of a display: ${figuresOf(touches)}` : 'no Xvfb and xdotool here',
    loads.length > 0
      ? `${loads.length} programs started: ${figuresOf(loads)}`
      : 'other load left no quiet to start one in',
  ].join('; ');

const figuresOf = (values: readonly number[]): string =>
  `median ${median(values).toFixed(1)} ms, p99 ${percentile(values, 0.99).toFixed(1)} ms, ` +
  `longest ${Math.max(...values).toFixed(1)} ms`;

interface Lent {
  readonly device: WorldDevice;
  end(): Promise<void>;
}

/** Callers ask without end, so that there is always work. */
async function lend(world: World): Promise<Lent> {
  const [device] = world.devices as [WorldDevice];
  if (leavesBelow(device.pid).length === 0) throw new Error('this system does not list the processes below one');
  const connections = createConnections();
  let isOver = false;
  const caller = async (number: number): Promise<void> => {
    for (let seed = number; !isOver; seed += CALLERS) {
      await askHub(world, connections, { model: MODEL, prompt: 'MENENIUS:\n', seed, tokensMax: 400 }).catch(
        // While the one device is paused, a hub may refuse.
        () => pause(REFUSED_MS),
      );
    }
  };
  const callers = Array.from({ length: CALLERS }, (_, number) => caller(number));
  return {
    device,
    async end() {
      isOver = true;
      device.tell('resume' satisfies LentDeviceTold);
      connections.destroy();
      await Promise.all(callers);
    },
  };
}

async function measureTouches(run: BenchRun, lent: Lent, displays: readonly Display[]): Promise<number[]> {
  const took: number[] = [];
  if (displays.length === 0) return took;
  run.say(`lender.yield_ms_p99: ${TRIALS} touches of ${displays.length} displays`);
  const ends = performance.now() + TOUCHES_MS_MAX;
  const touchedAtMs = displays.map(() => 0);
  for (let trial = 0; took.length < TRIALS && performance.now() < ends; trial++) {
    run.signal.throwIfAborted();
    const turn = trial % displays.length;
    await pause(Math.max(0, (touchedAtMs[turn] ?? 0) + AWAY_MS - performance.now()));
    const ms = await trialOf(lent, () => displays[turn]?.touch(trial));
    touchedAtMs[turn] = performance.now();
    if (ms !== undefined) took.push(ms);
  }
  return took;
}

async function measureLoads(run: BenchRun, lent: Lent): Promise<number[]> {
  const took: number[] = [];
  run.say(`lender.yield_ms_p99: up to ${LOADS_MAX} programs that compute`);
  const ends = performance.now() + LOADS_MS_MAX;
  while (took.length < LOADS_MAX && performance.now() < ends) {
    run.signal.throwIfAborted();
    let program: ChildProcess | undefined;
    lent.device.tell('watch' satisfies LentDeviceTold);
    await pause(QUIET_MS);
    const ms = await trialOf(lent, () => {
      program = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
    });
    program?.kill('SIGKILL');
    if (ms !== undefined) took.push(ms);
    await pause(QUIET_MS);
  }
  return took;
}

/** Milliseconds from `act` to all threads standing; `undefined` where there was no work to stop. */
async function trialOf({ device }: Lent, act: () => void): Promise<number | undefined> {
  const engine = await workingEngine(device);
  if (engine === undefined) {
    // Something else than this trial paused it, or it was never resumed.
    device.tell('resume' satisfies LentDeviceTold);
    return undefined;
  }
  const fromMs = performance.now();
  act();
  const ends = fromMs + STAND_MS_MAX;
  const seen: { readonly atMs: number; readonly usedMs: number }[] = [];
  for (let stood = false; !stood;) {
    // One that was on its way in or out is no engine at work.
    if (!leavesBelow(device.pid).includes(engine)) return undefined;
    if (performance.now() > ends) {
      if (!device.isPaused()) throw new Error(`the device worked on for ${STAND_MS_MAX} ms`);
      // Nobody has had time for its threads to stop in: so they have used none, or it shows below.
      break;
    }
    await pause(1);
    stood = stands(engine);
    seen.push({ usedMs: processorMs(engine), atMs: performance.now() - fromMs });
  }
  await pause(5);
  const usedMs = processorMs(engine);
  device.tell('resume' satisfies LentDeviceTold);
  const last = seen.find((each) => usedMs - each.usedMs <= STOPPING_MS);
  if (last === undefined) throw new Error('an engine whose threads all stood used a processor');
  return last.atMs;
}

const stands = (engine: number): boolean => threadStates(engine).every((state) => state === 'T');

/** Waits until it computes, and sees it do so for a few milliseconds. It may be another than before. */
async function workingEngine(device: WorldDevice): Promise<number | undefined> {
  const ends = performance.now() + WORK_MS_MAX;
  while (performance.now() < ends) {
    const before = leavesBelow(device.pid).map((pid) => ({ pid, usedMs: processorMs(pid) }));
    await pause(10);
    const found = before.find(({ pid, usedMs }) => processorMs(pid) - usedMs > WORKING_MS_MIN);
    if (found !== undefined) return found.pid;
  }
  return undefined;
}

interface Display {
  readonly name: string;
  readonly server: ChildProcess;
  touch(trial: number): void;
}

/** None where Xvfb or xdotool are missing. */
async function startDisplays(): Promise<Display[]> {
  const displays: Display[] = [];
  for (let i = 0; i < DISPLAYS; i++) {
    const server = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '320x240x8', '-nolisten', 'tcp'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    process.once('exit', () => server.kill());
    server.on('error', () => undefined);
    const told = server.stdio[3];
    const [number] = await Promise.race([once(told as NodeJS.ReadableStream, 'data'), once(server, 'close')]);
    if (!(number instanceof Buffer)) return displays;
    const name = `:${number.toString().trim()}`;
    const touch = (trial: number): void => {
      const words = ['mousemove', String(trial % 300), '9'];
      spawn('xdotool', words, { stdio: 'ignore', env: { ...process.env, DISPLAY: name } }).on('error', () => undefined);
    };
    displays.push({ name, server, touch });
  }
  return displays;
}
