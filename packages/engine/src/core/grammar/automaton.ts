/**
 * A grammar as an exact judge over bytes: whether a text may go on so, whether it may end here, and with how many bytes
 * it could end soonest.
 *
 * A state is the set of all ways in which the bytes so far can be read. Each way is a stack of frames, "this rule, from
 * here, then that frame"; equal stacks are one object, so a state stays small however long the text is. Beyond
 * `LIMITS.grammarWaysMax` the dearest are forgotten: then a text that fits may be refused, and none that does not is
 * taken. The shortest ending always exists, since a grammar in which something never ends is refused.
 */
import { LIMITS } from '../limits.ts';
import type { AllNode, LeafNode, Node, RepeatNode } from './compile.ts';

/** What is left to read: `node` from `at` on, then `next`. `cost` bytes at least. */
interface Frame {
  readonly node: Node;
  readonly at: number;
  readonly next: Frame | undefined;
  readonly cost: number;
  kids: Map<number, Frame> | undefined;
}

export interface State {
  /** Ways to go on; none when the text can only end. */
  readonly ways: readonly Frame[];
  /** Whether the text may end here. */
  readonly isComplete: boolean;
  /** Bytes of the shortest ending. */
  readonly cost: number;
}

export interface Automaton {
  readonly start: State;
  /** The state after `bytes`, or `undefined` where the grammar does not allow them. */
  step(state: State, bytes: Uint8Array): State | undefined;
  /** The shortest ending. After its first bytes, the shortest ending is the rest of it. */
  ending(state: State): Uint8Array;
}

/** Frames of one parent, by node and position. */
const KEY_STRIDE = 2 ** 20;

/** One for each text: it remembers frames, as many as are bounded. */
export function createAutomaton(root: Node): Automaton {
  let bottom = new Map<number, Frame>();
  let made = 0;

  const keyOf = (node: Node, at: number): number => node.id * KEY_STRIDE + at;
  const kidsOf = (next: Frame | undefined): Map<number, Frame> =>
    next === undefined ? bottom : (next.kids ??= new Map());

  function frame(node: Node, at: number, next: Frame | undefined): Frame {
    const kids = kidsOf(next);
    const key = keyOf(node, at);
    let found = kids.get(key);
    if (found === undefined) {
      found = { node, at, next, cost: costFrom(node, at) + (next?.cost ?? 0), kids: undefined };
      kids.set(key, found);
      made++;
    }
    return found;
  }

  /** Keeps what the stacks of a state are made of. */
  function forget({ ways }: State): void {
    const live = new Set<Frame>();
    for (const way of ways)
      for (let one: Frame | undefined = way; one !== undefined && !live.has(one); one = one.next) live.add(one);
    bottom = new Map();
    for (const one of live) one.kids = undefined;
    for (const one of live) kidsOf(one.next).set(keyOf(one.node, one.at), one);
    made = live.size;
  }

  /** Collects the ways that begin with a byte. */
  function createCollector(): {
    enter(node: Node, next: Frame | undefined): void;
    leave(to: Frame | undefined): void;
    state(): State;
  } {
    const ways = new Set<Frame>();
    const left = new Set<Frame>();
    let isComplete = false;

    /** A way that can never end is none. */
    function add(way: Frame): void {
      if (way.cost < Infinity) ways.add(way);
    }
    function enter(node: Node, next: Frame | undefined): void {
      switch (node.kind) {
        case 'set':
        case 'bytes':
          return add(frame(node, 0, next));
        case 'any':
          for (const one of node.of) enter(one, next);
          return;
        case 'rule':
          return enter(node.body as Node, next);
        case 'all':
          return enterAll(node, 0, next);
        case 'repeat':
          return enterRepeat(node, 0, next);
      }
    }
    function enterAll(node: AllNode, at: number, next: Frame | undefined): void {
      const item = node.of[at];
      if (item === undefined) return leave(next);
      enter(item, at + 1 === node.of.length ? next : frame(node, at + 1, next));
    }
    function enterRepeat(node: RepeatNode, count: number, next: Frame | undefined): void {
      // Beyond what must be counted all counts are one, or each character of a long text would be a frame.
      const after = node.max === Infinity ? Math.min(count + 1, node.min) : count + 1;
      if (count < node.max) enter(node.of, frame(node, after, next));
      if (count >= node.min) leave(next);
    }
    function leave(to: Frame | undefined): void {
      if (to === undefined) isComplete = true;
      else if (!left.has(to)) {
        left.add(to);
        if (to.node.kind === 'all') enterAll(to.node, to.at, to.next);
        else if (to.node.kind === 'repeat') enterRepeat(to.node, to.at, to.next);
        else add(to);
      }
    }
    return {
      enter,
      leave,
      state: () => ({
        ways: cheapest([...ways]),
        isComplete,
        cost: isComplete ? 0 : Math.min(Infinity, ...[...ways].map((way) => way.cost)),
      }),
    };
  }

  const begin = createCollector();
  begin.enter(root, undefined);

  return {
    start: begin.state(),
    step(state, bytes) {
      if (made > LIMITS.grammarFramesMax) forget(state);
      let now = state;
      for (const byte of bytes) {
        const collector = createCollector();
        for (const { node, at, next } of now.ways) {
          const leaf = node as LeafNode;
          if (leaf.kind === 'set' ? leaf.has[byte] === 0 : leaf.bytes[at] !== byte) continue;
          collector.leave(leaf.kind === 'set' || at + 1 === leaf.bytes.length ? next : frame(leaf, at + 1, next));
        }
        now = collector.state();
        if (now.ways.length === 0 && !now.isComplete) return undefined;
      }
      return now;
    },
    ending(state) {
      const bytes: number[] = [];
      if (state.isComplete) return new Uint8Array();
      let way = state.ways.find(({ cost }) => cost === state.cost);
      for (; way !== undefined; way = way.next) writeShortest(way.node, way.at, bytes);
      return Uint8Array.from(bytes);
    },
  };
}

/** So many that one of them is the way to the shortest ending. */
function cheapest(ways: Frame[]): Frame[] {
  return ways.length <= LIMITS.grammarWaysMax
    ? ways
    : ways.sort((a, b) => a.cost - b.cost).slice(0, LIMITS.grammarWaysMax);
}

/** Bytes that `node` needs at least from position `at` on. */
function costFrom(node: Node, at: number): number {
  switch (node.kind) {
    case 'bytes':
      return node.bytes.length - at;
    case 'all':
      return node.costs[at] ?? 0;
    case 'repeat':
      return Math.max(0, node.min - at) * node.of.cost;
    default:
      return node.cost;
  }
}

function writeShortest(node: Node, at: number, bytes: number[]): void {
  switch (node.kind) {
    case 'set':
      return void bytes.push(node.has.indexOf(1));
    case 'bytes':
      return void bytes.push(...node.bytes.subarray(at));
    case 'any':
      return writeShortest(node.of.find(({ cost }) => cost === node.cost) as Node, 0, bytes);
    case 'rule':
      return writeShortest(node.body as Node, 0, bytes);
    case 'all':
      for (const item of node.of.slice(at)) writeShortest(item, 0, bytes);
      return;
    case 'repeat':
      for (let count = at; count < node.min; count++) writeShortest(node.of, 0, bytes);
  }
}
