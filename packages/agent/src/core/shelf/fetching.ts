/**
 * From nothing to held: the bytes of a model come into the store, when the lender's quota has room for them or models
 * that are wanted less make some. The store counts a file in full from its first leaf on and refuses what is over the
 * quota, so whatever this decides, the disk never holds more than was lent.
 */
import { IdlewildError, manifestBytes, type Manifest } from '@idlewild/protocol';
import { fetchModel, knownManifest, readManifest, removeModel } from '../fetch-model.ts';
import { AGENT_LIMITS } from '../limits.ts';
import { chooseEvictions, type OnDisk } from './admit.ts';
import { setState, unload, waitFor, type Entry, type ShelfState } from './entry.ts';

export async function fetchEntry(shelf: ShelfState, entry: Entry, signal: AbortSignal): Promise<void> {
  const { ports, ticket } = shelf;
  entry.manifest = await readManifest(entry.cid, ports);
  if (entry.manifest === undefined) {
    if (ticket === undefined || !(await makeDiskRoom(shelf, entry))) return;
    setState(shelf, entry, 'fetching');
    await ports.folders.note(entry.cid);
    entry.manifest = await transfer(shelf, entry, ticket, signal);
    entry.partial.clear();
  }
  entry.failures = 0;
  entry.evictedAtMs = undefined;
  entry.fraction = 1;
  setState(shelf, entry, 'held');
}

async function transfer(shelf: ShelfState, entry: Entry, ticket: string, signal: AbortSignal): Promise<Manifest> {
  const { ports } = shelf;
  const { quotaBytes } = await ports.store.usage();
  const thereBytes = sumOf(await filesOf(shelf, entry));
  let toldMs = ports.clock.monotonic();
  return fetchModel(entry.cid, ports, {
    sources: shelf.bases.map((base) => shelf.downloads.counted(ports.sourceFor(base, ticket))),
    signal,
    beginAt: ports.random.unit(),
    // The hub may have said anything of its size.
    onManifest(manifest) {
      const bytes = manifestBytes(manifest);
      const refused = ports.forbidden(bytes) ?? shelf.downloads.refusal(bytes - thereBytes, quotaBytes)?.error;
      if (refused !== undefined) throw refused;
    },
    onOpened: (layout, assembly) => {
      layout.leaves.forEach(({ cid }, index) => entry.partial.set(cid.toString(), { assembly, index }));
    },
    onBlame: ({ message }) => ports.onFailed(entry.cid, new IdlewildError('blob_mismatch', message)),
    onFraction(fraction) {
      entry.fraction = fraction;
      if (ports.clock.monotonic() - toldMs < AGENT_LIMITS.progressMs) return;
      toldMs = ports.clock.monotonic();
      ports.onChanged();
    },
  });
}

const sumOf = (files: ReadonlyMap<string, number>): number => [...files.values()].reduce((sum, size) => sum + size, 0);

/** Whether so much more is over what a day may bring; then it is looked at again on the next. */
function isOverDay(shelf: ShelfState, entry: Entry, missingBytes: number, quotaBytes: number): boolean {
  const refused = shelf.downloads.refusal(missingBytes, quotaBytes);
  if (refused === undefined) return false;
  setState(shelf, entry, 'failed', refused.error.message);
  waitFor(shelf, entry, refused.afterMs);
  return true;
}

/** Whether the rest of the model fits now. Says in the entry's reason why not. */
async function makeDiskRoom(shelf: ShelfState, entry: Entry): Promise<boolean> {
  const { store, clock, inUse } = shelf.ports;
  const manifest = await knownManifest(entry.cid, shelf.ports);
  const there = await filesOf(shelf, entry);
  const bytes = manifest === undefined ? entry.wanted.bytes : manifestBytes(manifest);
  const refused = shelf.ports.forbidden(bytes);
  if (refused !== undefined) {
    setState(shelf, entry, 'failed', refused.message);
    return false;
  }
  const missingBytes = bytes - sumOf(there);
  if (missingBytes <= 0) return true;
  const needBytes = Math.ceil(missingBytes * (1 + AGENT_LIMITS.diskOverheadShare));
  const { bytes: usedBytes, quotaBytes } = await store.usage();
  if (isOverDay(shelf, entry, missingBytes, quotaBytes)) return false;
  const rank = shelf.entries.indexOf(entry);
  // What has just made room does not take the next one's: it comes back where there is room without.
  const { evictedAtMs } = entry;
  const isPatient = evictedAtMs !== undefined && clock.monotonic() - evictedAtMs < AGENT_LIMITS.evictedMs;
  const others: OnDisk[] = [];
  for (const [index, other] of shelf.entries.entries()) {
    const files = other === entry ? there : await filesOf(shelf, other);
    const mayGo = !isPatient && index > rank && other.wanted.pinned !== true && !inUse(other.cid) && files.size > 0;
    others.push({ cid: other.cid, usedAtMs: other.usedAtMs ?? 0, mayGo, files });
  }
  const evicted = chooseEvictions(needBytes, quotaBytes - usedBytes, others);
  if (evicted === undefined) {
    const was = evictedAtMs === undefined ? '' : 'it was removed to make room; ';
    const free = Math.max(0, quotaBytes - usedBytes);
    const why = `${was}fetching it takes ${needBytes} bytes of disk; ${free} of ${quotaBytes} lent are free`;
    setState(shelf, entry, 'failed', why);
    return false;
  }
  for (const cid of evicted) {
    const victim = shelf.entries.find((other) => other.cid === cid);
    if (victim !== undefined) await evict(shelf, victim, entry);
  }
  return true;
}

async function evict(shelf: ShelfState, victim: Entry, wanted: Entry): Promise<void> {
  const bytes = victim.wanted.bytes;
  const why = `it made room on the disk for "${wanted.wanted.name}", which is wanted more`;
  await unload(shelf, victim, new IdlewildError('engine_failed', `the model ${victim.cid} was removed: ${why}`));
  await removeModel(victim.cid, await keptFiles(shelf, victim), shelf.ports);
  victim.evictedAtMs = shelf.ports.clock.monotonic();
  victim.fraction = 0;
  victim.manifest = undefined;
  victim.leaves = undefined;
  victim.partial.clear();
  setState(shelf, victim, 'failed', `${why}; fetching it again takes ${bytes} bytes`);
}

/** Root CIDs that wanted models other than `leaving` share with others. */
export async function keptFiles(shelf: ShelfState, leaving?: Entry): Promise<ReadonlySet<string>> {
  const kept = new Set<string>();
  for (const entry of shelf.entries) {
    if (entry === leaving) continue;
    const manifest = entry.manifest ?? (await knownManifest(entry.cid, shelf.ports));
    for (const { file } of manifest?.files ?? []) kept.add(file.toString());
  }
  return kept;
}

/** What the store has of the model's files, finished or not. */
async function filesOf(shelf: ShelfState, entry: Entry): Promise<Map<string, number>> {
  const manifest = entry.manifest ?? (await knownManifest(entry.cid, shelf.ports));
  const files = new Map<string, number>();
  for (const { file } of manifest?.files ?? []) {
    const bytes = await shelf.ports.store.takenBy(file);
    if (bytes > 0) files.set(file.toString(), bytes);
  }
  return files;
}
