/**
 * Who is at the door, and who has to go when it is full.
 *
 *   silent ──asks──► busy ──answered──► idle ──asks──► busy    strangers: nobody knows who they are
 *                      │ stands known                  │ stands a stranger again
 *                      ▼                               │
 *                    at work ──answered──► resting ────┘        known: a key, a session or a device's proof worked
 *
 * A newcomer is let in as long as somebody else can go for it: of strangers the silent first, then the idle, then the
 * busy, each time whoever has been that for longest. So a flood pushes out its own, and who speaks up at once is heard.
 * Strangers are bounded for each group of addresses and in all; all connections together by the files that the process
 * may open, and then those who rest go, too: they come again. Who is at work never does.
 *
 * It knows neither sockets nor requests; `connections.ts` tells it what they do.
 */
import type { Clock, Timer } from '@idlewild/protocol';
import { HUB_LIMITS } from '../../limits.ts';
import type { Log } from '../../log.ts';

const {
  pipelinedMax: PIPELINED_MAX,
  strangerBusyMsMax: BUSY_MS,
  crowdLookMs: LOOK_MS,
  crowdToldMs: TOLD_MS,
} = HUB_LIMITS;

/** Which bound was reached: of an address, of strangers, of open files, of time, or of requests on one connection. */
export type Dropped = 'address' | 'strangers' | 'files' | 'slow' | 'pipelined';

export interface CrowdBounds {
  /** Strangers of one group of addresses. */
  readonly perAddress: number;
  readonly strangers: number;
  /** Connections, known ones included. */
  readonly all: number;
}

type Place = 'silent' | 'idle' | 'busy' | 'resting';
const STRANGERS: readonly Place[] = ['silent', 'idle', 'busy'];
const ANYBODY: readonly Place[] = [...STRANGERS, 'resting'];

/** Each in the order in which they came to it. */
type Places = Readonly<Record<Place, Set<Visitor>>>;

/** One connection; to be changed by the crowd alone. */
export interface Visitor {
  readonly line: { destroy(): unknown };
  from: string | undefined;
  place: Place | undefined;
  isKnown: boolean;
  hasAsked: boolean;
  /** What it waits for. */
  open: number;
  sinceMs: number;
  isGone: boolean;
}

export interface Crowd {
  /** `from`: the group that it counts to; absent: to none. Destroys a line, perhaps this one. */
  comes(line: Visitor['line'], from: string | undefined): Visitor;
  /** It asks for something, on behalf of that group. */
  asks(visitor: Visitor, from: string | undefined): void;
  answered(visitor: Visitor): void;
  stands(visitor: Visitor, isKnown: boolean): void;
  leaves(visitor: Visitor): void;
  counts(): { readonly strangers: number; readonly known: number };
  stop(): void;
}

export interface CrowdDeps {
  readonly clock: Pick<Clock, 'after' | 'monotonic'>;
  readonly log: Log;
  readonly bounds: CrowdBounds;
  readonly onDropped?: (why: Dropped) => void;
}

const places = (): Places => ({ silent: new Set(), idle: new Set(), busy: new Set(), resting: new Set() });

function placeOf({ isKnown, hasAsked, open }: Visitor): Place | undefined {
  if (isKnown) return open > 0 ? undefined : 'resting';
  if (open > 0) return 'busy';
  return hasAsked ? 'idle' : 'silent';
}

