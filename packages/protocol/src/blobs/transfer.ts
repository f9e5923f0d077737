/**
 * Fetching blocks and files from sources into a store, every byte verified before it counts.
 *
 * Sources are asked in order. One whose bytes do not match is blamed and never asked again; one that fails is asked
 * again after the others, with growing pauses, a few times. What the store holds is not fetched; an interrupted
 * transfer goes on where it stopped. In memory at once: `concurrency` leaves. It knows no network: a `BlobSource` does.
 */
import type { CID } from 'multiformats/cid';
import { IdlewildError, codeOf } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { BlobSource, BlobStore, Clock, Crypto, FileAssembly, FileLayout } from '../ports.ts';
import { createSourceRing, type Said, type SourceRing, type SourceState } from './source-ring.ts';
import { cutLeaves, layoutFile, readLayout } from './unixfs.ts';

export interface TransferOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called once for each source whose bytes did not match their CID. */
  readonly onBlame?: (blame: Blame) => void;
}

export interface Blame {
  readonly source: string;
  readonly cid: CID;
  readonly message: string;
}

/** Bytes of the file that are in the store, of all its bytes. */
export interface TransferProgress {
  readonly bytes: number;
  readonly bytesTotal: number;
}

export interface FileTransfer extends TransferOptions {
  readonly root: CID;
  readonly store: BlobStore;
  readonly sources: readonly BlobSource[];
  /** Leaves in flight at once. */
  readonly concurrency?: number;
  /**
   * Where in the missing leaves to begin, in [0, 1); the rest follows round the end. Devices that begin at different
   * places have different leaves to give to each other.
   */
  readonly beginAt?: number;
  /** The leaves can be read from the assembly as they come, before the file is finished. */
  readonly onOpened?: (layout: FileLayout, assembly: FileAssembly) => void;
  readonly onProgress?: (progress: TransferProgress) => void;
}

/**
 * One block, from the store or else from the sources; it is in the store afterwards.
 * Throws `blob_not_found` with what each source said, `cancelled`, and what the store throws.
 */
export function fetchBlock(
  cid: CID,
  sources: readonly BlobSource[],
  store: BlobStore,
  options: TransferOptions,
): Promise<Uint8Array> {
  return fetchInto(cid, createSourceRing(sources), store, options);
}

/**
 * A whole file, finished in the store. Throws what `fetchBlock` throws, and `blob_invalid` for a hostile tree.
 * Two transfers of one root at once do not harm each other, but both fetch.
 */
export async function fetchFile(transfer: FileTransfer): Promise<FileLayout> {
  const { root, store, onProgress } = transfer;
  const ring = createSourceRing(transfer.sources);
  const layout = await readLayout(root, (cid) => fetchInto(cid, ring, store, transfer));
  if (await store.hasFile(root)) return layout;
  const assembly = await store.assemble(layout);
  transfer.onOpened?.(layout, assembly);
  const missing = turned(missingByCid(layout, assembly), transfer.beginAt ?? 0);
  let bytes = layout.bytes;
  for (const { indices, leafBytes } of missing) bytes -= indices.length * leafBytes;
  onProgress?.({ bytes, bytesTotal: layout.bytes });
  const concurrency = transfer.concurrency ?? LIMITS.transferConcurrency;
  await inParallel(missing, concurrency, transfer.signal, async (leaf, signal) => {
    await ask(leaf.cid, ring, { ...transfer, signal }, async (block) => {
      for (const index of leaf.indices) await assembly.write(index, block);
    });
    bytes += leaf.indices.length * leaf.leafBytes;
    onProgress?.({ bytes, bytesTotal: layout.bytes });
  });
  await assembly.finish();
  return layout;
}

/**
 * Puts a file into a store from a stream that can be opened twice: once to learn its CIDs, once for its bytes.
 * Throws `blob_mismatch` when the second reading differs from the first.
 */
export async function storeFile(
  store: BlobStore,
  open: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  crypto: Crypto,
): Promise<FileLayout> {
  const { layout } = await layoutFile(open(), crypto);
  if (await store.hasFile(layout.root)) return layout;
  const assembly = await store.assemble(layout);
  const missing = new Set(assembly.missing());
  let index = 0;
  for await (const leaf of cutLeaves(open())) {
    if (missing.has(index)) await assembly.write(index, leaf);
    index += 1;
  }
  await assembly.finish();
  return layout;
}

/** A store as a source for another: a folder, or a device in the same process. */
export const sourceOfStore = (name: string, store: BlobStore): BlobSource => ({ name, fetch: (cid) => store.get(cid) });

async function fetchInto(cid: CID, ring: SourceRing, store: BlobStore, options: TransferOptions): Promise<Uint8Array> {
  const there = await store.get(cid);
  if (there !== undefined) return there;
  return ask(cid, ring, options, (block) => store.put(cid, block));
}

