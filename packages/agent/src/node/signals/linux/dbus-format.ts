/**
 * Messages of D-Bus (specification 0.43): written with the few types that our questions have, read with all of them.
 * Reading is bounded in size and depth, and gives `undefined` for whatever does not fit.
 */
export type DBusValue =
  string | number | boolean | readonly DBusValue[] | { readonly [key: string]: DBusValue } | undefined;

export interface DBusCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  /** One letter for each argument: `s`, `u`, `t`. */
  readonly signature?: string;
  readonly args?: readonly (string | number)[];
}

export interface DBusMessage {
  readonly kind: 'call' | 'reply' | 'error' | 'signal';
  readonly replyTo: number | undefined;
  readonly interface: string | undefined;
  readonly member: string | undefined;
  readonly body: readonly DBusValue[];
}

const KINDS = [undefined, 'call', 'reply', 'error', 'signal'] as const;
const FIELD = { path: 1, interface: 2, member: 3, replyTo: 5, destination: 6, signature: 8 } as const;
const HEAD = 16;
const DEPTH_MAX = 16;
/** A program that is not running is not started for our sake. */
const NO_AUTO_START = 2;

export function writeCall(call: DBusCall, serial: number): Buffer {
  const body = createWriter();
  const { signature = '', args = [] } = call;
  args.forEach((arg, index) => body.value(signature[index] ?? 's', arg));
  const fields = createWriter();
  fields.field(FIELD.path, 'o', call.path);
  fields.field(FIELD.interface, 's', call.interface);
  fields.field(FIELD.member, 's', call.member);
  fields.field(FIELD.destination, 's', call.destination);
  if (signature !== '') fields.field(FIELD.signature, 'g', signature);
  const head = Buffer.alloc(HEAD);
  head.write('l', 0, 'latin1');
  head.writeUInt8(1, 1);
  head.writeUInt8(NO_AUTO_START, 2);
  head.writeUInt8(1, 3);
  head.writeUInt32LE(body.bytes().length, 4);
  head.writeUInt32LE(serial, 8);
  head.writeUInt32LE(fields.bytes().length, 12);
  const padding = Buffer.alloc(aligned(fields.bytes().length, 8) - fields.bytes().length);
  return Buffer.concat([head, fields.bytes(), padding, body.bytes()]);
}

const aligned = (at: number, to: number): number => Math.ceil(at / to) * to;

interface Writer {
  value(type: string, value: string | number): void;
  field(code: number, type: string, value: string): void;
  bytes(): Buffer;
}

/** Alignment is counted from where the writer begins: a body, or the fields, which begin at 16. */
function createWriter(): Writer {
  let bytes: Buffer = Buffer.alloc(0);
  const add = (align: number, more: Buffer): void => {
    bytes = Buffer.concat([bytes, Buffer.alloc(aligned(bytes.length, align) - bytes.length), more]);
  };
  const number = (value: number, wide: boolean): Buffer => {
    const out = Buffer.alloc(wide ? 8 : 4);
    if (wide) out.writeBigUInt64LE(BigInt(value));
    else out.writeUInt32LE(value);
    return out;
  };
  const value = (type: string, given: string | number): void => {
    if (type === 'u' || type === 't') return add(type === 't' ? 8 : 4, number(Number(given), type === 't'));
    const text = Buffer.from(`${given}\0`, 'utf8');
    if (type === 'g') return add(1, Buffer.concat([Buffer.of(text.length - 1), text]));
    add(4, Buffer.concat([number(text.length - 1, false), text]));
  };
  return {
    value,
    field(code, type, given) {
      add(8, Buffer.of(code));
      value('g', type);
      value(type, given);
    },
    bytes: () => bytes,
  };
}

/** Of the message at the head of `bytes`, as soon as its first 16 bytes are there; `NaN` when it is none. */
export function messageLength(bytes: Buffer): number | undefined {
  if (bytes.length < HEAD) return undefined;
  if (bytes.readUInt8(0) !== 0x6c || bytes.readUInt8(3) !== 1) return Number.NaN;
  return aligned(HEAD + bytes.readUInt32LE(12), 8) + bytes.readUInt32LE(4);
}

