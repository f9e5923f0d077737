/**
 * What a device asks of a graph before its runtime sees it: that it consists of operators on the table, that every
 * tensor is where and what it says, and that nothing in it reaches outside the model's own files.
 *
 * The runtime's parser and kernels are native code; a graph that passes gives them no path, length or size that we have
 * not looked at. This decides nothing about what the graph computes: that is the numeric class's and the verifier's
 * matter.
 */
import { IdlewildError } from '@idlewild/protocol';

import { bytesOf, dtypeName, elementsOf } from './dtypes.ts';
import type { Attribute, Block, Graph, Node, Tensor, ValueInfo } from './graph.ts';
import { isExternal, nodeTitle } from './graph.ts';
import { LIMITS } from './limits.ts';
import { OPERATORS } from './operators.ts';

export interface GraphCheck {
  /** Length of each side file, by the name that tensors give as their location. */
  readonly files: ReadonlyMap<string, number>;
}

const refused = (what: string): IdlewildError => new IdlewildError('model_refused', `this graph is refused: ${what}`);

/** @throws IdlewildError `model_refused`, naming the node or tensor at fault */
export function checkGraph(graph: Graph, { files }: GraphCheck): void {
  if (graph.functions.length > 0) throw refused('it defines functions of its own; only built-in operators are run');
  if (graph.trainingInfo.length > 0) throw refused('it carries training information');
  checkOpset(graph.opsets.get(''));
  let nodesLeft = LIMITS.nodesMax;
  // Depth needs no bound here: the reader's bound on nesting holds for subgraphs.
  const visit = (block: Block, outer: ReadonlySet<string>): void => {
    nodesLeft -= block.nodes.length;
    if (nodesLeft < 0) throw refused(`it has more than ${LIMITS.nodesMax} nodes`);
    checkBlock(block, outer, files, visit);
  };
  visit(graph, new Set());
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

function checkBlock(
  block: Block,
  outer: ReadonlySet<string>,
  files: GraphCheck['files'],
  visit: (block: Block, outer: ReadonlySet<string>) => void,
): void {
  if (block.sparseTensors.length > 0) throw refused('it holds sparse tensors');
  for (const value of [...block.inputs, ...block.outputs, ...block.values]) checkValue(value);
  for (const tensor of block.tensors.values()) checkTensor(tensor, files);
  const known = new Set([...outer, ...block.inputs.map((input) => input.name), ...block.tensors.keys()]);
  for (const node of block.nodes) {
    if (OPERATORS.get(node.domain)?.has(node.op) !== true)
      throw refused(`operator ${nodeTitle(node)} is not on the table of operators`);
    const missing = node.inputs.find((input) => input !== '' && !known.has(input));
    if (missing !== undefined)
      throw refused(`node ${nodeTitle(node)} reads '${missing}', which nothing before it computes`);
    for (const [name, attribute] of node.attributes)
      checkAttribute(node, name, attribute, files, (inner) => visit(inner, known));
    for (const output of node.outputs) define(node, output, known);
  }
  for (const { name } of block.outputs) {
    if (!known.has(name)) throw refused(`nothing computes its output '${name}'`);
  }
}

function define(node: Node, output: string, known: Set<string>): void {
  if (output === '') return;
  if (known.has(output)) throw refused(`node ${nodeTitle(node)} computes '${output}', which there is already`);
  known.add(output);
}

function checkAttribute(
  node: Node,
  name: string,
  attribute: Attribute,
  files: GraphCheck['files'],
  visit: (inner: Block) => void,
): void {
  if (attribute.kind === 'tensor') {
    if (isExternal(attribute.value)) throw refused(`attribute '${name}' of node ${nodeTitle(node)} points to a file`);
    checkTensor({ ...attribute.value, name: attribute.value.name || `${name} of ${nodeTitle(node)}` }, files);
  } else if (attribute.kind === 'graph') visit(attribute.value);
  else if (attribute.kind === 'other')
    throw refused(`attribute '${name}' of node ${nodeTitle(node)} is of kind ${String(attribute.value.type ?? 0)}`);
}

function checkValue({ name, dtype, dims, unknownType }: ValueInfo): void {
  if (unknownType !== undefined && dtype === 0) throw refused(`value '${name}' is no tensor`);
  if (dtype !== 0 && dtypeName(dtype) === undefined)
    throw refused(`value '${name}' has element type ${dtype}, which is not supported`);
  checkDims(
    `value '${name}'`,
    (dims ?? []).filter((dim) => typeof dim === 'number'),
  );
}

function checkDims(what: string, dims: readonly number[]): void {
  if (dims.length > LIMITS.rankMax) throw refused(`${what} has rank ${dims.length}, over ${LIMITS.rankMax}`);
  // Multiplied without the zeros: a zero must not hide the size of the others.
  const elements = elementsOf(dims.filter((dim) => dim !== 0));
  if (!dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0) || !(elements <= LIMITS.elementsPerTensorMax)) {
    throw refused(`${what} has dims [${dims.join(', ')}]`);
  }
}

function checkTensor(tensor: Tensor, files: GraphCheck['files']): void {
  const what = `tensor '${tensor.name}'`;
  checkDims(what, tensor.dims);
  const needed = bytesOf(tensor.dtype, tensor.dims);
  if (needed === undefined) throw refused(`${what} has element type ${tensor.dtype}, which is not supported`);
  const held = isExternal(tensor) ? tensor.external.bytes : tensor.data.length;
  if (held !== needed) {
    const type = `${dtypeName(tensor.dtype) as string} [${tensor.dims.join(', ')}]`;
    throw refused(`${what} (${type}) needs ${needed} bytes and has ${held}`);
  }
  if (!isExternal(tensor)) return;
  const { location, offset, bytes } = tensor.external;
  if (!isPlainFileName(location)) throw refused(`${what} lies in '${location}', which is not a plain file name`);
  const fileBytes = files.get(location);
  if (fileBytes === undefined) throw refused(`${what} lies in '${location}', which is not a file of the model`);
  if (!Number.isSafeInteger(offset) || offset < 0 || offset + bytes > fileBytes) {
    throw refused(`${what} lies at bytes ${offset} to ${offset + bytes} of '${location}', which has ${fileBytes}`);
  }
}

/** A name that means the same file, in the model's own folder, on every system. */
function isPlainFileName(name: string): boolean {
  return name.length <= LIMITS.fileNameCharactersMax && /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(name);
}
