/**
 * A decoder's graph with what the search for its attentions asks of it: who makes a tensor, who reads it, and how an
 * error is put. '' stands for inputs and outputs that are not there, so it has neither.
 */
import { IdlewildError } from '@idlewild/protocol';
import { createGraphBuilder, type GraphBuilder } from './builder.ts';
import { nodeTitle, type Graph, type Node } from './graph.ts';

/** Where an attention stands, in names of the graph as it is. */
export interface AttentionSite {
  /** Tensors from which it is computed, and the one that it computes. */
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly result: string;
  /** `heads`: [1, heads, rows, head width]. `rows`: [1, rows, heads × head width]. */
  readonly layout: 'heads' | 'rows';
  readonly scale: number;
  /** Of how many rows each sees the last ones, itself included; 0 is all. */
  readonly window: number;
  /**
   * What says which rows are seen: tensors between which scores become weights, or one that is added to scores; absent
   * where the operator sees causally by itself.
   */
  readonly mask?: { readonly scores: string; readonly weights: string } | { readonly bias: string };
}

export interface Draft {
  readonly graph: Graph;
  readonly builder: GraphBuilder;
  readonly producers: ReadonlyMap<string, Node>;
  readonly consumers: ReadonlyMap<string, readonly Node[]>;
}

export function createDraft(graph: Graph): Draft {
  const producers = new Map<string, Node>();
  const consumers = new Map<string, Node[]>();
  for (const node of graph.nodes) {
    for (const output of present(node.outputs)) producers.set(output, node);
    for (const input of present(node.inputs)) {
      const list = consumers.get(input);
      if (list === undefined) consumers.set(input, [node]);
      else list.push(node);
    }
  }
  return { graph, builder: createGraphBuilder({ from: graph }), producers, consumers };
}

export const present = (names: readonly string[]): string[] => names.filter((name) => name !== '');

export const unsupported = (why: string): IdlewildError =>
  new IdlewildError('model_unsupported', `the attention of this graph cannot be told from the rest: ${why}`);

/** The nodes on which `wanted` depends. @throws IdlewildError `model_unsupported` for a graph within the graph */
export function neededFor(nodes: readonly Node[], wanted: readonly string[]): Node[] {
  const producers = new Map(nodes.flatMap((node) => present(node.outputs).map((output) => [output, node] as const)));
  const kept = new Set<Node>();
  const open = [...wanted];
  while (open.length > 0) {
    const node = producers.get(open.pop() as string);
    if (node === undefined || kept.has(node)) continue;
    if ([...node.attributes.values()].some(({ kind }) => kind === 'graph'))
      throw unsupported(`${nodeTitle(node)} holds a graph of its own`);
    kept.add(node);
    open.push(...present(node.inputs));
  }
  return nodes.filter((node) => kept.has(node));
}

/** Nodes that were added stand at the end, after those that read them. */
export function inOrder(nodes: readonly Node[]): Node[] {
  const missing = new Set(nodes.flatMap((node) => present(node.outputs)));
  const ordered: Node[] = [];
  let rest = [...nodes];
  while (rest.length > 0) {
    const later: Node[] = [];
    for (const node of rest) {
      if (node.inputs.some((input) => missing.has(input))) later.push(node);
      else {
        ordered.push(node);
        for (const output of node.outputs) missing.delete(output);
      }
    }
    if (later.length === rest.length) throw unsupported('its nodes wait for each other');
    rest = later;
  }
  return ordered;
}
