/**
 * The world that a bench measures in: a hub and devices as processes of their own on loopback, models published by the
 * command line, and engines of the same kind driven by the bench itself, from the very files that the devices use.
 *
 * Everything lies in one temporary folder that goes with the world.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { AgentState } from '@idlewild/agent';
import { createClient, type Client } from '@idlewild/client';
import type { Engine } from '@idlewild/engine';
import { createNodeEngineHost, measureMachine, type Machine } from '@idlewild/engine/node';
import type { BenchRun } from './bench.ts';
import type { DeviceTask } from './device-options.ts';
import type { DeviceTold } from './device-process.ts';
import type { HubSaid, HubTask } from './hub-process.ts';
import { runCommand, startBenchProcess, type BenchProcess } from './processes.ts';

export interface WorldOptions {
  readonly run: BenchRun;
  readonly devices: number;
  /** Answers at once of each device. */
  readonly slots: number;
  /** What a device runs instead of `device-process.ts`, and what that is told besides. */
  readonly device?: { readonly script: string; readonly task: object } | undefined;
  /** Name → model folder. */
  readonly models: Readonly<Record<string, string>>;
}

export interface WorldDevice {
  readonly name: string;
  readonly pid: number;
  /** How many answers it is at, as it says itself. */
  answering(): number;
  /** As it says itself. */
  isPaused(): boolean;
  /** As its lender does; when this returns it is told, and in a moment it has paused. */
  pause(): void;
  resume(): void;
  /** A word that its script knows. */
  tell(word: string): void;
  /** Ends the device and its engines at once, as a power cut would, and starts it again. */
  killAndRestart(): void;
}

export interface World {
  readonly url: string;
  /** A caller's key. */
  readonly key: string;
  readonly stewardKey: string;
  /** A key of another caller, who shares nothing with the first. */
  newKey(): Promise<string>;
  readonly hubPid: number;
  readonly devices: readonly WorldDevice[];
  /** An engine like the devices' own, whose parent is this process. */
  openEngine(model: string): Promise<Engine>;
  /** Resolves when `count` devices have every model warm, as the hub sees it. */
  ready(count: number): Promise<void>;
  stop(): Promise<void>;
}

const READY_MS_MAX = 120_000;
const POLL_MS = 25;
/** With what `idlewild join` runs: bin/idlewild.mjs sets the same. */
const LENDING_FLAGS = ['--optimize-for-size', '--max-semi-space-size=1'];
const root = dirname(import.meta.dirname);

