/**
 * A model of Hugging Face as a folder on this disk: what of its repository is needed and nothing else, each file
 * verified, in a folder that looks like the repository.
 *
 * In the order in which it can fail cheaply: the list of files, the room on the disk, the texts, the graph, and the
 * weights last. What arrived stays until the model is published, so an interrupted download goes on where it stopped,
 * even when the repository has a newer commit by then: what did not change is not fetched again.
 */
import { link, copyFile, constants, mkdir, readFile, rm, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ENCODER_TEXTS, type ModelConfig } from '@idlewild/graph';
import { IdlewildError, type Clock, type Random } from '@idlewild/protocol';
import { lockFolder } from '@idlewild/protocol/node';
import { readCard } from '../models/card.ts';
import { chooseGraph, isWithoutGraphs, type GraphChoice, type Quant } from '../models/graph-files.ts';
import { MODEL_TEXTS, judgeGraph } from '../models/model-folder.ts';
import { readJson } from '../models/model-texts.ts';
import { bytesText } from '../text/units.ts';
import { createBlobs, type Blobs } from './blobs.ts';
import { refuseKind, suggestion } from './refusals.ts';
import { readRepository, type Reference, type RemoteFile, type Repository } from './repository.ts';
import type { Patience } from './retry.ts';
import type { Web } from './web.ts';

/** Files in flight: a content network gives each connection a share of the line. */
const CONCURRENCY = 3;
/** Of config.json, tokenizer.json and the like; the largest tokenizers have about 35 MB. */
const TEXT_BYTES_MAX = 134_217_728;
/** A graph without weights is read before these are fetched; one of this size has its weights inside. */
const BARE_GRAPH_BYTES_MAX = 67_108_864;

export interface FetchModelOptions {
  readonly quant?: Quant | undefined;
  /** Where downloads lie. */
  readonly downloads: string;
  readonly web: Web;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** A sentence for people. */
  say(line: string): void;
  onProgress(doneBytes: number, totalBytes: number): void;
  /** Bytes that the disk of a folder has left; the file system's own word by default. */
  freeBytes?(folder: string): Promise<number>;
}

export interface FetchedModel {
  /** In the layout of the repository. */
  readonly folder: string;
  readonly quant: Quant;
  /** `hf:org/name@commit`. */
  readonly source: string;
  /** Deletes all that was fetched, unless it is to be kept, and lets go of the folder. */
  close(keep: boolean): Promise<void>;
}

/**
 * Throws `not_found`, `forbidden`, `model_unsupported`, `model_refused`, `disk_full`, `too_busy`, `blob_mismatch`,
 * `source_unreachable`, `cancelled`, or `data_locked` while another process fetches the same.
 */
