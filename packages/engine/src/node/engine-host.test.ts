/** Real engine processes with the bundled model. */
import { readGraph, writeGraph } from '@idlewild/graph';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFakeClock, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { spawn, spawnSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import type { Engine, EngineLimits, EngineModel, Halting } from '../core/port.ts';
import { collect, prepareModelFolder, textOf, tokensOf, work } from '../testing/index.ts';
import { createNodeEngineHost } from './engine-host.ts';
import { startEngineProcess } from './engine-process.ts';
import { permissionFlags } from './isolation/permissions.ts';
import { measureGraphics, measureMachine } from './measure.ts';

const root = mkdtempSync(join(tmpdir(), 'idlewild-engine-'));
const pids: number[] = [];
const host = createNodeEngineHost({
  log: (message) => {
    const pid = /in process (\d+)/.exec(message)?.[1];
    if (pid !== undefined) pids.push(Number(pid));
  },
});
const limits: EngineLimits = { threads: 1, slotsMax: 4 };
const never = new AbortController().signal;
const engines: Engine[] = [];
let model: EngineModel;

async function load(over: Partial<EngineModel> = {}, with_: EngineLimits = limits): Promise<Engine> {
  const engine = await host.load({ ...model, ...over }, with_, never);
  engines.push(engine);
  return engine;
}

beforeAll(() => {
  model = prepareModelFolder({ folder: join(root, 'jacobean'), from: 'jacobean' });
});
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

/** Where nobody collects orphans, one that has ended stays in the table as a zombie: that is as dead as any. */
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return process.platform !== 'linux' || !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};

