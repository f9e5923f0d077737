/**
 * How long it takes until a lent machine is its owner's: from what they do to the last that the engine computes.
 *
 * With Xvfb and xdotool what they do is a real touch of a display: the clock starts before xdotool is started, so its
 * own start counts as ours. There are several displays, in turn, because a display tells of a touch that comes after a
 * second of none. Everywhere a second series starts a program that computes, and the clock with it; most of them end
 * once the engine stands, so that it goes on by itself, and some run on until the hub has been told. The engine
 * computes when the clock starts, each time, or the trial is not counted. The clock ends with the processor time of its
 * threads, as the kernel counts it; that all are told as stopped comes later where others are busy, for a thread stops
 * in its own turn, and uses nothing meanwhile.
 *
 * What asks runs on the same machine as another program, and so does the hub. For the second series it asks for little
 * of much: long prompts, of which the engine reads all and the hub tells a few tokens.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { askHub, createConnections } from '../ask.ts';
import { leavesBelow, processorMs, threadStates } from '@idlewild/agent/testing';
import type { BenchRun } from '../bench.ts';
import { bundledModel } from '../models.ts';
import { median, percentile } from '../statistics.ts';
import { inWorld, type World, type WorldDevice } from '../world.ts';
import type { LentDeviceTask, LentDeviceTold } from './lent-device-process.ts';

const MODEL = 'jacobean';
/** Together 2,000. */
const TOUCHES = 1_770;
const LOADS = 230;
const DISPLAYS = 24;
/** Of the run of all metrics, what each series may take: as many trials as fit. */
const TOUCHES_MS_MAX = 150_000;
const LOADS_MS_MAX = 150_000;
/** Every so many programs one runs on until it is believed. */
const BELIEVED_EVERY = 20;
/** Longer than a display takes to call a touch the first again. */
const AWAY_MS = 1_100;
const WORK_MS_MAX = 10_000;
/** Of ten milliseconds. */
const WORKING_MS_MIN = 2;
const STAND_MS_MAX = 3_000;
const CALLERS = 2;
const REFUSED_MS = 20;
/** A program of the lender's was believed: until it is gone, and nothing is left to see of it. */
const OVER_MS = 500;
/** Of a program's load nothing is left in the means of the readings then, and another halt may come. */
const QUIET_MS = 300;
/** And up to so much, so that programs start at any time between two readings. */
const READING_MS = 50;
/** For so long it is looked how much of the time an engine stands without any program of ours. */
const LOOK_MS = 5_000;
/** The bundled model reads 512 tokens, some of two characters. */
const PROMPT_CHARACTERS = 600;
const TOLD_MS_MAX = 5_000;
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
        const series = [touches, loads.haltedMs].filter(({ length }) => length > 0);
        if (series.length === 0) throw new Error('there was nothing to touch, and no quiet to start a program in');
        const worse = Math.max(...series.map((values) => percentile(values, 0.99)));
        run.record('lender.yield_ms_p99', worse, noteOf(touches, loads));
      } finally {
        await lent.end();
      }
    });
  } finally {
    for (const { server } of displays) server.kill();
  }
}

function noteOf(touches: readonly number[], { haltedMs, toldMs, standsShare }: Loads): string {
  if (haltedMs.length === 0) return `${touchesText(touches)}; other load left no quiet to start a program in`;
  const told = toldMs.length === 0 ? 'none ran on' : `a hub is told after ${median(toldMs).toFixed(0)} ms (median)`;
  const still = `without one it stood ${(100 * standsShare).toFixed(1)} % of the time that it was not paused`;
  return `${touchesText(touches)}; ${haltedMs.length} programs started: ${figuresOf(haltedMs)}; ${told}; ${still}`;
}

const touchesText = (touches: readonly number[]): string =>
  touches.length > 0 ? `${touches.length} touches of a display: ${figuresOf(touches)}` : 'no Xvfb and xdotool here';

const figuresOf = (values: readonly number[]): string =>
  `median ${median(values).toFixed(1)} ms, p99 ${percentile(values, 0.99).toFixed(1)} ms, ` +
  `longest ${Math.max(...values).toFixed(1)} ms`;

interface Lent {
  readonly device: WorldDevice;
  /** What callers ask from now on. */
  asks(what: 'answers' | 'prompts'): void;
  end(): Promise<void>;
}

/** Callers ask without end, so that there is always work. */
async function lend(world: World): Promise<Lent> {
  const [device] = world.devices as [WorldDevice];
  if (leavesBelow(device.pid).length === 0) throw new Error('this system does not list the processes below one');
  const connections = createConnections();
  let isOver = false;
  let asked: 'answers' | 'prompts' = 'answers';
  const caller = async (number: number): Promise<void> => {
    for (let seed = number; !isOver; seed += CALLERS) {
      const ask =
        asked === 'answers' ? { prompt: 'MENENIUS:\n', tokensMax: 400 } : { prompt: promptOf(seed), tokensMax: 4 };
      await askHub(world, connections, { model: MODEL, seed, ...ask }).catch(
        // While the one device is paused, a hub may refuse.
        () => pause(asked === 'answers' ? REFUSED_MS : OVER_MS),
      );
    }
  };
  const callers = Array.from({ length: CALLERS }, (_, number) => caller(number));
  return {
    device,
    asks(what) {
      asked = what;
    },
    async end() {
      isOver = true;
      device.tell('resume' satisfies LentDeviceTold);
      connections.destroy();
      await Promise.all(callers);
    },
  };
}

