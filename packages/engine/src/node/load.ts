/**
 * From a model's folder to a running decode loop: what an engine process does when it is told to load.
 *
 * The graph is checked before the runtime's native code sees it. Speed is measured with the model itself, briefly; the
 * numeric class is read off the fingerprint graph, run by the same build on the same provider.
 */
import {
  checkGraph,
  describeDecoder,
  fingerprintGraph,
  readGraph,
  trimmablePast,
  writeGraph,
  type DecoderShape,
  type Graph,
} from '@idlewild/graph';
import { IdlewildError, hex, type Clock } from '@idlewild/protocol';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, posix } from 'node:path';
import type { RunCost } from '../core/chunk-size.ts';
import { createDecodeLoop, type DecodeLoop } from '../core/decode-loop.ts';
import { createDecoder, type Decoder } from '../core/decoder.ts';
import { LIMITS } from '../core/limits.ts';
import type { EngineLimits, EngineModel } from '../core/port.ts';
import type { GraphSession, TensorType } from '../core/session.ts';
import { MODEL_TEXT_FILES, readSettings, type ModelTexts } from '../core/settings.ts';
import type { Loaded } from './frames.ts';
import { openOrtSession, type Provider } from './ort-session.ts';

/**
 * Part of every numeric class: to be raised with any change of this package that may change a logit's bits or a token.
 */
const ENGINE_VERSION = 'idlewild-engine-1';

const { version: ortVersion } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
export const ENGINE_BUILD = `ort-node-${ortVersion}/${ENGINE_VERSION}`;

/** Enough for stable figures of a small model; a large one is stopped after its first steps. */
const MEASURE = { prefillRows: 64, prefillRuns: 3, decodeSteps: 48, budgetMs: 250 } as const;

/** Rows that the check of exactness reads: one more than a block of the kernels that are known to differ. */
const EXACT_ROWS = 65;
const INEXACT_BYTES = 16;

/** Throws `model_invalid`, `model_refused` or `model_unsupported`. */
export async function loadModel(
  model: EngineModel,
  limits: EngineLimits,
  clock: Clock,
): Promise<{ loop: DecodeLoop; loaded: Loaded }> {
  const before = process.memoryUsage.rss();
  const graph = readCheckedGraph(model);
  const shape = describeDecoder(graph);
  const settings = readSettings(readTexts(model));
  const session = await openOrtSession(writeGraph(trimmablePast(graph)), {
    threads: Math.min(limits.threads, settings.attentionHeads ?? shape.kvHeads),
    sideFolder: dirname(join(model.folder, model.graph)),
  });
  const decoder = createDecoder(session, shape, model.contextTokens);
  const { runCost, ...speed } = await measureSpeed(decoder, shape, model.contextTokens, clock);
  const memoryBytes = Math.max(0, process.memoryUsage.rss() - before);
  const loop = createDecodeLoop({
    decoder,
    settings,
    clock,
    contextTokens: model.contextTokens,
    vocabulary: shape.vocab,
    slotsMax: limits.slotsMax,
    runCost,
    tokensPerSecondMax: limits.tokensPerSecondMax,
  });
  const fingerprint = await classFingerprint(decoder, shape, model.contextTokens);
  // What the lender allows is what others may expect.
  const tokensPerSecond = Math.min(speed.tokensPerSecond, limits.tokensPerSecondMax ?? Number.POSITIVE_INFINITY);
  const loaded = { engineBuild: ENGINE_BUILD, provider: 'cpu', fingerprint, memoryBytes, ...speed, tokensPerSecond };
  return { loop, loaded };
}

/** Throws `model_invalid` or `model_refused`. */
export function readCheckedGraph(model: EngineModel): Graph {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(readFileSync(join(model.folder, model.graph)));
  } catch (cause) {
    throw new IdlewildError(
      'model_invalid',
      `the graph ${model.graph} of model ${model.cid} cannot be read: ${(cause as Error).message}`,
      { cause },
    );
  }
  const graph = readGraph(bytes);
  const folder = posix.dirname(model.graph);
  const beside = Object.entries(model.fileBytes).filter(([path]) => posix.dirname(path) === folder);
  checkGraph(graph, { files: new Map(beside.map(([path, size]) => [posix.basename(path), size])) });
  return graph;
}

/** Only files of the manifest are read, whatever else lies in the folder. */
function readTexts(model: EngineModel): ModelTexts {
  const texts: Partial<Record<keyof ModelTexts, string>> = {};
  for (const [what, file] of Object.entries(MODEL_TEXT_FILES) as [keyof ModelTexts, string][]) {
    const path = join(model.folder, file);
    if (Object.hasOwn(model.fileBytes, file) && existsSync(path)) texts[what] = readFileSync(path, 'utf8');
  }
  if (texts.tokenizer === undefined)
    throw new IdlewildError('model_invalid', `model ${model.cid} has no ${MODEL_TEXT_FILES.tokenizer}`);
  return { ...texts, tokenizer: texts.tokenizer };
}

