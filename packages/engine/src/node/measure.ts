/**
 * What a device tells its hub about itself. Everything that computes runs in engine processes of its own, so the
 * agent's event loop goes on and a driver that crashes takes only its own process along.
 */
import { IdlewildError, asIdlewildError, type Clock, type DeviceFeature, type DeviceProfile } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { availableParallelism, totalmem } from 'node:os';
import { startEngineProcess, type ProcessOptions } from './engine-process.ts';
import type { Measured } from './frames.ts';
import { surveyHere } from './isolation/here.ts';

export type Machine = Pick<
  DeviceProfile,
  'platform' | 'arch' | 'cores' | 'memoryBytes' | 'gflops' | 'engineBuild' | 'fingerprint' | 'features' | 'providers'
>;

type Provider = DeviceProfile['providers'][number];

/** What this engine does beyond plain answers; a hub gives a device no work that needs more. */
const ENGINE_FEATURES: readonly DeviceFeature[] = ['form', 'tools', 'logprobs', 'bias', 'embed'];

export interface MeasureOptions extends ProcessOptions {
  /** For each provider's process; a graphics driver may hang. */
  readonly limitMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

const LIMIT_MS = 20_000;

/** Its processors: nothing else of the machine is asked. Throws `engine_failed` when they cannot be measured. */
export async function measureMachine(options: MeasureOptions = {}): Promise<Machine> {
  const cpu = await measureInProcess('cpu', options);
  return {
    platform: process.platform,
    arch: process.arch,
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    gflops: cpu.gflops,
    engineBuild: cpu.engineBuild,
    fingerprint: cpu.fingerprint,
    features: [...ENGINE_FEATURES],
    providers: [{ name: 'cpu', works: true, gflops: cpu.gflops }],
  };
}

/**
 * Its graphics card, which computes for a moment: only ever called where the lender lends it. One that is absent, wrong
 * or crashes has `works: false`. Throws `cancelled`, the process being ended, once `signal` is aborted.
 */
export async function measureGraphics(signal: AbortSignal, options: MeasureOptions = {}): Promise<Provider> {
  try {
    const measured = await measureInProcess('webgpu', options, signal);
    return measured.works ? { name: 'webgpu', works: true, gflops: measured.gflops } : { name: 'webgpu', works: false };
  } catch (error) {
    // Most devices have none, and a driver may do anything: what matters is that it is not used.
    if (asIdlewildError(error, 'measuring webgpu').code !== 'engine_failed') throw error;
    return { name: 'webgpu', works: false };
  }
}

async function measureInProcess(
  provider: 'cpu' | 'webgpu',
  options: MeasureOptions,
  signal?: AbortSignal,
): Promise<Measured> {
  const clock = options.clock ?? systemClock;
  const limitMs = options.limitMs ?? LIMIT_MS;
  const wall = options.wall ?? (await surveyHere()).wall;
  // A driver looks for its parts all over the machine; what it computes is a graph of ours.
  const started = { ...options, wall, seesMachine: provider !== 'cpu' };
  const cancelled = (): IdlewildError => new IdlewildError('cancelled', `measuring ${provider} was called off`);
  if (signal?.aborted === true) throw cancelled();
  return await new Promise<Measured>((resolve, reject) => {
    const onAbort = (): void => {
      reject(cancelled());
      child.kill();
    };
    const fail = (why: string): void => reject(new IdlewildError('engine_failed', `measuring ${provider}: ${why}`));
    const child = startEngineProcess(
      [],
      started,
      (message) => {
        if (message.t === 'measured') resolve(message.measured);
        else if (message.t === 'failed') fail(message.message);
        child.kill();
      },
      (reason) => {
        timer.cancel();
        signal?.removeEventListener('abort', onAbort);
        fail(reason);
      },
    );
    const timer = clock.after(limitMs, () => {
      fail(`no result within ${limitMs} ms`);
      child.kill();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
    child.send({ t: 'measure', provider });
  });
}
