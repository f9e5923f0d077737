/**
 * A grammar as nodes over bytes, each with the number of bytes that it needs at least (Knuth, "A generalization of
 * Dijkstra's algorithm", 1977, by plain iteration).
 *
 * Refused: rules that could read themselves without a byte between, on which no reader would come to an end.
 */
import { IdlewildError, utf8 } from '@idlewild/protocol';
import { LIMITS } from '../limits.ts';
import { byteRanges } from './utf8.ts';
import type { Grammar, Range, Rule } from './rules.ts';

interface NodeOf<Kind extends string> {
  readonly kind: Kind;
  readonly id: number;
  /** Bytes of the shortest text; Infinity for what cannot end, or not within `LIMITS.grammarEndingBytesMax`. */
  cost: number;
}
/** One byte: `has[byte]` is 1. */
export type SetNode = NodeOf<'set'> & { readonly has: Uint8Array };
export type BytesNode = NodeOf<'bytes'> & { readonly bytes: Uint8Array };
/** `costs[i]` is of the items from i on. */
export type AllNode = NodeOf<'all'> & { readonly of: readonly Node[]; readonly costs: number[] };
export type AnyNode = NodeOf<'any'> & { readonly of: readonly Node[] };
export type RepeatNode = NodeOf<'repeat'> & { readonly of: Node; readonly min: number; readonly max: number };
export type RuleNode = NodeOf<'rule'> & { readonly name: string; body: Node | undefined };
export type LeafNode = SetNode | BytesNode;
export type Node = LeafNode | AllNode | AnyNode | RepeatNode | RuleNode;

/** Throws `invalid_request`. */
export function compile({ root, rules }: Grammar): Node {
  const nodes: Node[] = [];
  const named = new Map<string, RuleNode>();
  const sets = new Map<readonly Range[], Node>();
  /** A rule that is used in several places is one node, or lists in lists would double with each. */
  const lowered = new Map<Rule, Node>();
  const add = <N extends Node>(node: N): N => {
    nodes.push(node);
    if (nodes.length <= LIMITS.grammarNodesMax) return node;
    throw new IdlewildError('invalid_request', `the form has more than ${LIMITS.grammarNodesMax} parts`);
  };
  const head = <Kind extends string>(kind: Kind): NodeOf<Kind> => ({ kind, id: nodes.length, cost: Infinity });

  function lower(rule: Rule): Node {
    let node = lowered.get(rule);
    if (node === undefined) lowered.set(rule, (node = lowerRule(rule)));
    return node;
  }
  function lowerRule(rule: Rule): Node {
    switch (rule.kind) {
      case 'text':
        return rule.text === '' ? lower({ kind: 'all', of: [] }) : add({ ...head('bytes'), bytes: utf8(rule.text) });
      case 'chars': {
        let set = sets.get(rule.ranges);
        if (set === undefined) sets.set(rule.ranges, (set = lowerChars(rule.ranges)));
        return set;
      }
      case 'all': {
        const of = rule.of.map(lower);
        return add({ ...head('all'), of, costs: new Array<number>(of.length + 1).fill(Infinity) });
      }
      case 'any': {
        const of = rule.of.map(lower);
        return add({ ...head('any'), of });
      }
      case 'repeat': {
        const of = lower(rule.of);
        return add({ ...head('repeat'), of, min: rule.min, max: rule.max });
      }
      case 'bounded':
        return lower(rule.exact);
      case 'name': {
        let node = named.get(rule.name);
        if (node !== undefined) return node;
        node = add({ ...head('rule'), name: rule.name, body: undefined });
        named.set(rule.name, node);
        return node;
      }
    }
  }

  function lowerChars(ranges: readonly Range[]): Node {
    const single = new Uint8Array(256);
    const longer: Node[] = [];
    for (const bytes of ranges.flatMap(byteRanges)) {
      if (bytes.length > 1) {
        const of = bytes.map((one) => add({ ...head('set'), has: fill(new Uint8Array(256), one) }));
        longer.push(add({ ...head('all'), of, costs: new Array<number>(of.length + 1).fill(Infinity) }));
      } else fill(single, bytes[0] as Range);
    }
    const of = single.includes(1) ? [add({ ...head('set'), has: single }), ...longer] : longer;
    return of.length === 1 ? (of[0] as Node) : add({ ...head('any'), of });
  }

  const top = lower(root);
  // One after the other, and those that turn up meanwhile: nested they would be as deep as an object is wide.
  for (const [name, node] of named) node.body = lower(rules.get(name) as Rule);
  settleCosts(nodes);
  refuseEmptyLoops(nodes);
  if (!Number.isFinite(top.cost))
    throw new IdlewildError(
      'invalid_request',
      `no text of ${LIMITS.grammarEndingBytesMax} bytes or less fits the form`,
    );
  return top;
}

const fill = (has: Uint8Array, [first, last]: Range): Uint8Array => has.fill(1, first, last + 1);

/** Until nothing falls any more. */
function settleCosts(nodes: readonly Node[]): void {
  const users = new Map<Node, Node[]>();
  for (const node of nodes)
    for (const part of partsOf(node)) {
      const known = users.get(part);
      if (known === undefined) users.set(part, [node]);
      else known.push(node);
    }
  const due = new Set(nodes);
  // What is put in again is visited again.
  for (const node of due) {
    due.delete(node);
    const least = costOf(node);
    const cost = least > LIMITS.grammarEndingBytesMax ? Infinity : least;
    if (cost === node.cost) continue;
    node.cost = cost;
    for (const user of users.get(node) ?? []) due.add(user);
  }
}

function partsOf(node: Node): readonly Node[] {
  switch (node.kind) {
    case 'all':
    case 'any':
      return node.of;
    case 'repeat':
      return [node.of];
    case 'rule':
      return [node.body as Node];
    default:
      return [];
  }
}

function costOf(node: Node): number {
  switch (node.kind) {
    case 'set':
      return 1;
    case 'bytes':
      return node.bytes.length;
    case 'any':
      return node.of.reduce((least, one) => Math.min(least, one.cost), Infinity);
    case 'rule':
      return node.body?.cost ?? Infinity;
    case 'repeat':
      return node.min === 0 ? 0 : node.min * node.of.cost;
    case 'all': {
      node.costs[node.of.length] = 0;
      for (let i = node.of.length - 1; i >= 0; i--)
        node.costs[i] = (node.costs[i + 1] as number) + (node.of[i] as Node).cost;
      return node.costs[0] as number;
    }
  }
}

function refuseEmptyLoops(nodes: readonly Node[]): void {
  const done = new Set<Node>();
  const open = new Set<Node>();
  const visit = (node: Node): void => {
    if (done.has(node)) return;
    if (open.has(node)) throw new IdlewildError('invalid_request', 'the form refers to itself with nothing in between');
    open.add(node);
    for (const first of firstsOf(node)) visit(first);
    open.delete(node);
    done.add(node);
  };
  for (const node of nodes) {
    visit(node);
    if (node.kind === 'repeat' && node.of.cost === 0 && node.max > 1)
      throw new IdlewildError('invalid_request', 'the form repeats something that may be empty');
  }
}

/** What may be read first. */
function firstsOf(node: Node): readonly Node[] {
  switch (node.kind) {
    case 'any':
      return node.of;
    case 'rule':
      return [node.body as Node];
    case 'repeat':
      return [node.of];
    case 'all': {
      const firstFull = node.of.findIndex(({ cost }) => cost > 0);
      return firstFull < 0 ? node.of : node.of.slice(0, firstFull + 1);
    }
    default:
      return [];
  }
}