export function createCrowd({ clock, log, bounds, onDropped }: CrowdDeps): Crowd {
  const all = places();
  const groups = new Map<string, Places>();
  const told = createTold(clock, log);
  let count = 0;

  const strangersIn = ({ silent, idle, busy }: Places): number => silent.size + idle.size + busy.size;

  function take(visitor: Visitor): void {
    const { place, from } = visitor;
    if (place === undefined) return;
    all[place].delete(visitor);
    const group = from === undefined ? undefined : groups.get(from);
    if (from === undefined || group === undefined) return;
    group[place].delete(visitor);
    if (strangersIn(group) === 0) groups.delete(from);
  }
  function put(visitor: Visitor): void {
    const { place, from } = visitor;
    if (place === undefined) return;
    all[place].add(visitor);
    if (from === undefined || place === 'resting') return;
    const group = groups.get(from) ?? places();
    groups.set(from, group);
    group[place].add(visitor);
  }

  /** Does `change` to somebody, and has them stand where they belong by it: last, where that is another place. */
  function move(visitor: Visitor, change: () => void, from = visitor.from): void {
    if (visitor.isGone) return;
    change();
    const place = placeOf(visitor);
    if (place === visitor.place && from === visitor.from) return;
    take(visitor);
    visitor.from = from;
    visitor.place = place;
    visitor.sinceMs = clock.monotonic();
    put(visitor);
  }

  function leaves(visitor: Visitor): void {
    if (visitor.isGone) return;
    take(visitor);
    visitor.isGone = true;
    count--;
  }
  function drop(visitor: Visitor, why: Dropped): void {
    leaves(visitor);
    visitor.line.destroy();
    onDropped?.(why);
    told.note(why, visitor.from);
  }

  /** For `newcomer` goes whoever stands first in these places; the newcomer, where nobody else does. */
  function makeRoom(newcomer: Visitor, among: Places, order: readonly Place[], why: Dropped): void {
    for (const place of order) {
      for (const visitor of among[place]) if (visitor !== newcomer) return drop(visitor, why);
    }
    drop(newcomer, why);
  }
  function bound(newcomer: Visitor): void {
    const group = newcomer.from === undefined ? undefined : groups.get(newcomer.from);
    if (group !== undefined && strangersIn(group) > bounds.perAddress)
      return makeRoom(newcomer, group, STRANGERS, 'address');
    if (strangersIn(all) > bounds.strangers) return makeRoom(newcomer, all, STRANGERS, 'strangers');
    if (count > bounds.all) makeRoom(newcomer, all, ANYBODY, 'files');
  }

  /** What a stranger is told is short; who does not read it only holds on to its memory. */
  function look(): void {
    timer = clock.after(LOOK_MS, look);
    const nowMs = clock.monotonic();
    for (const visitor of all.busy) {
      if (nowMs - visitor.sinceMs < BUSY_MS) break;
      drop(visitor, 'slow');
    }
  }
  let timer: Timer = clock.after(LOOK_MS, look);

  return {
    comes(line, from) {
      const visitor: Visitor = {
        line,
        from,
        place: 'silent',
        isKnown: false,
        hasAsked: false,
        open: 0,
        sinceMs: clock.monotonic(),
        isGone: false,
      };
      count++;
      put(visitor);
      bound(visitor);
      return visitor;
    },
    asks(visitor, from) {
      const isElsewhere = from !== visitor.from;
      move(
        visitor,
        () => {
          visitor.hasAsked = true;
          visitor.open++;
        },
        from,
      );
      if (visitor.open > PIPELINED_MAX && !visitor.isGone) return drop(visitor, 'pipelined');
      if (isElsewhere && !visitor.isGone) bound(visitor);
    },
    answered: (visitor) => move(visitor, () => visitor.open--),
    stands: (visitor, isKnown) => move(visitor, () => (visitor.isKnown = isKnown)),
    leaves,
    counts: () => ({ strangers: strangersIn(all), known: count - strangersIn(all) }),
    stop: () => timer.cancel(),
  };
}

const WHY: Record<Dropped, string> = {
  address: 'one address has too many connections of which nobody knows whose they are: the oldest are closed',
  strangers: 'too many connections are open of which nobody knows whose they are: the oldest are closed',
  files: 'this process may not open more files: connections that rest are closed; raise its limit (ulimit -n)',
  pipelined: 'a connection asked for too much before it was answered, and is closed',
  slow: 'connections of which nobody knows whose they are took too long with what they asked, and are closed',
};

/** One line a minute of each kind, however many there are. */
function createTold(clock: Pick<Clock, 'monotonic'>, log: Log) {
  const kinds = new Map<Dropped, { toldAtMs: number; closed: number }>();
  return {
    note(why: Dropped, address: string | undefined): void {
      const nowMs = clock.monotonic();
      const kind = kinds.get(why) ?? { toldAtMs: -Infinity, closed: 0 };
      kinds.set(why, kind);
      kind.closed++;
      if (nowMs - kind.toldAtMs < TOLD_MS) return;
      log.warn({ closed: kind.closed, ...(address === undefined ? {} : { address }) }, WHY[why]);
      Object.assign(kind, { toldAtMs: nowMs, closed: 0 });
    },
  };
}