export async function fetchModel(reference: Reference, options: FetchModelOptions): Promise<FetchedModel> {
  const { web, clock, random, signal, say } = options;
  const patience: Patience = {
    clock,
    random,
    signal,
    onPause: (why, ms) => say(`${why}; trying again in ${Math.round(ms / 1_000)} s`),
  };
  const repository = await readRepository(reference, web, patience);
  const name = `hf:${repository.repository}`;
  const choice = await choose(repository, options);
  const folder = join(options.downloads, repository.repository.replace('/', '--'));
  const lock = lockFolder(folder, 'download');
  const arrived = { bytes: 0 };
  try {
    await mkdir(join(folder, 'blobs'), { recursive: true });
    const blobs = createBlobs(join(folder, 'blobs'), web);
    const fetching = createFetching(repository, blobs, { ...options, patience, arrived });
    const wanted = wantedFiles(repository, choice);
    say(`${name} is at ${repository.commit.slice(0, 12)} (${repository.revision})${repository.gated ? ', gated' : ''}`);
    say(`${choice.quant} of ${choice.quants.join(', ')}: ${choice.path}, ${choice.why}`);
    await expectRoom(folder, wanted, blobs, options);
    await fetching.begin(wanted);
    await fetching.all(wanted.filter(({ path }) => !isWeights(path, choice)));
    const at = (path: string): string => join(folder, 'blobs', hashOf(repository, path) ?? '');
    const config = readJson('config.json', await readFile(at('config.json'), 'utf8'));
    refuseKind(config, name);
    const { licence = 'not stated' } = readCard(await readText(at('README.md')));
    say(`licence ${licence}, see ${repository.page}`);
    await fetching.all(await weightsOf(repository, choice, { fetching, at, wanted, config }));
    const model = await assemble(join(folder, repository.commit), repository, at, fetching.done());
    return {
      folder: model,
      quant: choice.quant,
      source: `${name}@${repository.commit}`,
      async close(keep) {
        lock.release();
        if (!keep) await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    lock.release();
    if (arrived.bytes > 0) say(`${bytesText(arrived.bytes)} stay in ${folder}; the same command goes on there`);
    throw error;
  }
}

/** Of a repository without any graph, with a hint where to find one. */
async function choose(repository: Repository, { quant, web, signal }: FetchModelOptions): Promise<GraphChoice> {
  try {
    return chooseGraph(repository.files, quant, `hf:${repository.repository}`);
  } catch (error) {
    if (!isWithoutGraphs(repository.files)) throw error;
    const hint = await suggestion(repository, web, signal);
    throw new IdlewildError('not_found', `${(error as Error).message}${hint}`, { cause: error });
  }
}

/** Where a repository says what it is; not part of the model. */
const README = 'README.md';

/** Texts first, then the graph and the side files that its name claims. */
function wantedFiles({ files, repository }: Repository, choice: GraphChoice): RemoteFile[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  for (const [path, need] of Object.entries(MODEL_TEXTS)) {
    if (need === 'needed' && !byPath.has(path))
      throw new IdlewildError('not_found', `hf:${repository} holds no ${path}, which an engine needs`);
  }
  const texts = new Set([...Object.keys(MODEL_TEXTS), ...ENCODER_TEXTS, README]);
  for (const path of texts) {
    const { bytes = 0 } = byPath.get(path) ?? {};
    if (bytes > TEXT_BYTES_MAX)
      throw new IdlewildError(
        'model_invalid',
        `${path} of hf:${repository} has ${bytesText(bytes)}, too much for a text`,
      );
  }
  const paths = [...texts, choice.path, ...choice.sides];
  return paths.flatMap((path) => byPath.get(path) ?? []);
}

const isWeights = (path: string, { path: graph, sides }: GraphChoice): boolean =>
  path === graph || sides.includes(path);

const hashOf = ({ files }: Repository, path: string): string | undefined =>
  files.find((file) => file.path === path)?.hash;

/** The graph; once it is there it has the last word on which files its weights are in. */
async function weightsOf(
  repository: Repository,
  choice: GraphChoice,
  { fetching, at, wanted, config }: WeightsOptions,
): Promise<RemoteFile[]> {
  const weights = wanted.filter(({ path }) => isWeights(path, choice));
  const graph = weights.find(({ path }) => path === choice.path);
  if (graph === undefined || graph.bytes > BARE_GRAPH_BYTES_MAX) return weights;
  await fetching.all([graph]);
  const inside = choice.path.includes('/') ? `${dirname(choice.path)}/` : '';
  return judgeGraph(at(choice.path), choice.path, config).map((location) => {
    const side = repository.files.find(({ path }) => path === `${inside}${location}`);
    if (side !== undefined) return side;
    const message = `${choice.path} says that weights lie in "${location}", and the repository has no such file`;
    throw new IdlewildError('model_invalid', message);
  });
}

interface WeightsOptions {
  readonly fetching: Fetching;
  /** Where a file lies that is here. */
  readonly at: (path: string) => string;
  readonly wanted: readonly RemoteFile[];
  readonly config: ModelConfig;
}

async function expectRoom(
  folder: string,
  wanted: readonly RemoteFile[],
  blobs: Blobs,
  { freeBytes = leftOnDisk, say }: FetchModelOptions,
): Promise<void> {
  const bytes = wanted.reduce((sum, file) => sum + file.bytes, 0);
  let held = 0;
  for (const file of wanted) held += await blobs.held(file);
  const free = await freeBytes(folder);
  const here = held === 0 ? '' : ` (${bytesText(held)} of ${bytesText(bytes)} are here)`;
  if (free < bytes - held) {
    const needed = `${bytesText(bytes - held)} are to be fetched${here}`;
    const message = `${needed}, and the disk of ${folder} has ${bytesText(free)} left`;
    throw new IdlewildError('disk_full', `${message}; make room, or choose a smaller graph with --quant`);
  }
  say(`${bytesText(bytes - held)} to fetch${here}; the disk has ${bytesText(free)} left`);
}

async function leftOnDisk(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

interface Fetching {
  /** What is expected, for the progress. */
  begin(files: readonly RemoteFile[]): Promise<void>;
  /** Several at a time; the first failure stops the others. */
  all(files: readonly RemoteFile[]): Promise<void>;
  /** Paths that are here. */
  done(): readonly string[];
}

function createFetching(
  repository: Repository,
  blobs: Blobs,
  options: FetchModelOptions & { readonly patience: Patience; readonly arrived: { bytes: number } },
): Fetching {
  const totals = new Map<string, number>();
  const held = new Map<string, number>();
  const finished = new Set<string>();
  const tell = (): void => {
    const sum = (counts: ReadonlyMap<string, number>): number =>
      [...counts.values()].reduce((all, one) => all + one, 0);
    options.arrived.bytes = sum(held);
    options.onProgress(options.arrived.bytes, sum(totals));
  };
  const one = async (file: RemoteFile, patience: Patience): Promise<void> => {
    totals.set(file.path, file.bytes);
    await blobs.fetch(file, {
      reference: repository,
      commit: repository.commit,
      patience,
      onHeld(bytes) {
        held.set(file.path, bytes);
        tell();
      },
    });
    held.set(file.path, file.bytes);
    finished.add(file.path);
    tell();
  };
  return {
    async begin(files) {
      for (const file of files) {
        totals.set(file.path, file.bytes);
        held.set(file.path, await blobs.held(file));
      }
      tell();
    },
    async all(files) {
      const left = files.filter(({ path }) => !finished.has(path));
      const stop = new AbortController();
      const patience = { ...options.patience, signal: AbortSignal.any([options.signal, stop.signal]) };
      const failures: unknown[] = [];
      const worker = async (): Promise<void> => {
        for (let file = left.shift(); file !== undefined && !stop.signal.aborted; file = left.shift()) {
          await one(file, patience).catch((error: unknown) => {
            failures.push(error);
            stop.abort();
          });
        }
      };
      await Promise.all(Array.from({ length: CONCURRENCY }, worker));
      if (failures.length > 0) throw failures[0];
    },
    done: () => [...finished],
  };
}

/** The repository's folders with the files that are here, without a second copy of them where links are to be had. */
async function assemble(
  to: string,
  { repository }: Repository,
  at: (path: string) => string,
  paths: readonly string[],
): Promise<string> {
  await rm(to, { recursive: true, force: true });
  for (const path of paths) {
    await mkdir(dirname(join(to, path)), { recursive: true });
    await place(at(path), join(to, path));
  }
  if (paths.length === 0) throw new IdlewildError('internal', `nothing was fetched of ${repository}`);
  return to;
}

async function place(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    // File systems without hard links: a copy, or a clone where there are those.
    if (!['EPERM', 'ENOTSUP', 'EMLINK', 'ENOSYS', 'EXDEV'].includes(code)) throw error;
    await copyFile(from, to, constants.COPYFILE_FICLONE);
  }
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (['ENOENT', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  });
}
