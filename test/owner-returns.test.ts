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
  for (const program of programs) program.kill('SIGKILL');
  await world.end();
});

test.skipIf(process.platform !== 'linux')(
  'a program that computes stops the engine, its memory follows, and the caller hears the same answer',
  { timeout: 240_000 },
  async ({ skip }) => {
    const isQuiet = (): boolean => ada.state().state === 'ready' && ada.state().models[0]?.state === 'warm';
    await until(isQuiet, 'ada working', QUIET_MS_MAX).catch(() =>
      skip(`it is busy: ${ada.state().pauseReasons.join('; ')}`),
    );
    const engine = ada.enginePids().at(-1) ?? 0;
    let stoodMs = Number.NaN;
    const heard = await hear(hub.client, LONG, async (count) => {
      if (count !== 10) return;
      const fromMs = performance.now();
      for (let i = 0; i < 2 * availableParallelism(); i++)
        programs.push(spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' }));
      await until(() => threadStates(engine).every((state) => state === 'T'), 'the engine standing', STANDS_MS_MAX);
      stoodMs = performance.now() - fromMs;
    });
    expect(stoodMs).toBeLessThan(STANDS_MS_MAX);
    expect(ada.state()).toMatchObject({ state: 'paused', pauses: [{ name: 'load' }] });
    expect(heard.text).toBe(whole.text);
    expect(heard.end.idlewild).toMatchObject({ devices: ['ada', 'bea'], failovers: 1, exact: true });
    await until(() => threadStates(engine).length === 0, 'the memory being given back', GONE_MS_MAX);
    await until(() => ada.state().models[0]?.state === 'held', 'the device telling of it');
  },
);