export async function startWorld(options: WorldOptions): Promise<World> {
  const { run, models } = options;
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-bench-'));
  const clear = (): void => rmSync(folder, { recursive: true, force: true });
  process.once('exit', clear);
  const hub = startBenchProcess<HubSaid>({
    script: join(import.meta.dirname, 'hub-process.ts'),
    task: { data: join(folder, 'hub') } satisfies HubTask,
    profileFolder: run.profileFolder,
  });
  const stops: (() => Promise<void>)[] = [() => hub.stop()];
  const stop = async (): Promise<void> => {
    await Promise.all(stops.splice(0).map((end) => end()));
    clear();
    process.off('exit', clear);
  };
  try {
    const { url, stewardKey } = await hub.ready;
    const steward = createClient({ hub: url, key: stewardKey });
    const cids = new Map<string, string>();
    for (const [name, model] of Object.entries(models)) cids.set(name, await publish(name, model, url, stewardKey));
    const machine = await measureMachine();
    const devices: DeviceHandle[] = [];
    for (let number = 1; number <= options.devices; number++) {
      const { token } = await steward.invites.create({ uses: 1, expiresInSeconds: 600 });
      devices.push(startDevice({ name: `device-${number}`, folder, url, token, machine, options }));
    }
    stops.push(...devices.map((device) => () => device.stop()));
    const names = Object.keys(models);
    const ready = (count: number): Promise<void> =>
      untilReady({ steward, devices, models: names, count, signal: run.signal });
    await ready(options.devices);
    const { key } = await steward.keys.create({ role: 'caller', name: 'bench' });
    let callers = 0;
    return {
      url,
      key,
      stewardKey,
      newKey: async () => (await steward.keys.create({ role: 'caller', name: `bench-${++callers}` })).key,
      hubPid: hub.pid,
      devices,
      ready,
      stop,
      async openEngine(model) {
        const files = join(folder, 'device-1', 'models', cids.get(model) ?? '');
        const engine = await openEngine({ steward, model, folder: files, options });
        stops.push(() => engine.close());
        return engine;
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A world for as long as `measure` takes. */
export async function inWorld(options: WorldOptions, measure: (world: World) => Promise<void>): Promise<void> {
  options.run.say(`starting a hub and ${options.devices} devices with ${Object.keys(options.models).join(' and ')}`);
  const world = await startWorld(options);
  try {
    await measure(world);
  } finally {
    await world.stop();
  }
}

/** With the command that a person uses. Returns the CID. */
async function publish(name: string, folder: string, url: string, key: string): Promise<string> {
  const command = join(root, 'packages', 'cli', 'bin', 'idlewild.mjs');
  const words = ['models', 'add', folder, '--name', name, '--hub', url, '--key', key, '--json'];
  const printed = await runCommand([command, ...words]);
  return (JSON.parse(printed.trim().split('\n').at(-1) ?? '') as { cid: string }).cid;
}

interface DeviceHandle extends WorldDevice {
  readonly state: AgentState | undefined;
  stop(): Promise<void>;
}

interface DeviceOptions {
  readonly name: string;
  readonly folder: string;
  readonly url: string;
  readonly token: string;
  readonly machine: Machine;
  readonly options: WorldOptions;
}

function startDevice({ name, folder, url, token, machine, options }: DeviceOptions): DeviceHandle {
  const { run, slots, device } = options;
  const data = join(folder, name);
  mkdirSync(data, { recursive: true });
  const task: DeviceTask = { data, name, invite: token, url, threads: run.threads, slots, machine };
  let state: AgentState | undefined;
  let child: BenchProcess<AgentState>;
  const start = (): void => {
    state = undefined;
    const started = startBenchProcess<AgentState>({
      script: device?.script ?? join(import.meta.dirname, 'device-process.ts'),
      task: { ...task, ...device?.task },
      profileFolder: run.profileFolder,
      flags: LENDING_FLAGS,
      onMessage: (said) => {
        if (child === started) state = said;
      },
    });
    child = started;
  };
  start();
  const tell = (word: string): void => child.tell({ tell: word });
  return {
    name,
    get pid() {
      return child.pid;
    },
    get state() {
      return state;
    },
    answering: () => state?.answering ?? 0,
    isPaused: () => state?.state === 'paused',
    tell,
    pause: () => tell('pause' satisfies DeviceTold),
    resume: () => tell('resume' satisfies DeviceTold),
    killAndRestart() {
      const killed = child;
      killed.kill();
      // Its folder is free once it is gone.
      void killed.ended.then(() => {
        if (child === killed) start();
      });
    },
    stop: () => child.stop(),
  };
}

interface Readiness {
  readonly steward: Client;
  readonly devices: readonly DeviceHandle[];
  readonly models: readonly string[];
  readonly count: number;
  readonly signal: AbortSignal;
}

async function untilReady({ steward, devices, models, count, signal }: Readiness): Promise<void> {
  const ends = performance.now() + READY_MS_MAX;
  for (;;) {
    signal.throwIfAborted();
    const ready = (await steward.devices.list()).filter(
      (device) => device.state === 'ready' && models.every((model) => device.models.includes(model)),
    );
    if (ready.length >= count) return;
    const failed = devices.flatMap((device) => device.state?.models ?? []).find(({ state }) => state === 'failed');
    if (failed !== undefined) throw new Error(`a device failed to load a model: ${failed.reason ?? failed.cid}`);
    if (performance.now() > ends) {
      throw new Error(`${ready.length} of ${count} devices were ready after ${READY_MS_MAX / 1_000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

interface EngineChoice {
  readonly steward: Client;
  readonly model: string;
  readonly folder: string;
  readonly options: WorldOptions;
}

async function openEngine({ steward, model, folder, options }: EngineChoice): Promise<Engine> {
  const { cid, contextTokens, files } = await steward.models.get(model);
  const fileBytes = Object.fromEntries(files.map(({ path, bytes }) => [path, bytes]));
  return createNodeEngineHost().load(
    { cid, folder, graph: 'model.onnx', contextTokens, fileBytes },
    { threads: options.run.threads, slotsMax: options.slots },
    options.run.signal,
  );
}

/** Processor time of a process in milliseconds, all its threads; 0 where the system does not tell. */
export function processorMsOf(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    // Fields 14 and 15 of proc(5), in ticks of 10 ms.
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return 0;
  }
}

/** The engines of a device: what computes stands behind the walls that were started for it, as the last in line. */
export function enginePidsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => {
    const behind = enginePidsOf(child);
    return behind.length === 0 ? [child] : behind;
  });
}

/** Throws where the system does not list a process's children. */
const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter((text) => text !== '')
    .map(Number);
