/**
 * A model folder as it comes from a training tool, made into the one artefact: a weight-free graph, its weights and
 * side files, the texts around them, and the manifest that names them all by content.
 *
 * The same folder gives the same CID. The ONNX file is read once and its weights are handed on as views of that
 * memory, so nothing is in memory twice and nothing is written; side files are read from the disk as they are needed.
 */
import { readFileSync } from 'node:fs';
import { open, readFile, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { UploadFile } from '@idlewild/client';
import {
  ENCODER_TEXTS,
  GRAPH_LIMITS,
  checkGraph,
  countParameters,
  describeDecoder,
  describeEncoder,
  externalise,
  isExternal,
  keepAllLogits,
  modelKindOf,
  readGraph,
  writeGraph,
  type Externalised,
  type Graph,
  type ModelConfig,
} from '@idlewild/graph';
import { IdlewildError, codeOf, encodeManifest, layoutFile, type Manifest, type ModelCard } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { bytesText } from '../text/units.ts';
import { readCard } from './card.ts';
import { chooseGraph, type GraphChoice, type ListedFile, type Quant } from './graph-files.ts';
import { factsOf } from './model-facts.ts';
import { readJson } from './model-texts.ts';
import { diskPart, memoryPart, type Part } from './parts.ts';

const GRAPH_PATH = 'model.onnx';
/** What goes along with the graph: what an engine reads, which of it must be there, and the terms of its makers. */
export const MODEL_TEXTS: Readonly<Record<string, 'needed' | 'optional'>> = {
  'config.json': 'needed',
  'tokenizer.json': 'needed',
  'tokenizer_config.json': 'optional',
  'generation_config.json': 'optional',
  'chat_template.jinja': 'optional',
  ...Object.fromEntries(ENCODER_TEXTS.map((path) => [path, 'optional'] as const)),
  LICENSE: 'optional',
  'LICENSE.md': 'optional',
  'LICENSE.txt': 'optional',
};
const READ_BYTES = 16_777_216;

export interface ModelFolder {
  readonly manifest: { readonly cid: { toString(): string }; readonly bytes: Uint8Array };
  readonly files: readonly UploadFile[];
  readonly card: ModelCard;
  readonly graph: GraphChoice;
  /** For people. */
  readonly summary: string;
}

export interface ReadOptions {
  readonly signal: AbortSignal;
  /** Which of several graphs; see `chooseGraph` for what is chosen without it. */
  readonly quant?: Quant | undefined;
  /** Text of a model card, in place of the folder's README.md. */
  readonly cardText?: string | undefined;
  /** What is known better than any text says it. */
  readonly card?: ModelCard | undefined;
  onProgress(doneBytes: number, totalBytes: number): void;
}

/** Throws `not_found`, `model_invalid`, `model_unsupported` or `model_refused`, naming the file; `cancelled`. */
export async function readModelFolder(folder: string, options: ReadOptions): Promise<ModelFolder> {
  const { signal, onProgress } = options;
  await expectFolder(folder);
  const choice = chooseGraph(await listGraphs(folder), options.quant, folder);
  const graphFile = choice.path;
  const texts = await readTexts(folder);
  readJson('tokenizer.json', new TextDecoder().decode(texts.get('tokenizer.json')));
  const bytes = await readWhole(join(folder, graphFile), signal);
  const graph = naming(graphFile, () => keepAllLogits(readGraph(bytes)));
  const sides = await sideFiles(dirname(join(folder, graphFile)), graphFile, graph);
  const { facts, summary } = factsOf(graph, texts, (act) => naming(graphFile, act));
  const external = naming(graphFile, () => externalise(graph, { location: freeName(sides) }));
  const parts = partsOf(external, sides, texts);
  naming(graphFile, () => checkGraph(external.graph, { files: new Map(parts.map((part) => [part.path, part.bytes])) }));

  const files = await layOut(parts, signal, onProgress);
  const card: ModelCard = {
    ...readCard(options.cardText ?? (await readReadme(folder))),
    parameters: countParameters(graph),
    ...options.card,
  };
  const manifest: Manifest = {
    v: 1,
    ...facts,
    graph: GRAPH_PATH,
    files: files.map(({ path, layout }) => ({ path, file: layout.root, bytes: layout.bytes })),
    tensors: external.tensors.map(({ file, ...tensor }) => ({ ...tensor, path: file, dims: [...tensor.dims] })),
    card,
  };
  return {
    manifest: await encodeManifest(manifest, nodeCrypto),
    files,
    card,
    graph: choice,
    summary: `${summary}, licence ${card.licence ?? 'not stated'}`,
  };
}

/**
 * What can be told of a model by its graph alone, before its weights are there. The files beside it in which these lie.
 * Throws what `readModelFolder` would.
 */
export function judgeGraph(file: string, name: string, config: ModelConfig): readonly string[] {
  const graph = naming(name, () => keepAllLogits(readGraph(new Uint8Array(readFileSync(file)))));
  naming(name, () => {
    if (modelKindOf(graph, config) === 'decoder') return describeDecoder(graph);
    return describeEncoder(graph, config);
  });
  const sides = new Set([...graph.tensors.values()].flatMap((t) => (isExternal(t) ? [t.external.location] : [])));
  const files = new Map([...sides].map((side) => [side, Number.MAX_SAFE_INTEGER]));
  naming(name, () => checkGraph(graph, { files }));
  return [...sides];
}

/** In an order that does not depend on the folder's. */
function partsOf(
  external: Externalised,
  sides: ReadonlyMap<string, Part>,
  texts: ReadonlyMap<string, Uint8Array>,
): Part[] {
  const parts = [
    memoryPart(GRAPH_PATH, [writeGraph(external.graph)]),
    ...(external.bytes === 0 ? [] : [memoryPart(freeName(sides), [...external.chunks()])]),
    ...sides.values(),
    ...[...texts].map(([path, text]) => memoryPart(path, [text])),
  ];
  return parts.sort((left, right) => (left.path < right.path ? -1 : 1));
}

async function layOut(
  parts: readonly Part[],
  signal: AbortSignal,
  onProgress: ReadOptions['onProgress'],
): Promise<UploadFile[]> {
  const totalBytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  let doneBytes = 0;
  const files: UploadFile[] = [];
  for (const part of parts) {
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of part.chunks()) {
        refuseCancelled(signal);
        yield chunk;
        doneBytes += chunk.length;
        onProgress(doneBytes, totalBytes);
      }
    };
    const { layout, nodes } = await layoutFile(counted(), nodeCrypto);
    files.push({ path: part.path, layout, nodes, read: part.read });
  }
  return files;
}