/** Goes round the sources until `accept` takes the bytes of one; it must throw `blob_mismatch` for wrong ones. */
async function ask(
  cid: CID,
  ring: SourceRing,
  options: TransferOptions,
  accept: (block: Uint8Array) => Promise<void>,
): Promise<Uint8Array> {
  const { clock, signal } = options;
  const heard = new Map<SourceState, Said>();
  for (;;) {
    refuseCancelled(signal, cid);
    const state = ring.next(heard);
    if (state === undefined) throw notFound(cid, ring, heard);
    await pause(state.notBeforeMs - clock.monotonic(), clock, signal);
    refuseCancelled(signal, cid);
    if (state.blamed) continue;
    const said = heard.get(state) ?? { attempts: 0, final: false, words: '' };
    heard.set(state, said);
    said.attempts += 1;
    let block: Uint8Array | undefined;
    try {
      block = await fetchInTime(state, cid, clock, signal);
    } catch (error) {
      refuseCancelled(signal, cid);
      ring.failed(state, clock.monotonic());
      said.words = `failed ${said.attempts} times, last: ${(error as Error).message}`;
      said.final = said.attempts >= LIMITS.blockAttemptsMax;
      continue;
    }
    ring.worked(state);
    if (block === undefined) {
      said.words = 'does not hold it';
      said.final = true;
    } else if (await accepted(cid, block, state, ring, options, accept)) {
      return block;
    }
  }
}

async function accepted(
  cid: CID,
  block: Uint8Array,
  state: SourceState,
  ring: SourceRing,
  { onBlame }: TransferOptions,
  accept: (block: Uint8Array) => Promise<void>,
): Promise<boolean> {
  try {
    await accept(block);
    return true;
  } catch (error) {
    if (codeOf(error) !== 'blob_mismatch' && codeOf(error) !== 'blob_too_large') throw error;
    if (ring.blame(state)) onBlame?.({ source: state.source.name, cid, message: (error as Error).message });
    return false;
  }
}

function notFound(cid: CID, ring: SourceRing, heard: ReadonlyMap<SourceState, Said>): IdlewildError {
  const words = ring.states.map((state) => {
    const said = heard.get(state)?.words ?? 'was not asked';
    return `${state.source.name} ${state.blamed ? 'sent bytes that do not match and is not asked any more' : said}`;
  });
  const sources = words.length === 0 ? 'there is nobody to ask' : words.join('; ');
  return new IdlewildError('blob_not_found', `no source gave block ${cid}: ${sources}`, {
    details: { cid: cid.toString(), sources: words },
  });
}

function refuseCancelled(signal: AbortSignal, cid: CID): void {
  if (signal.aborted) throw new IdlewildError('cancelled', `fetching ${cid} was cancelled`, { cause: signal.reason });
}

/** One question to one source, within its deadline; a source that ignores its signal is left behind. */
async function fetchInTime(
  { source }: SourceState,
  cid: CID,
  clock: Clock,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const deadline = new AbortController();
  const timer = clock.after(LIMITS.blockFetchMs, () => {
    deadline.abort(new IdlewildError('deadline_exceeded', `no answer within ${LIMITS.blockFetchMs} ms`));
  });
  const either = AbortSignal.any([signal, deadline.signal]);
  try {
    return await Promise.race([source.fetch(cid, either), rejectionOf(either)]);
  } finally {
    timer.cancel();
    deadline.abort();
  }
}

function rejectionOf(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  // The race that waits on it may be over by then; a rejection that nobody waits for is no fault.
  promise.catch(() => undefined);
  signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  return promise;
}

/** Ends early, without throwing, when the signal fires. */
async function pause(delayMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  if (delayMs <= 0 || signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = (): void => resolve();
  const timer = clock.after(delayMs, wake);
  signal.addEventListener('abort', wake, { once: true });
  await promise;
  timer.cancel();
  signal.removeEventListener('abort', wake);
}

interface MissingLeaf {
  readonly cid: CID;
  readonly leafBytes: number;
  readonly indices: number[];
}

/** A leaf that occurs several times in a file is fetched once. */
function missingByCid(layout: FileLayout, assembly: FileAssembly): MissingLeaf[] {
  const found = new Map<string, MissingLeaf>();
  for (const index of assembly.missing()) {
    const { cid, bytes } = layout.leaves[index] as FileLayout['leaves'][number];
    const leaf = found.get(cid.toString()) ?? { cid, leafBytes: bytes, indices: [] };
    leaf.indices.push(index);
    found.set(cid.toString(), leaf);
  }
  return [...found.values()];
}

function turned<Item>(items: readonly Item[], beginAt: number): readonly Item[] {
  const first = Math.floor(items.length * beginAt);
  return [...items.slice(first), ...items.slice(0, first)];
}

/** Works through `items` in order, a few at a time. The first failure stops all, and is thrown then. */
async function inParallel<Item>(
  items: readonly Item[],
  concurrency: number,
  outer: AbortSignal,
  act: (item: Item, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([outer, stop.signal]);
  const failures: unknown[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length && failures.length === 0) {
      const item = items[next++] as Item;
      await act(item, signal).catch((error: unknown) => {
        failures.push(error);
        stop.abort();
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
}
