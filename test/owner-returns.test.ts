/**
 * Claims about a machine whose owner starts to use it, with nothing scripted: a program that computes, the signals of
 * this system, a real engine, and a caller who has an answer under way.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { threadStates } from '@idlewild/agent/testing';
import { hear, LONG, type Heard } from './answers.ts';
import { until } from './processes/child.ts';
import { createWorld, type DeviceProcess, type HubProcess, type World } from './world.ts';

/** Slow, so that there is time to start a program in the middle of an answer; ada is asked first, being faster. */
const SPEED = { ada: 60, bea: 30 } as const;
/** Tests are no quiet house: what they do themselves stays below this, and the program is far above. */
const OTHERS = 0.6;
const STANDS_MS_MAX = 3_000;
const GONE_MS_MAX = 10_000;
/** A pause for load lasts 45 s at least, and again. */
const QUIET_MS_MAX = 90_000;

let world: World;
let hub: HubProcess;
let ada: DeviceProcess;
let whole: Heard;
const programs: ChildProcess[] = [];

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
  const rules = {
    otherCpuMax: OTHERS,
    memoryPressureMax: null,
    memoryFreeMin: null,
    onBattery: false,
    chargeMin: null,
  };
  ada = await world.startDevice(hub, 'ada', {
    consent: { presence: 'respect', tokensPerSecondMax: SPEED.ada },
    lending: { v: 1, preset: 'balanced', rules },
    // It may begin with a pause, on a machine that was just busy starting all this.
    atOnce: true,
  });
  await world.startDevice(hub, 'bea', { consent: { tokensPerSecondMax: SPEED.bea } });
  whole = await hear(hub.client);
});
afterAll(async () => {
  endPrograms();
  await world.end();
});

const startPrograms = (): void => {
  for (let i = 0; i < 2 * availableParallelism(); i++)
    programs.push(spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' }));
};
const endPrograms = (): void => {
  for (const program of programs.splice(0)) program.kill('SIGKILL');
};
const stands = (engine: number): boolean => threadStates(engine).every((state) => state === 'T');
const isQuiet = (): boolean => ada.state().state === 'ready' && ada.state().models[0]?.state === 'warm';
const untilQuiet = (skip: (why: string) => never): Promise<void> =>
  until(isQuiet, 'ada working', QUIET_MS_MAX).catch(() => skip(`it is busy: ${ada.state().pauseReasons.join('; ')}`));

test.skipIf(process.platform !== 'linux')(
  'a program that computes for a moment halts the engine for a moment, and nobody hears of it',
  async ({ skip }) => {
    await untilQuiet(skip);
    const engine = ada.enginePids().at(-1) ?? 0;
    let stoodMs = Number.NaN;
    const heard = await hear(hub.client, LONG, async (count) => {
      if (count !== 10) return;
      startPrograms();
      await until(() => stands(engine), 'the engine standing', STANDS_MS_MAX);
      endPrograms();
      const fromMs = performance.now();
      await until(() => !stands(engine) || threadStates(engine).length === 0, 'the engine going on', GONE_MS_MAX);
      stoodMs = performance.now() - fromMs;
    });
    expect(heard.text).toBe(whole.text);
    // Other tests may want the machine at the very moment, for longer: then that is what it stands for.
    if (ada.state().state === 'paused') skip(`it is busy: ${ada.state().pauseReasons.join('; ')}`);
    expect(heard.end.idlewild).toMatchObject({ devices: ['ada'], failovers: 0, exact: true });
    expect(stoodMs).toBeLessThan(STANDS_MS_MAX);
  },
);

test.skipIf(process.platform !== 'linux')(
  'a program that computes stops the engine, its memory follows, and the caller hears the same answer',
  async ({ skip }) => {
    await untilQuiet(skip);
    const engine = ada.enginePids().at(-1) ?? 0;
    let stoodMs = Number.NaN;
    const heard = await hear(hub.client, LONG, async (count) => {
      if (count !== 10) return;
      const fromMs = performance.now();
      startPrograms();
      await until(() => stands(engine), 'the engine standing', STANDS_MS_MAX);
      stoodMs = performance.now() - fromMs;
      // It stands at the first sign of them; they go on until they are believed.
      await until(() => ada.state().state === 'paused', 'the device paused', STANDS_MS_MAX);
    });
    expect(stoodMs).toBeLessThan(STANDS_MS_MAX);
    expect(ada.state()).toMatchObject({ state: 'paused', pauses: [{ name: 'load' }] });
    expect(heard.text).toBe(whole.text);
    expect(heard.end.idlewild).toMatchObject({ devices: ['ada', 'bea'], failovers: 1, exact: true });
    await until(() => threadStates(engine).length === 0, 'the memory being given back', GONE_MS_MAX);
    await until(() => ada.state().models[0]?.state === 'held', 'the device telling of it');
  },
);
