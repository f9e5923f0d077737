/**
 * A clock that stands still until it is told to go on.
 *
 * `advance` fires due timers in the order of their times (then of their setting) and lets promises settle between
 * them, so code under test sees the same order of events on every machine.
 */
import type { Clock, Timer } from '../ports.ts';

export interface FakeClock extends Clock {
  /** Moves time on by `ms`, firing what falls due on the way. */
  advance(ms: number): Promise<void>;
  /** Lets settled promises run their continuations without moving time. */
  settle(): Promise<void>;
  /** Milliseconds until the next timer, or `undefined` when none is set. */
  nextInMs(): number | undefined;
}

interface Entry {
  readonly at: number;
  readonly order: number;
  readonly act: () => void;
  cancelled: boolean;
}

const before = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** A binary heap: the simulator sets hundreds of thousands of timers. */
function push(heap: Entry[], entry: Entry): void {
  let child = heap.length;
  heap.push(entry);
  while (child > 0) {
    const parent = (child - 1) >> 1;
    if (!before(entry, heap[parent] as Entry)) break;
    heap[child] = heap[parent] as Entry;
    child = parent;
  }
  heap[child] = entry;
}

function pop(heap: Entry[]): Entry | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (top === undefined || last === undefined || heap.length === 0) return top;
  let parent = 0;
  for (;;) {
    let child = 2 * parent + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child++;
    if (!before(heap[child] as Entry, last)) break;
    heap[parent] = heap[child] as Entry;
    parent = child;
  }
  heap[parent] = last;
  return top;
}

/** `yieldToPlatform` runs what is pending in the platform's queues; in Node, a `setImmediate`. */
export function createFakeClock(yieldToPlatform: () => Promise<void>, startMs = 1_800_000_000_000): FakeClock {
  const heap: Entry[] = [];
  let nowMs = 0;
  let order = 0;

  const dropCancelled = (): void => {
    while (heap[0]?.cancelled === true) pop(heap);
  };

  return {
    // Whole milliseconds, as wall clocks give them, however finely timers are set.
    now: () => startMs + Math.floor(nowMs),
    monotonic: () => nowMs,
    after(delayMs, act): Timer {
      const entry: Entry = { at: nowMs + Math.max(0, delayMs), order: order++, act, cancelled: false };
      push(heap, entry);
      return {
        cancel: () => {
          entry.cancelled = true;
        },
      };
    },
    async advance(ms) {
      const until = nowMs + ms;
      await yieldToPlatform();
      for (;;) {
        dropCancelled();
        const next = heap[0];
        if (next === undefined || next.at > until) break;
        pop(heap);
        nowMs = Math.max(nowMs, next.at);
        next.act();
        await yieldToPlatform();
      }
      nowMs = until;
    },
    settle: yieldToPlatform,
    nextInMs() {
      dropCancelled();
      return heap[0] === undefined ? undefined : Math.max(0, heap[0].at - nowMs);
    },
  };
}