test('a model is loaded in a process of its own, measured, and answers; closing leaves no process', async () => {
  const engine = await load();
  expect(engine).toMatchObject({ provider: 'cpu', contextTokens: 512, slots: 4 });
  expect(engine.engineBuild).toMatch(/^ort-node-\d+\.\d+\.\d+\/idlewild-engine-\d+$/);
  expect(engine.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  expect(engine.tokensPerSecond).toBeGreaterThan(5);
  expect(engine.prefillTokensPerSecond).toBeGreaterThan(engine.tokensPerSecond);
  expect(engine.memoryBytes).toBeGreaterThan(12_000_000);
  const asked = collect(
    engine,
    work({ prompt: { kind: 'chat', messages: [{ role: 'user', content: 'Good morrow.' }] }, tokensMax: 40 }),
  );
  expect(await asked.over).toMatchObject({ t: 'finished', answerTokens: tokensOf(asked.events).length });
  expect(textOf(asked.events).length).toBeGreaterThan(20);
  const pid = pids.at(-1) ?? 0;
  expect(isAlive(pid)).toBe(true);
  await engine.close();
  expect(isAlive(pid)).toBe(false);
});

test('the speed that an engine tells of is no more than its lender allows', async () => {
  expect((await load({}, { ...limits, tokensPerSecondMax: 3 })).tokensPerSecond).toBe(3);
});

test('several answers stream at once, each as it would alone', async () => {
  const engine = await load();
  const seeds = [1, 2, 3, 4, 5, 6];
  const alone: number[][] = [];
  for (const seed of seeds) {
    const asked = collect(engine, work({ sampling: { seed }, tokensMax: 30 }));
    await asked.over;
    alone.push(tokensOf(asked.events));
  }
  const together = seeds.map((seed) => collect(engine, work({ sampling: { seed }, tokensMax: 30 })));
  await Promise.all(together.map(({ over }) => over));
  expect(together.map(({ events }) => tokensOf(events))).toEqual(alone);
});

test('every answer tells its processor time, and all together no more than their engine has told of', async () => {
  const told: number[] = [];
  const engine = await createNodeEngineHost({ onCpu: (ms) => told.push(ms) }).load(model, limits, never);
  engines.push(engine);
  const total = (): number => told.reduce((sum, ms) => sum + ms, 0);
  const ofLoading = total();
  expect(ofLoading).toBeGreaterThan(0);
  const cpuMs: number[] = [];
  for (const seeds of [[1], [2, 3]]) {
    const asked = seeds.map((seed) => collect(engine, work({ sampling: { seed }, tokensMax: 40 })));
    for (const { over } of asked) {
      const end = await over;
      cpuMs.push((end.t === 'finished' ? end.cpuMs : undefined) ?? Number.NaN);
    }
  }
  for (const ms of cpuMs) expect(ms).toBeGreaterThan(0);
  const sum = cpuMs.reduce((all, ms) => all + ms, 0);
  expect(sum).toBeLessThanOrEqual(total() - ofLoading + 1);
  expect(sum).toBeGreaterThan((total() - ofLoading) / 2);
});

test('a cancelled answer is silent at once, and its slot is free within a step', async () => {
  const engine = await load({}, { threads: 1, slotsMax: 1 });
  const cancelled = collect(engine, work(), (event) => {
    if (event.t === 'token' && event.i === 5) cancelled.cancel();
  });
  const next = collect(engine, work({ tokensMax: 3, prompt: { kind: 'text', text: 'Hark' } }));
  expect(await next.over).toMatchObject({ t: 'finished' });
  expect(cancelled.events.at(-1)).toMatchObject({ t: 'token', i: 5 });
});

test('a killed process fails its open answers as engine_failed, says why, and the host loads again', async () => {
  const engine = await load();
  const deaths: string[] = [];
  engine.onDeath((reason) => deaths.push(reason));
  const pid = pids.at(-1) ?? 0;
  const asked = collect(engine, work(), (event) => {
    if (event.t === 'token' && event.i === 10) process.kill(pid, 'SIGKILL');
  });
  const other = collect(engine, work({ sampling: { seed: 2 } }));
  expect(await asked.over).toMatchObject({
    t: 'failed',
    code: 'engine_failed',
    message: expect.stringContaining('SIGKILL') as string,
  });
  expect(await other.over).toMatchObject({ t: 'failed', code: 'engine_failed' });
  expect(deaths).toHaveLength(1);
  expect(await collect(engine, work()).over).toMatchObject({ t: 'failed', code: 'engine_failed' });
  const again = await load();
  const rest = collect(again, work({ tokens: tokensOf(asked.events), tokensMax: 40 }));
  expect(await rest.over).toMatchObject({ t: 'finished' });
  const whole = collect(again, work({ tokensMax: 40 }));
  await whole.over;
  expect([...tokensOf(asked.events), ...tokensOf(rest.events)]).toEqual(tokensOf(whole.events));
});

/** A host on a clock that stands still, which freezes its engine's process when told to. */
async function onFrozenTime(): Promise<{ clock: FakeClock; engine: Engine; pid: number; freeze(): void }> {
  const clock = createFakeClock(yieldToNode);
  let pid = 0;
  const patient = createNodeEngineHost({
    clock,
    log: (message) => {
      pid ||= Number(/in process (\d+)/.exec(message)?.[1]);
    },
  });
  const engine = await patient.load(model, limits, never);
  engines.push(engine);
  return { clock, engine, pid, freeze: () => process.kill(pid, 'SIGSTOP') };
}

/** Asks an engine that then freezes. Another answer comes and goes: being told to stop is no sign of life. */
async function askedOfFrozen(engine: Engine, freeze: () => void): Promise<ReturnType<typeof collect>> {
  const passing = new Promise<void>((resolve) => {
    const passer = collect(engine, work(), (event) => {
      if (event.t !== 'token') return;
      freeze();
      passer.cancel();
      resolve();
    });
  });
  const asked = collect(engine, work());
  await passing;
  return asked;
}

test('a process that hangs is ended, and its open answers fail', async () => {
  const { clock, engine, freeze } = await onFrozenTime();
  const asked = await askedOfFrozen(engine, freeze);
  await clock.advance(60_000);
  expect(await asked.over).toMatchObject({
    t: 'failed',
    code: 'engine_failed',
    message: expect.stringContaining('SIGKILL') as string,
  });
});

test('a process that hangs is ended also when its answers were cancelled, as those that stall are', async () => {
  const { clock, engine, freeze } = await onFrozenTime();
  const died = new Promise<string>((resolve) => engine.onDeath(resolve));
  await new Promise<void>((resolve) => {
    const asked = collect(engine, work(), (event) => {
      if (event.t !== 'token') return;
      freeze();
      asked.cancel();
      resolve();
    });
  });
  await clock.advance(60_000);
  expect(await died).toContain('SIGKILL');
});

/** Processor time in ticks, and the state, of a process: of all its threads, for one may run while another stands. */
function seenOf(pid: number): { readonly ticks: number; readonly states: string } {
  const fieldsOf = (file: string): string[] => readFileSync(file, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const [, , , , , , , , , , , utime, stime] = fieldsOf(`/proc/${pid}/stat`);
  const threads = readdirSync(`/proc/${pid}/task`);
  const states = new Set(threads.map((tid) => fieldsOf(`/proc/${pid}/task/${tid}/stat`)[0]));
  return { ticks: Number(utime) + Number(stime), states: [...states].join('') };
}

/** Of this test, and of those. */
const processesBelow = (pid = process.pid): number[] => {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  return children.flatMap((child) => [child, ...processesBelow(child)]);
};

/** Processor time of all threads, far finer than in ticks. */
const cpuMsOf = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`).reduce(
    (sum, tid) => sum + Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8').split(' ')[0]) / 1e6,
    0,
  );

/** Of real time, in which an engine that is not stopped would compute for five ticks and more. */
const untilLater = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test.skipIf(process.platform !== 'linux')(
  'a suspended engine uses no processor and is not called silent; resumed, it goes on where it stood',
  async () => {
    const { clock, engine, pid } = await onFrozenTime();
    const deaths: string[] = [];
    engine.onDeath((reason) => deaths.push(reason));
    const whole = collect(engine, work({ tokensMax: 40 }));
    await whole.over;
    const asked = collect(engine, work({ tokensMax: 40 }), (event) => {
      if (event.t === 'token' && event.i === 5) expect(engine.suspend?.()).toBe(true);
    });
    while (seenOf(pid).states !== 'T') await yieldToNode();
    const { ticks } = seenOf(pid);
    // Far longer than silence is borne with; and meanwhile it is asked for more.
    const more = collect(engine, work({ tokensMax: 3 }));
    await clock.advance(300_000);
    await untilLater(100);
    expect(seenOf(pid)).toEqual({ ticks, states: 'T' });
    expect(deaths).toEqual([]);
    engine.resume?.();
    expect(await asked.over).toMatchObject({ t: 'finished' });
    expect(tokensOf(asked.events)).toEqual(tokensOf(whole.events));
    expect(await more.over).toMatchObject({ t: 'finished' });
  },
);

test.skipIf(process.platform !== 'linux')(
  'a load that is suspended uses no processor and is not over; resumed, it goes on, and the engine works',
  async () => {
    const before = processesBelow();
    let isLoaded = false;
    let halting: Halting | undefined;
    const loading = host.load(model, limits, never, (started) => {
      halting = started;
      expect(started.suspend?.()).toBe(true);
    });
    const loaded = loading.then((engine) => {
      isLoaded = true;
      engines.push(engine);
      return engine;
    });
    const own = (): number[] => processesBelow().filter((pid) => !before.includes(pid));
    await vi.waitFor(() => expect(own().map((pid) => seenOf(pid).states)).toContain('T'), 30_000);
    const used = own().map((pid) => seenOf(pid).ticks);
    await untilLater(300);
    expect(own().map((pid) => seenOf(pid).ticks)).toEqual(used);
    expect(isLoaded).toBe(false);
    halting?.resume?.();
    const asked = collect(await loaded, work({ tokensMax: 3 }));
    expect(await asked.over).toMatchObject({ t: 'finished' });
  },
);

test('an engine that comes to take more memory than was lent is ended, and says so', async () => {
  const engine = await load({}, { ...limits, memoryBytesMax: 1_000_000 });
  const died = new Promise<string>((resolve) => engine.onDeath(resolve));
  // Whoever cancels asks for a sign of life, which tells of the memory.
  const asked = collect(engine, work(), (event) => {
    if (event.t === 'token') asked.cancel();
  });
  expect(await died).toMatch(/it took \d+ bytes of memory; its lender allows 1000000/);
});

test('after a resume silence counts again', async () => {
  const { clock, engine, freeze } = await onFrozenTime();
  engine.suspend?.();
  await clock.advance(120_000);
  engine.resume?.();
  const asked = await askedOfFrozen(engine, freeze);
  await clock.advance(60_000);
  expect(await asked.over).toMatchObject({ t: 'failed', code: 'engine_failed' });
});

test('a suspended engine is ended at once, and so is one in mid-answer that is told so', async () => {
  for (const isSuspended of [true, false]) {
    const engine = await load();
    const pid = pids.at(-1) ?? 0;
    const asked = collect(engine, work());
    if (isSuspended) engine.suspend?.();
    await engine.close({ atOnce: true });
    expect(isAlive(pid)).toBe(false);
    expect(await asked.over).toMatchObject({ t: 'failed', message: expect.stringContaining('SIGKILL') as string });
  }
});

test('an engine that may run a share of the time says so, and keeps to it', async () => {
  const engine = await load({}, { ...limits, dutyShare: 0.25 });
  if (process.platform !== 'linux') return;
  const pid = pids.at(-1) ?? 0;
  const whole = engine.tokensPerSecond;
  const before = cpuMsOf(pid);
  const fromMs = performance.now();
  await collect(engine, work({ tokensMax: 200 })).over;
  expect((cpuMsOf(pid) - before) / (performance.now() - fromMs)).toBeLessThan(0.35);
  engine.throttle?.(0.125);
  expect(engine.tokensPerSecond).toBeCloseTo(whole / 2);
});

test('an engine that is closed leaves no timer behind', async () => {
  const { clock, engine } = await onFrozenTime();
  await collect(engine, work({ tokensMax: 3 })).over;
  await engine.close();
  expect(clock.nextInMs()).toBeUndefined();
});

test('an engine process does not outlive its host', async () => {
  const script = `
    import { createNodeEngineHost } from ${JSON.stringify(new URL('./engine-host.ts', import.meta.url).href)};
    const host = createNodeEngineHost({ log: console.log });
    await host.load(${JSON.stringify(model)}, ${JSON.stringify(limits)}, new AbortController().signal);
    setInterval(() => undefined, 1_000);`;
  const parent = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pid = await new Promise<number>((resolve) => {
    parent.stdout.on('data', (text: Buffer) => {
      const found = /in process (\d+)/.exec(text.toString())?.[1];
      if (found !== undefined) resolve(Number(found));
    });
  });
  expect(isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  // Its end is nobody's event here; the test's own time limit bounds the waiting.
  while (isAlive(pid)) await yieldToNode();
});

test('an engine process reads only its packages and its model', async () => {
  writeFileSync(join(root, 'secret.txt'), 'x');
  const seen = await new Promise<string>((resolve) => {
    const child = startEngineProcess(
      [model.folder],
      {},
      (message) => {
        resolve(message.t === 'failed' ? `${message.code}: ${message.message}` : message.t);
        child.kill();
      },
      resolve,
    );
    child.send({
      t: 'load',
      model: { ...model, folder: root, graph: 'secret.txt', fileBytes: { 'secret.txt': 1 } },
      limits,
    });
  });
  expect(seen).toMatch(/model_invalid: .*(restricted|Access)/);
});

test('an engine process may not write files, start processes or start workers', () => {
  const ask = "JSON.stringify(['fs.write', 'child', 'worker'].map((what) => process.permission.has(what)))";
  const { stdout } = spawnSync(process.execPath, [...permissionFlags([model.folder]), '-p', ask], { encoding: 'utf8' });
  expect(JSON.parse(stdout)).toEqual([false, false, false]);
});

test('a model that cannot be run is refused with the reason, and no process stays', async () => {
  const refusals: [Partial<EngineModel>, string][] = [
    [{ graph: 'absent.onnx' }, 'model_invalid'],
    [{ graph: 'config.json' }, 'model_invalid'],
    [{ fileBytes: { ...model.fileBytes, 'weights.bin': 1_000 } }, 'model_refused'],
    [{ fileBytes: { 'model.onnx': 1, 'weights.bin': model.fileBytes['weights.bin'] as number } }, 'model_invalid'],
  ];
  const graph = readGraph(readFileSync(join(model.folder, model.graph)));
  const outputs = graph.outputs.filter((output) => output.name !== 'present.0.key');
  writeFileSync(join(model.folder, 'headless.onnx'), writeGraph({ ...graph, outputs }));
  refusals.push([{ graph: 'headless.onnx' }, 'model_unsupported']);
  for (const [over, code] of refusals)
    await expect(host.load({ ...model, ...over }, limits, never)).rejects.toMatchObject({ code });
});

test('loading stops when its signal is aborted', async () => {
  const stop = new AbortController();
  const loading = host.load(model, limits, stop.signal);
  stop.abort(new Error('not now'));
  await expect(loading).rejects.toThrow('not now');
});

test('the machine is measured by its processors, and no graphics card is asked', async () => {
  const machine = await measureMachine();
  expect(machine.cores).toBeGreaterThan(0);
  expect(machine.gflops).toBeGreaterThan(0.1);
  expect(machine.providers).toEqual([{ name: 'cpu', works: true, gflops: machine.gflops }]);
  const engine = await load();
  expect([engine.fingerprint, engine.engineBuild]).toEqual([machine.fingerprint, machine.engineBuild]);
});

test('a graphics card that a machine lacks does not work, and nothing crashes', async () => {
  const { name, works } = await measureGraphics(never);
  expect(name).toBe('webgpu');
  expect(works).toBeTypeOf('boolean');
});

test('measuring a graphics card ends at once when its machine is wanted back, and leaves no process', async () => {
  const stop = new AbortController();
  const pids: number[] = [];
  const onStarted = (pid: number): void => {
    pids.push(pid);
    setImmediate(() => stop.abort());
  };
  await expect(measureGraphics(stop.signal, { onStarted })).rejects.toMatchObject({ code: 'cancelled' });
  const [pid = 0] = pids;
  await expect.poll(() => isThere(pid)).toBe(false);
  await expect(measureGraphics(stop.signal)).rejects.toMatchObject({ code: 'cancelled' });
});

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
