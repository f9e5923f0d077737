/**
 * What an engine process measures of the machine it runs on: the speed of a fixed product, and whether a provider's
 * kernels are right.
 *
 * Runs inside an engine process only, since native code of a graphics driver may take the process down with it.
 */
import { DTYPE, createGraphBuilder, writeGraph } from '@idlewild/graph';
import { hex, type Clock } from '@idlewild/protocol';
import { createHash } from 'node:crypto';
import type { Measured } from './frames.ts';
import { ENGINE_BUILD, runFingerprint } from './load.ts';
import { openOrtSession, type Provider } from './ort-session.ts';

/** 2 × 384³ = 113 MFLOP a product: long against a call's overhead, short against a person's patience. */
const SIDE = 384;
const RUNS_MAX = 12;
const BUDGET_MS = 250;

/** How far a correct provider may be from the CPU: relative to the larger of the value and 1. */
const TOLERANCE = 1e-2;

export async function measureHere(provider: Provider, clock: Clock): Promise<Measured> {
  const reference = await runFingerprint('cpu');
  const fingerprint = hex(createHash('sha256').update(reference).digest());
  const reason = provider === 'cpu' ? '' : await faultOf(provider, reference);
  const works = reason === '';
  return {
    engineBuild: ENGINE_BUILD,
    fingerprint,
    works,
    reason,
    gflops: works ? await measureGflops(provider, clock) : 0,
  };
}

/** Why a provider may not be used; '' when it may. */
async function faultOf(provider: Provider, reference: Uint8Array): Promise<string> {
  let output: Uint8Array;
  try {
    output = await runFingerprint(provider);
  } catch (error) {
    return (error as Error).message.slice(0, 256);
  }
  const [expected, seen] = [reference, output].map((bytes) => new Float32Array(bytes.buffer, 0, bytes.length >> 2)) as [
    Float32Array,
    Float32Array,
  ];
  if (expected.length !== seen.length) return `it gave ${seen.length} values, not ${expected.length}`;
  const wrong = expected.findIndex(
    (value, i) => !(Math.abs((seen[i] as number) - value) <= TOLERANCE * Math.max(1, Math.abs(value))),
  );
  return wrong < 0 ? '' : `value ${wrong} of its self-test is ${seen[wrong]}, not ${expected[wrong]}`;
}

/** Single-precision operations per nanosecond of one thread multiplying two square matrices; the best of a few runs. */
async function measureGflops(provider: Provider, clock: Clock): Promise<number> {
  const builder = createGraphBuilder({ name: 'product' });
  const left = builder.input('left', DTYPE.float32, [SIDE, SIDE]);
  const right = builder.input('right', DTYPE.float32, [SIDE, SIDE]);
  builder.output(builder.op('MatMul', [left, right], {}, 'product'), DTYPE.float32, [SIDE, SIDE]);
  const session = await openOrtSession(writeGraph(builder.build()), { threads: 1, provider });
  const values = Float32Array.from({ length: SIDE * SIDE }, (_, i) => (i % 17) / 16 - 0.5);
  const feeds = {
    left: session.tensor('float32', values, [SIDE, SIDE]),
    right: session.tensor('float32', values, [SIDE, SIDE]),
  };
  let bestMs = Infinity;
  const ends = clock.monotonic() + BUDGET_MS;
  for (let run = 0; run < RUNS_MAX && (run < 2 || clock.monotonic() < ends); run++) {
    const from = clock.monotonic();
    await session.run(feeds, ['product']);
    bestMs = Math.min(bestMs, clock.monotonic() - from);
  }
  await session.close();
  return (2 * SIDE ** 3) / (bestMs * 1e6);
}