/** A whole message; absent: one that cannot be read. */
export function readMessage(bytes: Buffer): DBusMessage | undefined {
  try {
    const kind = KINDS[bytes.readUInt8(1)];
    if (kind === undefined) return undefined;
    const header = createReader(bytes, 12).values('a(yv)')[0] as readonly (readonly [number, DBusValue])[];
    const fields = new Map(header);
    const text = (code: number): string | undefined => {
      const value = fields.get(code);
      return typeof value === 'string' ? value : undefined;
    };
    const replyTo = fields.get(FIELD.replyTo);
    const bodyAt = aligned(HEAD + bytes.readUInt32LE(12), 8);
    return {
      kind,
      replyTo: typeof replyTo === 'number' ? replyTo : undefined,
      interface: text(FIELD.interface),
      member: text(FIELD.member),
      body: createReader(bytes.subarray(bodyAt), 0).values(text(FIELD.signature) ?? ''),
    };
  } catch {
    // Reading past the end throws, and so does all that does not fit.
    return undefined;
  }
}

interface Reader {
  values(signature: string): DBusValue[];
}

const SIZES: Readonly<Record<string, number>> = { y: 1, b: 4, n: 2, q: 2, i: 4, u: 4, x: 8, t: 8, d: 8, h: 4 };

function createReader(bytes: Buffer, start: number): Reader {
  let at = start;
  const align = (to: number): void => {
    at = aligned(at, to);
  };
  const number = (type: string): number => {
    const size = SIZES[type] ?? 0;
    align(size);
    at += size;
    const from = at - size;
    if (type === 'y') return bytes.readUInt8(from);
    if (type === 'n') return bytes.readInt16LE(from);
    if (type === 'q') return bytes.readUInt16LE(from);
    if (type === 'i') return bytes.readInt32LE(from);
    if (type === 'x') return Number(bytes.readBigInt64LE(from));
    if (type === 't') return Number(bytes.readBigUInt64LE(from));
    if (type === 'd') return bytes.readDoubleLE(from);
    return bytes.readUInt32LE(from);
  };
  const text = (lengthType: 'u' | 'y'): string => {
    const length = number(lengthType);
    if (at + length + 1 > bytes.length) throw new RangeError('a text that is longer than its message');
    at += length + 1;
    return bytes.toString('utf8', at - length - 1, at - 1);
  };
  const array = (element: string, depth: number): DBusValue => {
    const length = number('u');
    align(alignmentOf(element));
    const end = at + length;
    if (end > bytes.length) throw new RangeError('an array that is longer than its message');
    const items: DBusValue[] = [];
    while (at < end) {
      const from = at;
      items.push(one(element, depth));
      if (at === from) throw new RangeError('an element of no bytes');
    }
    if (!element.startsWith('{')) return items;
    return Object.fromEntries(items as [string, DBusValue][]);
  };
  function one(type: string, depth: number): DBusValue {
    if (depth > DEPTH_MAX) throw new RangeError('values too deep within each other');
    const first = type[0] ?? '';
    if (first === 's' || first === 'o') return text('u');
    if (first === 'g') return text('y');
    if (first === 'v') return one(text('y'), depth + 1);
    if (first === 'a') return array(type.slice(1), depth + 1);
    if (first === '(' || first === '{') {
      align(8);
      return split(type.slice(1, -1)).map((member) => one(member, depth + 1));
    }
    if (first === 'b') return number('b') !== 0;
    if (!(first in SIZES)) throw new RangeError(`no type ${first}`);
    return number(first);
  }
  return { values: (signature) => split(signature).map((type) => one(type, 0)) };
}

function alignmentOf(type: string): number {
  const first = type[0] ?? '';
  if (first === '(' || first === '{') return 8;
  if (first === 'g' || first === 'v') return 1;
  return SIZES[first] ?? 4;
}

/** A signature into its complete types. */
function split(signature: string): string[] {
  const types: string[] = [];
  let at = 0;
  while (at < signature.length) {
    const start = at;
    while (signature[at] === 'a') at++;
    let open = 0;
    do {
      const letter = signature[at];
      if (letter === undefined) throw new RangeError(`${signature} is no signature`);
      if (letter === '(' || letter === '{') open++;
      if (letter === ')' || letter === '}') open--;
      at++;
    } while (open > 0);
    types.push(signature.slice(start, at));
  }
  return types;
}
