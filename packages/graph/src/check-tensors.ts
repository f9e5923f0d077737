/**
 * Tensors that a device is to hold: each is as large as its type and dims say, and lies in a file of the model, within
 * that file's length, under a name that means the same file on every system.
 */
import { bytesOf, dtypeName, elementsOf } from './dtypes.ts';
import { isExternal, type External, type Tensor, type ValueInfo } from './graph.ts';
import { LIMITS } from './limits.ts';
import { refused } from './refused.ts';

/** Holds tensors against the lengths of the model's side files, and counts what they use of each. */
export function createTensorCheck(files: ReadonlyMap<string, number>): (tensor: Tensor) => void {
  const used = new Map<string, number>();

  function checkExternal(what: string, { location, offset, bytes }: External): void {
    if (!isPlainFileName(location)) throw refused(`${what} lies in '${location}', which is not a plain file name`);
    const fileBytes = files.get(location);
    if (fileBytes === undefined) throw refused(`${what} lies in '${location}', which is not a file of the model`);
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + bytes > fileBytes) {
      throw refused(`${what} lies at bytes ${offset} to ${offset + bytes} of '${location}', which has ${fileBytes}`);
    }
    const uses = (used.get(location) ?? 0) + bytes;
    used.set(location, uses);
    if (uses > LIMITS.fileUsesMax * fileBytes)
      throw refused(`its tensors use '${location}' more than ${LIMITS.fileUsesMax} times over`);
  }

  return (tensor) => {
    const what = `tensor '${tensor.name}'`;
    checkDims(what, tensor.dims);
    const needed = bytesOf(tensor.dtype, tensor.dims);
    if (needed === undefined) throw refused(`${what} has element type ${tensor.dtype}, which is not supported`);
    const held = isExternal(tensor) ? tensor.external.bytes : tensor.data.length;
    if (held !== needed) {
      const type = `${dtypeName(tensor.dtype) as string} [${tensor.dims.join(', ')}]`;
      throw refused(`${what} (${type}) needs ${needed} bytes and has ${held}`);
    }
    if (isExternal(tensor)) checkExternal(what, tensor.external);
  };
}

export function checkValue({ name, dtype, dims, unknownType }: ValueInfo): void {
  if (unknownType !== undefined && dtype === 0) throw refused(`value '${name}' is no tensor`);
  if (dtype !== 0 && dtypeName(dtype) === undefined)
    throw refused(`value '${name}' has element type ${dtype}, which is not supported`);
  if ((dims?.length ?? 0) > LIMITS.rankMax)
    throw refused(`value '${name}' has rank ${dims?.length}, over ${LIMITS.rankMax}`);
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

/** Windows drops a dot at the end, and opens a device for these whatever follows the dot. */
const DEVICE = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/** A name that means the same file, in the model's own folder, on every system. */
function isPlainFileName(name: string): boolean {
  return (
    name.length <= LIMITS.fileNameCharactersMax &&
    /^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_-])?$/.test(name) &&
    !DEVICE.test(name)
  );
}
