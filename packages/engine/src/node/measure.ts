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

/** What this engine does beyond plain answers; a hub gives a device no work that needs more. */
const ENGINE_FEATURES: readonly DeviceFeature[] = ['form', 'tools', 'logprobs', 'bias', 'embed'];

export interface MeasureOptions extends ProcessOptions {
  /** For each provider's process; a graphics driver may hang. */
  readonly limitMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

const LIMIT_MS = 20_000;

/**
 * Throws `engine_failed` when not even the CPU can be measured. A provider that is absent, wrong or crashes has `works:
 * false`.
 */
export async function measureMachine(options: MeasureOptions = {}): Promise<Machine> {
  const cpu = await measureInProcess('cpu', options);
  let webgpu: DeviceProfile['providers'][number] = { name: 'webgpu', works: false };
  try {
    const measured = await measureInProcess('webgpu', options);
    webgpu = measured.works ? { name: 'webgpu', works: true, gflops: measured.gflops } : webgpu;
  } catch (error) {
    // Most devices have none, and a driver may do anything: what matters is that it is not used.
    if (asIdlewildError(error, 'measuring webgpu').code !== 'engine_failed') throw error;
  }
  return {
    platform: process.platform,
    arch: process.arch,
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    gflops: cpu.gflops,
    engineBuild: cpu.engineBuild,
    fingerprint: cpu.fingerprint,
    features: [...ENGINE_FEATURES],
    providers: [{ name: 'cpu', works: true, gflops: cpu.gflops }, webgpu],
  };
}

async function measureInProcess(provider: 'cpu' | 'webgpu', options: MeasureOptions): Promise<Measured> {
  const clock = options.clock ?? systemClock;
  const limitMs = options.limitMs ?? LIMIT_MS;
  const wall = options.wall ?? (await surveyHere()).wall;
  // A driver looks for its parts all over the machine; what it computes is a graph of ours.
  const started = { ...options, wall, seesMachine: provider !== 'cpu' };
  return await new Promise<Measured>((resolve, reject) => {
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
        fail(reason);
      },
    );
    const timer = clock.after(limitMs, () => {
      fail(`no result within ${limitMs} ms`);
      child.kill();
    });
    child.send({ t: 'measure', provider });
  });
}
