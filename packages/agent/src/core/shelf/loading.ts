/**
 * From held to warm, and back: one model at a time is loaded, when `admit.ts` finds room for it in the memory that is
 * lent and in the machine. What an engine really takes is known once it runs; if that is over what was lent, it goes
 * again, and the next decision knows better.
 */
import { IdlewildError, manifestBytes, numericClassOf, type Manifest } from '@idlewild/protocol';
import type { Engine } from '@idlewild/engine';
import { AGENT_LIMITS } from '../limits.ts';
import { loadEngine } from '../load-engine.ts';
import { admitLoad } from './admit.ts';
import { endEngine, rest, setState, unload, type Entry, type ShelfState } from './entry.ts';
import { engineLimits } from './yielding.ts';

export async function loadEntry(
  shelf: ShelfState,
  entry: Entry,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<void> {
  const { ports } = shelf;
  entry.memoryBytes ??= Math.ceil(manifestBytes(manifest) * AGENT_LIMITS.memoryPerFileByte);
  if (!(await makeRoom(shelf, entry, entry.memoryBytes))) return;
  setState(shelf, entry, 'loading');
  const model = await ports.folders.prepare(entry.cid, manifest);
  const engine = await loadEngine(ports, model, engineLimits(shelf), signal, (process) => {
    shelf.loading = process;
    if (shelf.halted) process.suspend?.();
  });
  const { engineBuild, provider, fingerprint } = engine;
  entry.provider = provider;
  const refused = ports.refusalOfProvider(provider);
  if (refused !== undefined) {
    await endEngine(shelf, engine, true);
    return setState(shelf, entry, 'held', refused.message);
  }
  const numericClass = await numericClassOf(
    { model: entry.cid, engineBuild, provider, fingerprint, precision: 'f32' },
    ports.crypto,
  );
  if (signal.aborted) {
    await endEngine(shelf, engine);
    signal.throwIfAborted();
  }
  if (engine.memoryBytes > 0) {
    entry.memoryBytes = engine.memoryBytes;
    entry.memoryMeasured = true;
  }
  if (usedBytes(shelf) + entry.memoryBytes > ports.memoryBytesMax) {
    await endEngine(shelf, engine);
    setState(shelf, entry, 'held', `it takes ${entry.memoryBytes} bytes of memory, more than there is room for`);
    // The next look decides with the measured figure.
    return shelf.wake();
  }
  entry.warm = { engine, numericClass };
  // It may have changed while the model was loaded.
  engine.throttle?.(engineLimits(shelf).dutyShare);
  if (shelf.halted) engine.suspend?.();
  entry.failures = 0;
  engine.onDeath((reason) => died(shelf, entry, engine, reason));
  setState(shelf, entry, 'warm');
}

const bytesOf = (entry: Entry): number => (entry.warm === undefined ? 0 : (entry.memoryBytes ?? 0));

/** Of all engines, also of those that only wait for their last answers. */
const usedBytes = (shelf: ShelfState): number =>
  [...shelf.entries, ...shelf.unwanted.values()].reduce((sum, entry) => sum + bytesOf(entry), 0);

/** Unloads less wanted models, the least first, if that makes enough room and is due; otherwise says why not. */
async function makeRoom(shelf: ShelfState, entry: Entry, bytes: number): Promise<boolean> {
  const { ports } = shelf;
  const nowMs = ports.clock.monotonic();
  const lesser = shelf.entries
    .slice(shelf.entries.indexOf(entry) + 1)
    .filter(({ warm }) => warm !== undefined)
    .toReversed();
  const residents = lesser.map((each) => ({
    cid: each.cid,
    bytes: bytesOf(each),
    demand: each.wanted.demand ?? 0,
    inUse: ports.inUse(each.cid),
  }));
  const admission = admitLoad({
    bytes,
    demand: entry.wanted.demand ?? 0,
    keptBytes: usedBytes(shelf) - residents.reduce((sum, each) => sum + each.bytes, 0),
    lesser: residents,
    memoryBytesMax: ports.memoryBytesMax,
    freeBytes: ports.freeMemoryBytes?.(),
    sinceSwapMs: shelf.swappedAtMs === undefined ? undefined : nowMs - shelf.swappedAtMs,
  });
  if (admission.t === 'wait') {
    shelf.waitsForAnswers ||= residents.some(({ inUse }) => inUse);
    setState(shelf, entry, 'held', admission.why);
    if (admission.afterMs !== undefined) lookAgain(shelf, admission.afterMs);
    return false;
  }
  for (const cid of admission.unload) {
    const least = lesser.find((each) => each.cid === cid) as Entry;
    const reason = 'it made room for a model that is wanted more';
    shelf.swappedAtMs = nowMs;
    await unload(shelf, least, new IdlewildError('engine_failed', `the model ${cid} was unloaded: ${reason}`));
    setState(shelf, least, 'held', reason);
  }
  return true;
}

function lookAgain(shelf: ShelfState, afterMs: number): void {
  shelf.look?.cancel();
  shelf.look = shelf.ports.clock.after(Math.ceil(afterMs), () => {
    shelf.look = undefined;
    shelf.wake();
  });
}

/** One failed attempt, not a dead device: the model is loaded again, at once the first times, then ever later. */
function died(shelf: ShelfState, entry: Entry, engine: Engine, reason: string): void {
  const { ports } = shelf;
  if (entry.warm?.engine !== engine) return;
  const error = new IdlewildError('engine_failed', `the engine of ${entry.cid} died: ${reason}`);
  entry.warm = undefined;
  shelf.troubles.ended(entry.cid, reason);
  ports.onFailed(entry.cid, error);
  ports.onEngineGone(entry.cid, error);
  rest(shelf, entry);
}
