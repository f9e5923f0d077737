/** Claims about devices that fail in mid-answer: what the caller hears is what it would have heard. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { answering, hear, LONG, untilReady, type Heard } from './answers.ts';
import { createWorld, isReady, type DeviceOptions, type DeviceProcess, type HubProcess, type World } from './world.ts';

const GAP_MS_MAX = 1_000;
/** Paced, so that a token's number says where in the answer it is. */
const PACED = { tokensPerSecondMax: 160 };
const KILLS = 3;

let world: World;
let hub: HubProcess;
const devices = new Map<string, DeviceProcess>();
/** What nobody interrupted. */
let whole: Heard;

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
  await Promise.all(['ada', 'bea', 'cyd'].map((name) => start(name)));
  whole = await hear(hub.client);
});
afterAll(() => world.end());

async function start(name: string, options: DeviceOptions = {}): Promise<void> {
  devices.set(name, await world.startDevice(hub, name, { consent: PACED, ...options }));
}

const killAnswering = async (): Promise<DeviceProcess> => {
  const device = await answering(hub.client, devices.values());
  await device.kill();
  return device;
};

/** The same answer as ever, whole, and without a gap that a person would call one. */
function expectUnnoticed(heard: Heard, failovers: number): void {
  expect(heard.text).toBe(whole.text);
  expect(heard.end.usage).toEqual(whole.end.usage);
  expect(heard.end.idlewild).toMatchObject({ failovers, exact: true, seed: LONG.seed });
  expect(heard.end.idlewild.devices).toHaveLength(failovers + 1);
  expect(heard.gapMsMax).toBeLessThan(GAP_MS_MAX);
}

test('an answer that nobody interrupts is of one device, and exact', () => {
  expect(whole.end.usage.completion_tokens).toBe(LONG.max_tokens);
  expectUnnoticed(whole, 0);
});

test('the plug of the answering device is pulled at any token, and the caller hears the same answer', async () => {
  for (let kill = 0; kill < KILLS; kill++) {
    const at = 1 + Math.floor(Math.random() * (whole.pieces.length - 40));
    let victim: DeviceProcess | undefined;
    const heard = await hear(hub.client, LONG, async (count) => {
      if (count === at) victim = await killAnswering();
    });
    expect(heard.end.idlewild.devices[0], `killed at piece ${at}`).toBe(victim?.name);
    expectUnnoticed(heard, 1);
    await start(victim?.name ?? '');
  }
});

test('the owner of the answering device comes back, and the caller hears the same answer', async () => {
  for (const at of [1, 60, 140]) {
    let paused: DeviceProcess | undefined;
    const heard = await hear(hub.client, LONG, async (count) => {
      if (count !== at) return;
      paused = await answering(hub.client, devices.values());
      process.kill(paused.pid, 'SIGUSR2');
    });
    expect(heard.end.idlewild.devices[0], `paused at piece ${at}`).toBe(paused?.name);
    expectUnnoticed(heard, 1);
    expect(paused?.state()).toMatchObject({ state: 'paused', pauses: [{ name: 'lender' }] });
    process.kill(paused?.pid ?? 0, 'SIGUSR2');
    await untilReady(hub.client, 3);
  }
});

test('two devices die within one answer, and the third ends it', async () => {
  const dead: DeviceProcess[] = [];
  const heard = await hear(hub.client, LONG, async (count) => {
    if (count === 30 || count === 100) dead.push(await killAnswering());
  });
  expectUnnoticed(heard, 2);
  expect(new Set(heard.end.idlewild.devices).size).toBe(3);
  await Promise.all(dead.map((device) => start(device.name)));
});

test('kill -9 of the engine is one failed attempt, not a dead device', async () => {
  let victim: DeviceProcess | undefined;
  const heard = await hear(hub.client, LONG, async (count) => {
    if (count !== 60) return;
    victim = await answering(hub.client, devices.values());
    process.kill(victim.enginePids().at(-1) ?? 0, 'SIGKILL');
  });
  expectUnnoticed(heard, 1);
  const device = victim as DeviceProcess;
  await expect.poll(() => device.enginePids().length, { timeout: 10_000 }).toBe(2);
  await untilReady(hub.client, 3);
  expect(device.log().match(/connected to the hub/g)).toHaveLength(1);
  await Promise.all([...devices.values()].filter((other) => other !== device).map((other) => stopFor(other)));
  expectUnnoticed(await hear(hub.client), 0);
  await Promise.all([...devices.values()].filter((other) => other !== device).map((other) => start(other.name)));
});

test('an engine that stands still is a stall, and another device takes over', async () => {
  let victim: DeviceProcess | undefined;
  const heard = await hear(hub.client, LONG, async (count) => {
    if (count !== 60) return;
    victim = await answering(hub.client, devices.values());
    process.kill(victim.enginePids().at(-1) ?? 0, 'SIGSTOP');
  });
  expect(heard.text).toBe(whole.text);
  expect(heard.end.idlewild).toMatchObject({ failovers: 1, exact: true });
  expect(new Set(heard.end.idlewild.devices).size).toBe(2);
  await (victim as DeviceProcess).kill();
  await start((victim as DeviceProcess).name);
});

test('when all devices are dead an answer waits for one to come back', async () => {
  await Promise.all([...devices.values()].slice(1).map((device) => stopFor(device)));
  const heard = await hear(hub.client, LONG, async (count) => {
    if (count === 80) await start((await killAnswering()).name);
  });
  expect(heard.text).toBe(whole.text);
  expect(heard.end.idlewild).toMatchObject({ failovers: 1, exact: true });
});

test('a device of another numeric class keeps what was said and says that it is not exact', async () => {
  await start('dot', { engineBuild: 'another build' });
  await untilReady(hub.client, 2);
  const heard = await hear(hub.client, LONG, async (count) => {
    if (count === 50) await killAnswering();
  });
  const kept = whole.pieces.slice(0, 50).join('');
  expect(heard.text.startsWith(kept)).toBe(true);
  expect(heard.end.idlewild).toMatchObject({ failovers: 1, exact: false });
  expect(heard.end.usage.completion_tokens).toBe(LONG.max_tokens);
});

/** Ends a device that some later test starts again. */
async function stopFor(device: DeviceProcess): Promise<void> {
  await device.stop();
  expect(device.lines.at(-1)).toEqual({ ended: null });
  expect(isReady(device.lines[0] ?? { ended: null })).toBe(false);
}