/** One stream's tokens per second. The first run of each kind is not counted: it allocates. */
async function measureSpeed(
  decoder: Decoder,
  shape: DecoderShape,
  contextTokens: number,
  clock: Clock,
): Promise<Pick<Loaded, 'tokensPerSecond' | 'prefillTokensPerSecond'> & { runCost: RunCost }> {
  const rows = Math.max(2, Math.min(MEASURE.prefillRows, contextTokens - 1));
  const ids = Array.from({ length: rows }, (_, i) => (i * 7) % (shape.vocab ?? 256));
  const ends = clock.monotonic() + MEASURE.budgetMs;
  const timed = async (runs: number, act: () => Promise<unknown>): Promise<number> => {
    const tookMs: number[] = [];
    for (let i = 0; i < runs && (i < 2 || clock.monotonic() < ends); i++) {
      const from = clock.monotonic();
      await act();
      tookMs.push(clock.monotonic() - from);
    }
    return tookMs.sort((a, b) => a - b)[tookMs.length >> 1] as number;
  };
  let { cache } = await decoder.run(decoder.empty, ids, 0, rows - 1);
  const prefillMs = await timed(MEASURE.prefillRuns, () => decoder.run(decoder.empty, ids, 0));
  const decodeMs = await timed(MEASURE.decodeSteps, async () => {
    ({ cache } = await decoder.run(cache, [1, 2], rows - 2, 1));
  });
  const runCost = { twoRowsMs: decodeMs, rowMs: Math.max(0, prefillMs - decodeMs) / Math.max(1, rows - 2) };
  return { runCost, tokensPerSecond: 1_000 / decodeMs, prefillTokensPerSecond: (1_000 * rows) / prefillMs };
}

/**
 * The fingerprint of this machine's kernels; for a model on which they are not exact, one that nobody else has, so that
 * no answer which another device goes on with is called exact.
 */
async function classFingerprint(decoder: Decoder, shape: DecoderShape, contextTokens: number): Promise<string> {
  const fingerprint = await fingerprintOf('cpu');
  if (await isExact(decoder, shape, contextTokens)) return fingerprint;
  return `inexact-${hex(randomBytes(INEXACT_BYTES))}`;
}

/**
 * Whether a prompt read at once, one read in chunks and one that ends in a step of decoding give the same bits. Heads
 * wider than 128, for one, go through kernels that split their sums by the number of rows.
 */
async function isExact(decoder: Decoder, shape: DecoderShape, contextTokens: number): Promise<boolean> {
  const ids = Array.from(
    { length: Math.min(EXACT_ROWS, contextTokens) },
    (_, i) => (i * 11 + 3) % (shape.vocab ?? 256),
  );
  const last = ids.length - 1;
  // Of a context this short every chunk is the whole.
  if (last < LIMITS.rowsFirst) return true;
  // Logits are copied: they are valid until the next run only.
  const whole = (await decoder.run(decoder.empty, ids, 0, last)).logits?.slice() ?? new Float32Array();
  for (const middle of [0, Math.floor(ids.length / 3)]) {
    let { cache } = middle === 0 ? { cache: decoder.empty } : await decoder.run(decoder.empty, ids.slice(0, middle), 0);
    ({ cache } = await decoder.run(cache, ids.slice(middle, last), middle));
    const stepped = (await decoder.run(cache, ids.slice(last - 1), last - 1, 1)).logits;
    if (!whole.every((logit, i) => Object.is(logit, stepped?.[i]))) return false;
  }
  return true;
}

/** SHA-256 over the bytes of the fingerprint graph's output, in hex. */
export async function fingerprintOf(provider: Provider): Promise<string> {
  return hex(
    createHash('sha256')
      .update(await runFingerprint(provider))
      .digest(),
  );
}

export async function runFingerprint(provider: Provider): Promise<Uint8Array> {
  const { graph, feeds, output } = fingerprintGraph();
  const session: GraphSession = await openOrtSession(writeGraph(graph), { threads: 1, provider });
  try {
    const tensors = Object.entries(feeds).map(([name, { data, dims }]) => {
      const type: TensorType = data instanceof Float32Array ? 'float32' : 'int64';
      return [name, session.tensor(type, data, dims)] as const;
    });
    const outputs = await session.run(Object.fromEntries(tensors), [output]);
    const data = outputs[output]?.data as Float32Array;
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  } finally {
    await session.close();
  }
}