/** Another from its first words on, so that nothing is kept of it. */
const promptOf = (seed: number): string =>
  Array.from({ length: PROMPT_CHARACTERS }, (_, i) =>
    String.fromCharCode(97 + ((seed * 7 + i * i * 31 + seed * i) % 26)),
  )
    .join('')
    .replaceAll(/[jqvxz]/g, ' ');

async function measureTouches(run: BenchRun, { device }: Lent, displays: readonly Display[]): Promise<number[]> {
  const took: number[] = [];
  if (displays.length === 0) return took;
  run.say(`lender.yield_ms_p99: ${TOUCHES} touches of ${displays.length} displays`);
  const ends = performance.now() + TOUCHES_MS_MAX;
  const touchedAtMs = displays.map(() => 0);
  for (let trial = 0; took.length < TOUCHES && performance.now() < ends; trial++) {
    run.signal.throwIfAborted();
    const turn = trial % displays.length;
    await pause(Math.max(0, (touchedAtMs[turn] ?? 0) + AWAY_MS - performance.now()));
    const ms = await trialOf(device, () => displays[turn]?.touch(trial));
    // Also where something else than this trial had paused it.
    device.tell('resume' satisfies LentDeviceTold);
    touchedAtMs[turn] = performance.now();
    if (ms !== undefined) took.push(ms);
  }
  return took;
}

interface Loads {
  /** From a program's start until the engine used no processor. */
  readonly haltedMs: readonly number[];
  /** And until the device said that it was paused. */
  readonly toldMs: readonly number[];
  /** Of the time before the first of them in which the device was not paused. */
  readonly standsShare: number;
}

async function measureLoads(run: BenchRun, { device, asks }: Lent): Promise<Loads> {
  const [haltedMs, toldMs]: [number[], number[]] = [[], []];
  run.say(`lender.yield_ms_p99: ${LOADS} programs that compute`);
  const ends = performance.now() + LOADS_MS_MAX;
  asks('prompts');
  await pause(OVER_MS);
  device.tell('watch' satisfies LentDeviceTold);
  const standsShare = await standsFor(device, LOOK_MS);
  while (haltedMs.length < LOADS && performance.now() < ends) {
    run.signal.throwIfAborted();
    if (device.isPaused()) {
      await pause(OVER_MS);
      device.tell('resume' satisfies LentDeviceTold);
      device.tell('watch' satisfies LentDeviceTold);
      await pause(OVER_MS);
    }
    await pause(QUIET_MS + READING_MS * Math.random());
    let program: ChildProcess | undefined;
    const fromMs = performance.now();
    try {
      const ms = await trialOf(device, () => {
        program = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
      });
      if (ms !== undefined) haltedMs.push(ms);
      if (ms !== undefined && haltedMs.length % BELIEVED_EVERY === 0) {
        while (!device.isPaused() && performance.now() - fromMs < TOLD_MS_MAX) await pause(1);
        if (device.isPaused()) toldMs.push(performance.now() - fromMs);
      }
    } finally {
      program?.kill('SIGKILL');
    }
  }
  device.tell('resume' satisfies LentDeviceTold);
  return { haltedMs, toldMs, standsShare };
}

/** Of so much time without a pause, how much of it an engine was seen to stand; other load may pause it meanwhile. */
async function standsFor(device: WorldDevice, forMs: number): Promise<number> {
  let [looks, standing] = [0, 0];
  for (const ends = performance.now() + forMs; performance.now() < ends;) {
    await pause(10);
    const [engine] = leavesBelow(device.pid);
    if (device.isPaused() || engine === undefined) continue;
    looks++;
    if (stands(engine)) standing++;
  }
  return standing / Math.max(1, looks);
}

/** Milliseconds from `act` to all threads standing; `undefined` where there was no work to stop. */
async function trialOf(device: WorldDevice, act: () => void): Promise<number | undefined> {
  const engine = await workingEngine(device);
  if (engine === undefined) return undefined;
  const fromMs = performance.now();
  act();
  const ends = fromMs + STAND_MS_MAX;
  const seen: { readonly atMs: number; readonly usedMs: number }[] = [];
  for (let stood = false; !stood;) {
    // One that was on its way in or out is no engine at work.
    if (!leavesBelow(device.pid).includes(engine)) return undefined;
    if (performance.now() > ends) {
      // Nobody may have had time for its threads to stop in: then they have used none, or it shows below.
      break;
    }
    await pause(1);
    stood = stands(engine);
    seen.push({ usedMs: processorMs(engine), atMs: performance.now() - fromMs });
  }
  await pause(5);
  const usedMs = processorMs(engine);
  const last = seen.find((each) => usedMs - each.usedMs <= STOPPING_MS);
  if (last === undefined) throw new Error(`the device worked on for ${STAND_MS_MAX} ms`);
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
