/**
 * What a device asks of a graph before its runtime sees it: that it consists of operators on the table, that every
 * tensor is where and what it says, that nothing in it reaches outside the model's own files, and that neither loading
 * it nor its loops take more than a device has.
 *
 * The runtime's parser and kernels are native code; a graph that passes gives them no path, length or size that we have
 * not looked at. This decides nothing about what the graph computes: that is the numeric class's and the verifier's
 * matter. Each kind of thing that is checked has a file of its own; here is the walk.
 */
import { strangeInBlock, strangeInModel } from './check-fields.ts';
import { createGrowth, type Elements, type Growth } from './check-growth.ts';
import { checkAttribute, checkOperator, checkPacked, checkWidths, roundsOf } from './check-nodes.ts';
import { checkValue, createTensorCheck } from './check-tensors.ts';
import type { Known } from './constants.ts';
import type { Block, Graph, Node, Tensor } from './graph.ts';
import { nodeTitle } from './graph.ts';
import { LIMITS } from './limits.ts';
import { refused } from './refused.ts';

export interface GraphCheck {
  /** Length of each side file, by the name that tensors give as their location. */
  readonly files: ReadonlyMap<string, number>;
}

/** A block on the way, and those around it, whose names it may use. */
interface Scope {
  readonly block: Block;
  readonly names: Set<string>;
  readonly growth: Growth;
  readonly outer: Scope | undefined;
  readonly depth: number;
  /** How often it is run in one run of the graph. */
  readonly rounds: number;
}

interface Walk {
  readonly checkTensor: (tensor: Tensor) => void;
  readonly elements: Elements;
  nodesLeft: number;
}

/** @throws IdlewildError `model_refused`, naming the node or tensor at fault */
export function checkGraph(graph: Graph, { files }: GraphCheck): void {
  if (graph.functions.length > 0) throw refused('it defines functions of its own; only built-in operators are run');
  if (graph.trainingInfo.length > 0) throw refused('it carries training information');
  const strange = strangeInModel(graph);
  if (strange !== undefined) throw refused(`it is ${strange}`);
  checkOpset(graph.opsets.get(''));
  const elements = { held: 0, computed: 0 };
  const walk: Walk = { checkTensor: createTensorCheck(files), elements, nodesLeft: LIMITS.nodesMax };
  checkBlock(open(graph, walk, undefined, 1), walk);
}

/**
 * Domains that are imported and not used are harmless, and common: ONNX Runtime's optimiser writes all that it knows.
 */
function checkOpset(version: number | undefined): void {
  if (version === undefined) throw refused('it does not say for which opset it is written');
  if (!(version >= LIMITS.opsetMin && version <= LIMITS.opsetMax)) {
    throw refused(`it is written for opset ${version}; opsets ${LIMITS.opsetMin} to ${LIMITS.opsetMax} are run`);
  }
}

function open(block: Block, { elements }: Walk, outer: Scope | undefined, rounds: number): Scope {
  const names = new Set([...block.inputs.map((input) => input.name), ...block.tensors.keys()]);
  return { block, names, growth: createGrowth(elements), outer, depth: (outer?.depth ?? -1) + 1, rounds };
}

/** Asks a block and those around it; never copied together, for there may be as many blocks as nodes. */
function find<Found>(scope: Scope | undefined, ask: (scope: Scope) => Found | undefined): Found | undefined {
  for (let at = scope; at !== undefined; at = at.outer) {
    const found = ask(at);
    if (found !== undefined) return found;
  }
  return undefined;
}

const isThere = (scope: Scope, name: string): boolean =>
  find(scope, ({ names }) => (names.has(name) ? true : undefined)) !== undefined;

/** Not past a block in which the name stands for something else. */
const knownIn = (scope: Scope, name: string): Known | undefined =>
  find(scope, ({ names, growth }) => (names.has(name) ? { known: growth.known(name) } : undefined))?.known;

function checkBlock(scope: Scope, walk: Walk): void {
  const { block, growth } = scope;
  if (scope.depth > LIMITS.subgraphDepthMax) throw refused(`its graphs are nested deeper than ${scope.depth - 1}`);
  if (scope.rounds > LIMITS.loopRoundsMax) throw refused(`its loops go round ${scope.rounds} times`);
  if (block.sparseTensors.length > 0) throw refused('it holds sparse tensors');
  const strange = strangeInBlock(block);
  if (strange !== undefined) throw refused(`it holds ${strange}`);
  for (const value of [...block.inputs, ...block.outputs, ...block.values]) checkValue(value);
  if (new Set(block.inputs.map(({ name }) => name)).size < block.inputs.length) throw refused('it has an input twice');
  for (const tensor of block.tensors.values()) {
    walk.checkTensor(tensor);
    // One that is declared as an input, too, is a constant in files before IR 4, and what a caller leaves out later.
    growth.hold(tensor);
  }
  for (const node of block.nodes) {
    if (walk.nodesLeft-- === 0) throw refused(`it has more than ${LIMITS.nodesMax} nodes`);
    checkNode(node, scope, walk);
    for (const output of node.outputs) define(node, output, scope);
  }
  for (const { name } of block.outputs) {
    if (!isThere(scope, name)) throw refused(`nothing computes its output '${name}'`);
  }
}

function checkNode(node: Node, scope: Scope, walk: Walk): void {
  checkOperator(node);
  const missing = node.inputs.find((input) => input !== '' && !isThere(scope, input));
  if (missing !== undefined)
    throw refused(`node ${nodeTitle(node)} reads '${missing}', which nothing before it computes`);
  const rounds = scope.rounds * roundsOf(node, (name) => knownIn(scope, name)?.values);
  for (const [name, attribute] of node.attributes) {
    checkAttribute(node, name, attribute);
    if (attribute.kind === 'tensor')
      walk.checkTensor({ ...attribute.value, name: attribute.value.name || `${name} of ${nodeTitle(node)}` });
    if (attribute.kind === 'graph') checkBlock(open(attribute.value, walk, scope, rounds), walk);
  }
  const tensor = (name: string): Tensor | undefined =>
    find(scope, ({ names, block }) => (names.has(name) ? { held: block.tensors.get(name) } : undefined))?.held;
  checkPacked(node, tensor);
  checkWidths(node, tensor);
  scope.growth.compute(node, (name) => knownIn(scope, name));
}

function define(node: Node, output: string, scope: Scope): void {
  if (output === '') return;
  if (isThere(scope, output)) throw refused(`node ${nodeTitle(node)} computes '${output}', which there is already`);
  scope.names.add(output);
}
