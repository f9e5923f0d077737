/**
 * From a model's folder to a running decode loop: what an engine process does when it is told to load.
 *
 * The graph is checked before the runtime's native code sees it. Speed is measured with the model itself, briefly; the
 * numeric class is read off the fingerprint graph, run by the same build on the same provider.
 */
import {
  blocksOf,
  checkGraph,
  describeDecoder,
  fingerprintGraph,
  isExternal,
  readGraph,
  writeGraph,
  type Block,
  type DecoderShape,
  type Graph,
} from '@idlewild/graph';
import { IdlewildError, hex, type Clock } from '@idlewild/protocol';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, type Stats } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, posix } from 'node:path';
import { createDecodeLoop, type DecodeLoop } from '../core/decode-loop.ts';
import { measureSpeed } from '../core/decoder-speed.ts';
import { createDuty, type Duty } from '../core/duty.ts';
import { PAGE_POSITIONS } from '../core/kv-pages.ts';
import type { EngineLimits, EngineModel } from '../core/port.ts';
import type { GraphSession, TensorType } from '../core/session.ts';
import { MODEL_TEXT_FILES, readSettings, type ModelTexts } from '../core/settings.ts';
import type { Loaded } from './frames.ts';
import { openDecoder } from './open-decoder.ts';
import { openOrtSession, type Provider } from './ort-session.ts';
import { createXGrammarLibrary } from './xgrammar.ts';

/**
 * Part of every numeric class: to be raised with any change of this package that may change a logit's bits or a token.
 */
const ENGINE_VERSION = 'idlewild-engine-2';

const { version: ortVersion } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
export const ENGINE_BUILD = `ort-node-${ortVersion}/${ENGINE_VERSION}`;

const INEXACT_BYTES = 16;
const FLOAT_BYTES = 4;
/** Where a lender says nothing. */
const CACHE_BYTES_DEFAULT = 1_073_741_824;

/** Throws `model_invalid`, `model_refused` or `model_unsupported`. */
export async function loadModel(
  model: EngineModel,
  limits: EngineLimits,
  clock: Clock,
): Promise<{ loop: DecodeLoop; duty: Duty; loaded: Loaded }> {
  const before = process.memoryUsage.rss();
  const graph = readCheckedGraph(model);
  const shape = describeDecoder(graph);
  const settings = readSettings(readTexts(model));
  const { contextTokens } = model;
  const cacheBytesMax = cacheBytesOf(shape, contextTokens, limits);
  const { decoder, exact, drafts } = await openDecoder(graph, {
    shape,
    contextTokens,
    cacheBytesMax,
    threads: limits.threads,
    attentionHeads: settings.attentionHeads,
    sideFolder: dirname(join(model.folder, model.graph)),
  });
  const { runCost, ...speed } = await measureSpeed(decoder, shape.vocab, contextTokens, clock);
  const memoryBytes = Math.max(0, process.memoryUsage.rss() - before) + cacheBytesMax;
  const duty = createDuty(clock, limits.dutyShare);
  const loop = createDecodeLoop({
    decoder,
    settings,
    clock,
    contextTokens,
    vocabulary: shape.vocab,
    slotsMax: limits.slotsMax,
    grammars: createXGrammarLibrary(),
    runCost,
    drafts,
    tokensPerSecondMax: limits.tokensPerSecondMax,
    duty,
  });
  // One that nobody else has: no answer that another device goes on with is then called exact.
  const fingerprint = exact ? await fingerprintOf('cpu') : `inexact-${hex(randomBytes(INEXACT_BYTES))}`;
  const sharedCost = decoder.partsMax === 1 ? 1 : Math.min(1, runCost.rowMs / runCost.stepMs);
  const loaded = { engineBuild: ENGINE_BUILD, provider: 'cpu', fingerprint, memoryBytes, ...speed, sharedCost };
  return { loop, duty, loaded };
}

/** Throws `model_invalid` or `model_refused`. */
export function readCheckedGraph(model: EngineModel): Graph {
  checkFile(model, model.graph);
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(readFileSync(join(model.folder, model.graph)));
  } catch (cause) {
    throw unreadable(model, model.graph, cause);
  }
  const graph = readGraph(bytes);
  const folder = posix.dirname(model.graph);
  const beside = Object.entries(model.fileBytes).filter(([path]) => posix.dirname(path) === folder);
  checkGraph(graph, { files: new Map(beside.map(([path, size]) => [posix.basename(path), size])) });
  for (const location of locationsOf(graph)) checkFile(model, posix.join(folder, location));
  return graph;
}

const unreadable = (model: EngineModel, path: string, cause: unknown): IdlewildError =>
  new IdlewildError(
    'model_invalid',
    `the file ${path} of model ${model.cid} cannot be read: ${(cause as Error).message}`,
    { cause },
  );

/**
 * That it is a file, in the model's folder, as long as its manifest says: the runtime opens it by itself, and a link in
 * its place, or in that of a folder, would lead elsewhere.
 */
function checkFile(model: EngineModel, path: string): void {
  const parts = path.split('/');
  if (posix.isAbsolute(path) || path.includes('\\') || parts.some((part) => ['', '.', '..'].includes(part)))
    throw new IdlewildError('model_refused', `model ${model.cid} has a file at '${path}', which leaves its folder`);
  for (const depth of parts.keys()) {
    const part = parts.slice(0, depth + 1).join('/');
    let found: Stats;
    try {
      found = lstatSync(join(model.folder, part));
    } catch (cause) {
      throw unreadable(model, path, cause);
    }
    const isLast = depth === parts.length - 1;
    if (!(isLast ? found.isFile() : found.isDirectory()))
      throw new IdlewildError('model_refused', `'${part}' of model ${model.cid} is a link or no file`);
    const stated = model.fileBytes[path];
    if (isLast && stated !== undefined && found.size !== stated)
      throw new IdlewildError(
        'model_invalid',
        `'${path}' of model ${model.cid} has ${found.size} bytes, and ${stated} by its manifest`,
      );
  }
}

/** Side files that the graph's tensors lie in. */
function locationsOf(block: Block): Set<string> {
  const own = [...block.tensors.values()].flatMap((tensor) => (isExternal(tensor) ? [tensor.external.location] : []));
  const inner = block.nodes.flatMap(blocksOf).flatMap((each) => [...locationsOf(each)]);
  return new Set([...own, ...inner]);
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

/** No more than all slots can fill twice over, so that small models lend nothing to no purpose. */
function cacheBytesOf(shape: DecoderShape, contextTokens: number, limits: EngineLimits): number {
  const bytesPerPosition = 2 * shape.layers * shape.kvHeads * shape.headDim * FLOAT_BYTES;
  const useful = 2 * limits.slotsMax * (contextTokens + PAGE_POSITIONS) * bytesPerPosition;
  return Math.min(useful, limits.cacheBytesMax ?? CACHE_BYTES_DEFAULT);
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
