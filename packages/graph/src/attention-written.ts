/**
 * Attention in plain operators, as torch and Optimum export it: from the keys forward to the Softmax, from there back
 * to the query.
 *
 * It is recognised by how its products hang together. What its mask holds is not looked at: the result names the
 * tensors between which the mask works, so that somebody can run them.
 */
import { present, unsupported, type AttentionSite, type Draft } from './attention-draft.ts';
import { attributeOf, nodeTitle, type Node } from './graph.ts';
import { createScalars } from './scalars.ts';

/** Nodes between a product and its Softmax; real exports have at most five. */
const STEPS_MAX = 16;

/** @throws IdlewildError `model_unsupported` */
export function writtenAttention(
  draft: Draft,
  headDim: number,
  presentKey: string,
  presentValue: string,
): AttentionSite {
  const scores = productOver(draft, presentKey, headDim);
  const softmax = forwardTo(draft, scores.product, (node) => node.op === 'Softmax');
  const values = productOver(draft, presentValue, headDim);
  const weights = forwardTo(draft, softmax, (node) => node === values.product);
  const { name: query, scale } = unscaled(draft, scores.other, headDim);
  if (weights !== values.product || values.scale !== 1) throw unsupported(`'${presentValue}' is not what is mixed`);
  return {
    query,
    key: appended(draft, presentKey),
    value: appended(draft, presentValue),
    result: values.product.outputs[0] as string,
    layout: 'heads',
    scale: scale * scores.scale * scaleBetween(draft, scores.product, softmax, headDim),
    window: 0,
    mask: { scores: scores.product.outputs[0] as string, weights: softmax.outputs[0] as string },
  };
}

/** What a Concat along the positions adds to the cache. */
function appended({ producers }: Draft, name: string): string {
  const node = producers.get(name) as Node;
  const axis = Number(attributeOf(node, 'axis', 'int') ?? 0);
  const [past, added, ...more] = node.inputs;
  if (!past?.startsWith('past_key_values.') || added === undefined || more.length > 0 || (axis !== 2 && axis !== -2))
    throw unsupported(`${nodeTitle(node)} does not just put new positions after the old`);
  return added;
}

/** Between a cache and the product that uses it: reshaped, repeated for grouped heads, turned, scaled. */
const BETWEEN = new Set(['Transpose', 'Reshape', 'Expand', 'Unsqueeze', 'Cast', 'Mul', 'Div', 'Identity']);

const isProduct = ({ op }: Node): boolean => op === 'MatMul' || op === 'FusedMatMul';

interface Product {
  readonly product: Node;
  /** Its left side. */
  readonly other: string;
  /** What scales the right side on its way, and the product itself. */
  readonly scale: number;
}

/** The one product that has `cache` on its right. */
function productOver(draft: Draft, cache: string, headDim: number): Product {
  let name = cache;
  let scale = 1;
  for (let step = 0; step < STEPS_MAX; step++) {
    const users = (draft.consumers.get(name) ?? []).filter((node) => isProduct(node) || BETWEEN.has(node.op));
    const reading = users.filter((node) => node.inputs[0] === name || isProduct(node) || node.op === 'Mul');
    const [user] = reading;
    if (user === undefined || reading.length > 1) throw unsupported(`'${name}' has ${reading.length} uses, not one`);
    if (isProduct(user)) {
      if (user.inputs[1] !== name) throw unsupported(`${nodeTitle(user)} has the cache on its left`);
      if (Number(attributeOf(user, 'transA', 'int') ?? 0) !== 0) throw unsupported(`${nodeTitle(user)} turns its left`);
      const alpha = attributeOf(user, 'alpha', 'float') ?? 1;
      return { product: user, other: user.inputs[0] as string, scale: scale * alpha };
    }
    scale *= factorOf(draft, user, name, headDim);
    name = user.outputs[0] as string;
  }
  throw unsupported(`nothing multiplies with '${cache}'`);
}

/** What a Mul or Div with a number does to `name`; 1 for other operators. */
function factorOf(draft: Draft, node: Node, name: string, headDim: number): number {
  if (node.op !== 'Mul' && node.op !== 'Div') return 1;
  const isFirst = node.inputs[0] === name;
  const factor = createScalars(draft.graph, draft.producers, headDim)(node.inputs[isFirst ? 1 : 0] ?? '');
  if (factor === undefined || (node.op === 'Div' && !isFirst))
    throw unsupported(`${nodeTitle(node)} scales by something that is no constant`);
  return node.op === 'Mul' ? factor : 1 / factor;
}

/** Between scores and weights: scaled, masked, cast, guarded against rows that see nothing. */
const AFTER = new Set(['Add', 'Mul', 'Div', 'Cast', 'Where', 'Softmax', 'Identity']);

/** From a product on along its values to a node that fits; throws when it leads elsewhere. */
function forwardTo(draft: Draft, from: Node, isGoal: (node: Node) => boolean): Node {
  let node = from;
  for (let step = 0; step < STEPS_MAX; step++) {
    if (step > 0 && isGoal(node)) return node;
    const user = nextOf(draft, node);
    if (user === undefined || !(AFTER.has(user.op) || isGoal(user)))
      throw unsupported(`${nodeTitle(node)} leads to ${user === undefined ? 'nothing or several' : nodeTitle(user)}`);
    node = user;
  }
  throw unsupported(`${nodeTitle(from)} leads to nothing that is known`);
}

/** The one node that goes on with a node's values. */
function nextOf({ consumers }: Draft, node: Node): Node | undefined {
  const readers = (consumers.get(present(node.outputs)[0] ?? '') ?? []).filter(
    // A guard reads the weights twice, once to ask whether they are numbers; and exporters ask for sizes of anything.
    ({ op }) => op !== 'IsNaN' && op !== 'Shape',
  );
  return readers.length === 1 ? readers[0] : undefined;
}

function scaleBetween(draft: Draft, product: Node, softmax: Node, headDim: number): number {
  let scale = 1;
  let isMasked = false;
  let node = product;
  while (node !== softmax) {
    const user = nextOf(draft, node) as Node;
    const factor = factorOf(draft, user, node.outputs[0] as string, headDim);
    // After a mask a factor would scale what it adds too.
    if (factor !== 1 && isMasked) throw unsupported(`${nodeTitle(user)} scales what is masked already`);
    isMasked ||= user.op === 'Add' || user.op === 'Where';
    scale *= factor;
    node = user;
  }
  return scale;
}

/** Back over a Mul or Div with a number. */
function unscaled(draft: Draft, name: string, headDim: number): { name: string; scale: number } {
  const node = draft.producers.get(name);
  if (node?.op !== 'Mul' && node?.op !== 'Div') return { name, scale: 1 };
  const scalars = createScalars(draft.graph, draft.producers, headDim);
  for (const [index, input] of node.inputs.entries()) {
    const factor = scalars(input);
    if (factor === undefined || (node.op === 'Div' && index === 0)) continue;
    return { name: node.inputs[1 - index] as string, scale: node.op === 'Mul' ? factor : 1 / factor };
  }
  return { name, scale: 1 };
}