async function expectFolder(folder: string): Promise<void> {
  if ((await sizeOf(folder)) === 'folder') return;
  throw new IdlewildError(
    'not_found',
    `there is no folder ${folder}; give the folder of a model, with config.json and onnx/model.onnx in it`,
  );
}

/** What may be a graph or lies beside one. */
async function listGraphs(folder: string): Promise<ListedFile[]> {
  const files: ListedFile[] = [];
  for (const inside of ['onnx/', '']) {
    if ((await sizeOf(join(folder, inside))) !== 'folder') continue;
    for (const name of await readdir(join(folder, inside))) {
      const bytes = await sizeOf(join(folder, inside, name));
      if (typeof bytes === 'number') files.push({ path: `${inside}${name}`, bytes });
    }
  }
  return files;
}

async function readTexts(folder: string): Promise<Map<string, Uint8Array>> {
  const texts = new Map<string, Uint8Array>();
  for (const [file, need] of Object.entries(MODEL_TEXTS)) {
    if (typeof (await sizeOf(join(folder, file))) === 'number') texts.set(file, await readFile(join(folder, file)));
    else if (need === 'needed')
      throw new IdlewildError('not_found', `${folder} holds no ${file}, which an engine needs`);
  }
  return texts;
}

/** The files beside the graph in which it says that weights lie, under their names. */
async function sideFiles(folder: string, graphFile: string, graph: Graph): Promise<Map<string, Part>> {
  const sides = new Map<string, Part>();
  for (const tensor of graph.tensors.values()) {
    if (!isExternal(tensor) || sides.has(tensor.external.location)) continue;
    const { location } = tensor.external;
    const named = basename(location) === location && location !== GRAPH_PATH && !Object.hasOwn(MODEL_TEXTS, location);
    const bytes = named ? await sizeOf(join(folder, location)) : undefined;
    if (typeof bytes !== 'number') {
      throw new IdlewildError(
        'model_invalid',
        `${graphFile} says that weights lie in "${location}", and there is no such file beside it`,
      );
    }
    sides.set(location, diskPart(location, join(folder, location), bytes));
  }
  return sides;
}

function freeName(sides: ReadonlyMap<string, Part>): string {
  let name = 'weights.bin';
  for (let number = 2; sides.has(name); number++) name = `weights-${number}.bin`;
  return name;
}

const readReadme = async (folder: string): Promise<string> => {
  const file = join(folder, 'README.md');
  return typeof (await sizeOf(file)) === 'number' ? readFile(file, 'utf8') : '';
};

/** Into one array of the file's size: Node's own `readFile` may hold two. */
async function readWhole(file: string, signal: AbortSignal): Promise<Uint8Array> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    if (size > GRAPH_LIMITS.modelBytesMax) {
      throw new IdlewildError(
        'model_invalid',
        `${file} has ${bytesText(size)}; ONNX files end at 2.1 GB, so export it with external data`,
      );
    }
    const bytes = new Uint8Array(size);
    for (let done = 0; done < size;) {
      refuseCancelled(signal);
      const { bytesRead } = await handle.read(bytes, done, Math.min(READ_BYTES, size - done), done);
      if (bytesRead === 0) throw new IdlewildError('model_invalid', `${file} became shorter while it was read`);
      done += bytesRead;
    }
    return bytes;
  } finally {
    await handle.close();
  }
}

function refuseCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new IdlewildError('cancelled', 'interrupted; the same command goes on where it stopped');
}

/** Bytes of a file, `folder`, or `undefined` for what is not there. */
async function sizeOf(path: string): Promise<number | 'folder' | undefined> {
  const found = await stat(path).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  });
  return found?.isDirectory() === true ? 'folder' : found?.size;
}

/** What `act` throws, with the name of the file at fault before it. */
function naming<Result>(file: string, act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined) throw error;
    throw new IdlewildError(code, `${file}: ${(error as Error).message}`, { cause: error });
  }
}
