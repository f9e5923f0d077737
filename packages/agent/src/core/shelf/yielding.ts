/**
 * Giving the machine back while the device is paused, and lending less of it while the device is warm.
 *
 *   computing ──pause──► suspended: nothing is computed, memory stays taken for a resume that comes soon
 *       ▲                    │ `suspendedMs`; at once where an engine cannot be suspended
 *       └──────resume────────┴──► released: the engine is ended, its memory is free; a resume loads it again
 *
 * Besides, all of them may be halted for a moment, when it is not known yet whether to pause: they stand and go on, and
 * nothing else happens. A pause that follows finds them standing.
 *
 * What engines were doing has been given back to the hub before; what is fetched or loaded is called off by the shelf.
 */
import { asIdlewildError } from '@idlewild/protocol';
import type { EngineLimits, Halting } from '@idlewild/engine';
import { AGENT_LIMITS } from '../limits.ts';
import { endEngine, setState, type Entry, type ShelfState } from './entry.ts';

const RELEASED = "the device is paused, and its memory is its owner's; afterwards it is loaded again";

/** No engine computes when this returns, but for those that cannot be suspended: they are being ended. */
export function suspendEngines(shelf: ShelfState): void {
  if (shelf.suspended) return;
  shelf.suspended = true;
  const loaded = loadedOf(shelf);
  const released = loaded.filter(({ warm }) => warm?.engine.suspend?.() !== true);
  for (const engine of shelf.ending) endNow(shelf, () => engine.close({ atOnce: true }));
  for (const entry of released) release(shelf, entry);
  if (released.length === loaded.length) return;
  shelf.releasing = shelf.ports.clock.after(AGENT_LIMITS.suspendedMs, () => {
    for (const entry of loadedOf(shelf)) release(shelf, entry);
  });
}

export function resumeEngines(shelf: ShelfState): void {
  if (!shelf.suspended) return;
  shelf.suspended = false;
  shelf.releasing?.cancel();
  if (!shelf.halted) goOn(shelf);
}

/** What cannot be suspended goes on. */
export function haltEngines(shelf: ShelfState, is: boolean): void {
  if (shelf.halted === is) return;
  shelf.halted = is;
  if (is) for (const each of computing(shelf)) each.suspend?.();
  else if (!shelf.suspended) goOn(shelf);
}

function goOn(shelf: ShelfState): void {
  for (const each of computing(shelf)) each.resume?.();
}

const computing = (shelf: ShelfState): Halting[] => [
  ...loadedOf(shelf).flatMap(({ warm }) => warm?.engine ?? []),
  ...(shelf.loading === undefined ? [] : [shelf.loading]),
];

/** `share`: of what the lender's limits allow. */
export function throttleEngines(shelf: ShelfState, share: number): void {
  shelf.throttled = share;
  const { dutyShare } = engineLimits(shelf);
  for (const { warm } of loadedOf(shelf)) warm?.engine.throttle?.(dutyShare);
  shelf.ports.onChanged();
}

export function engineLimits({ ports, throttled }: ShelfState): EngineLimits & { readonly dutyShare: number } {
  const { dutyShare = 1 } = ports.engineLimits;
  return { ...ports.engineLimits, dutyShare: Math.max(AGENT_LIMITS.dutyShareMin, dutyShare * throttled) };
}

/** Of an engine that says what it computes on once it is loaded, this is known from then on. */
export const isRefused = ({ ports }: ShelfState, { provider }: Entry): boolean =>
  provider !== undefined && ports.refusalOfProvider(provider) !== undefined;

/** No engine computes on what it may not when this returns; its answers go back to the hub. */
export function endRefused(shelf: ShelfState): void {
  const { ports, current } = shelf;
  if (current?.phase === 'load' && isRefused(shelf, current.entry)) current.abort.abort();
  for (const entry of loadedOf(shelf)) {
    const { warm } = entry;
    const refused = warm && ports.refusalOfProvider(warm.engine.provider);
    if (warm === undefined || refused === undefined) continue;
    entry.warm = undefined;
    ports.onEngineGone(entry.cid, refused);
    setState(shelf, entry, 'held', refused.message);
    endNow(shelf, () => endEngine(shelf, warm.engine, true));
  }
}

const loadedOf = ({ entries, unwanted }: ShelfState): Entry[] =>
  [...entries, ...unwanted.values()].filter(({ warm }) => warm !== undefined);

function release(shelf: ShelfState, entry: Entry): void {
  const { warm } = entry;
  if (warm === undefined) return;
  entry.warm = undefined;
  setState(shelf, entry, 'held', RELEASED);
  endNow(shelf, () => endEngine(shelf, warm.engine));
}

function endNow({ ports }: ShelfState, end: () => Promise<void>): void {
  end().catch((thrown: unknown) => ports.onFailed('', asIdlewildError(thrown, 'ending an engine at a pause')));
}
