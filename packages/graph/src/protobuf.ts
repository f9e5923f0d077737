/**
 * A codec for the messages of `schema.ts`, after https://protobuf.dev/programming-guides/encoding/.
 *
 * Reading copies nothing: byte fields are views into the input. Writing copies nothing large: the result is a list of
 * chunks in which long byte fields are the caller's own arrays. Unknown fields survive. Input is hostile: whatever its
 * bytes, reading ends in time and memory proportional to their number, with a message or with an IdlewildError
 * `model_invalid`.
 *
 * Stricter than protobuf in one point: a single message field that occurs twice is an error, not merged, since a check
 * that saw only one of the two would pass what another reader puts together.
 */
import { IdlewildError } from '@idlewild/protocol';

import { LIMITS } from './limits.ts';
import { SCHEMA } from './schema.ts';
import type { Field, FieldKind, Int, Message, MessageName } from './schema.ts';
import { createByteWriter, intBytes, uintBytes } from './wire-bytes.ts';
import type { ByteWriter } from './wire-bytes.ts';

type Loose = { [field: string]: unknown; unknown?: Uint8Array[] };
type Fields = Readonly<Record<string, Field>>;

interface Cursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly decodeText: (bytes: Uint8Array) => string;
  at: number;
  elementsLeft: number;
  scalarsLeft: number;
}

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

const WIRE: Readonly<Record<FieldKind, number>> = {
  int: VARINT,
  uint: VARINT,
  float: FIXED32,
  double: FIXED64,
  string: DELIMITED,
  bytes: DELIMITED,
  message: DELIMITED,
};

/** Reads one message that fills `bytes`. @throws IdlewildError `model_invalid` */
export function decodeMessage<Name extends MessageName>(name: Name, bytes: Uint8Array): Message<Name> {
  if (bytes.length > LIMITS.modelBytesMax) {
    throw new IdlewildError(
      'model_invalid',
      `an ONNX file of ${bytes.length} bytes is over protobuf's 2 GiB: move its weights to side files`,
    );
  }
  return readMessage(openCursor(bytes), name, bytes.length, 0) as Message<Name>;
}

function openCursor(bytes: Uint8Array): Cursor {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  return {
    bytes,
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    decodeText: (text) => decoder.decode(text),
    at: 0,
    elementsLeft: LIMITS.elementsMax,
    scalarsLeft: LIMITS.scalarsMax,
  };
}

/** The numbers of the fields that stand in what the codec kept as unknown. @throws IdlewildError `model_invalid` */
export function fieldNumbers(unknown: Uint8Array): Set<number> {
  const cursor = openCursor(unknown);
  const numbers = new Set<number>();
  while (cursor.at < unknown.length) {
    const tag = Number(readVarint(cursor, unknown.length, false));
    numbers.add(Math.floor(tag / 8));
    skip(cursor, tag % 8, unknown.length);
  }
  return numbers;
}

export interface EncodedMessage {
  /** In file order. Views of what the message holds: valid until that changes. */
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
}

export function encodeMessage<Name extends MessageName>(name: Name, message: Message<Name>): EncodedMessage {
  const writer = createByteWriter();
  const sizes = new Map<object, number>();
  const bytes = measure(name, message, sizes, writer);
  writeMessage(name, message, sizes, writer);
  return { chunks: writer.finish(), bytes };
}

const invalid = (cursor: Cursor, seen: string): IdlewildError =>
  new IdlewildError('model_invalid', `reading an ONNX file: ${seen} at byte ${cursor.at} of ${cursor.bytes.length}`);

function spendElement(cursor: Cursor): void {
  if (cursor.elementsLeft-- === 0) throw invalid(cursor, `more than ${LIMITS.elementsMax} elements`);
}

function spendScalar(cursor: Cursor): void {
  if (cursor.scalarsLeft-- === 0)
    throw invalid(cursor, `more than ${LIMITS.scalarsMax} names and numbers; weights belong into raw_data,`);
}

function readMessage(cursor: Cursor, name: MessageName, end: number, depth: number): Loose {
  if (depth > LIMITS.messageDepthMax) throw invalid(cursor, `messages nested deeper than ${LIMITS.messageDepthMax}`);
  spendElement(cursor);
  const fields: Fields = SCHEMA[name];
  const message: Loose = {};
  for (const key in fields) {
    const [field, , count] = fields[key] as Field;
    if (count === 'many') message[field] = [];
  }
  while (cursor.at < end) {
    const start = cursor.at;
    const tag = Number(readVarint(cursor, end, false));
    const number = Math.floor(tag / 8);
    const wire = tag % 8;
    if (number < 1 || number > 536_870_911) throw invalid(cursor, `field number ${number}`);
    const field = fields[number];
    if (field !== undefined && (wire === WIRE[field[1]] || (wire === DELIMITED && field[2] === 'many'))) {
      readField(cursor, message, field, wire, end, depth);
    } else {
      skip(cursor, wire, end);
      keepUnknown(cursor, message, start);
    }
  }
  return message;
}

function readField(cursor: Cursor, message: Loose, field: Field, wire: number, end: number, depth: number): void {
  const [name, kind, count, inner] = field;
  const many = count === 'many' ? (message[name] as unknown[]) : undefined;
  if (wire === DELIMITED && WIRE[kind] !== DELIMITED) {
    const packedEnd = readLength(cursor, end);
    while (cursor.at < packedEnd) (many as unknown[]).push(readScalar(cursor, kind, packedEnd));
    return;
  }
  let value: unknown;
  if (kind === 'message') {
    if (many === undefined && message[name] !== undefined) throw invalid(cursor, `a second ${name}`);
    const innerEnd = readLength(cursor, end);
    value = readMessage(cursor, inner as MessageName, innerEnd, depth + 1);
  } else {
    value = readScalar(cursor, kind, end);
  }
  if (many === undefined) message[name] = value;
  else many.push(value);
}

function readScalar(cursor: Cursor, kind: FieldKind, end: number): unknown {
  spendScalar(cursor);
  switch (kind) {
    case 'int':
      return readVarint(cursor, end, true);
    case 'uint':
      return readVarint(cursor, end, false);
    case 'float':
      return cursor.view.getFloat32(take(cursor, 4, end), true);
    case 'double':
      return cursor.view.getFloat64(take(cursor, 8, end), true);
    case 'string':
      return readText(cursor, end);
    default: {
      spendElement(cursor);
      const stop = readLength(cursor, end);
      return cursor.bytes.subarray(take(cursor, stop - cursor.at, end), stop);
    }
  }
}

function readText(cursor: Cursor, end: number): string {
  const stop = readLength(cursor, end);
  const start = take(cursor, stop - cursor.at, end);
  if (start === stop) return '';
  try {
    return cursor.decodeText(cursor.bytes.subarray(start, stop));
  } catch (cause) {
    throw new IdlewildError('model_invalid', `reading an ONNX file: a name that is not UTF-8 at byte ${start}`, {
      cause,
    });
  }
}

/** Steps over `length` bytes and returns where they began. */
function take(cursor: Cursor, length: number, end: number): number {
  const start = cursor.at;
  if (length > end - start) throw invalid(cursor, `${length} bytes promised where ${end - start} are left`);
  cursor.at = start + length;
  return start;
}

/** Reads a length prefix and returns the position at which that many bytes end. */
function readLength(cursor: Cursor, end: number): number {
  const length = Number(readVarint(cursor, end, false));
  if (length > end - cursor.at) throw invalid(cursor, `${length} bytes promised where ${end - cursor.at} are left`);
  return cursor.at + length;
}

function readVarint(cursor: Cursor, end: number, signed: boolean): Int {
  let low = 0;
  let scale = 1;
  for (let i = 0; i < 7; i++) {
    const byte = cursor.bytes[take(cursor, 1, end)] as number;
    low += (byte & 127) * scale;
    if (byte < 128) return low;
    scale *= 128;
  }
  let high = 0n;
  for (let shift = 0n; shift < 21n; shift += 7n) {
    const byte = cursor.bytes[take(cursor, 1, end)] as number;
    if (shift === 14n && byte > 1) break;
    high |= BigInt(byte & 127) << shift;
    if (byte < 128) return narrow((high << 49n) | BigInt(low), signed);
  }
  throw invalid(cursor, 'an integer of more than 64 bits');
}

function narrow(value: bigint, signed: boolean): Int {
  const exact = signed ? BigInt.asIntN(64, value) : value;
  const number = Number(exact);
  return Number.isSafeInteger(number) ? number : exact;
}

function skip(cursor: Cursor, wire: number, end: number): void {
  if (wire === VARINT) readVarint(cursor, end, false);
  else if (wire === FIXED64) take(cursor, 8, end);
  else if (wire === FIXED32) take(cursor, 4, end);
  else if (wire === DELIMITED) cursor.at = readLength(cursor, end);
  else throw invalid(cursor, `wire type ${wire}`);
}

/** Neighbouring unknown fields become one view, so that a file full of them costs no more than a file of few. */
function keepUnknown(cursor: Cursor, message: Loose, start: number): void {
  const kept = (message.unknown ??= []);
  const last = kept.at(-1);
  if (last !== undefined && last.byteOffset + last.length === cursor.bytes.byteOffset + start) {
    kept[kept.length - 1] = cursor.bytes.subarray(start - last.length, cursor.at);
    return;
  }
  spendElement(cursor);
  kept.push(cursor.bytes.subarray(start, cursor.at));
}

/** The fields of `message` that are to be written, in the order of their numbers. */
function* presentFields(
  name: MessageName,
  message: Loose,
): Generator<[number: number, field: Field, values: readonly unknown[]]> {
  const fields: Fields = SCHEMA[name];
  for (const key in fields) {
    const field = fields[key] as Field;
    const value = message[field[0]];
    if (value === undefined) continue;
    const values = field[2] === 'many' ? (value as readonly unknown[]) : [value];
    if (values.length > 0) yield [Number(key), field, values];
  }
}

const isPacked = (field: Field): boolean => field[2] === 'many' && WIRE[field[1]] !== DELIMITED;

function measure(name: MessageName, message: Loose, sizes: Map<object, number>, writer: ByteWriter): number {
  let total = 0;
  for (const [number, field, values] of presentFields(name, message)) {
    const tagBytes = uintBytes(number * 8);
    let bytes = 0;
    for (const value of values) {
      const size =
        field[1] === 'message'
          ? measure(field[3] as MessageName, value as Loose, sizes, writer)
          : scalarBytes(field[1], value, writer);
      const prefix = WIRE[field[1]] === DELIMITED ? uintBytes(size) : 0;
      bytes += prefix + size + (isPacked(field) ? 0 : tagBytes);
    }
    if (isPacked(field)) {
      sizes.set(values, bytes);
      bytes += tagBytes + uintBytes(bytes);
    }
    total += bytes;
  }
  for (const kept of message.unknown ?? []) total += kept.length;
  sizes.set(message, total);
  return total;
}

function scalarBytes(kind: FieldKind, value: unknown, writer: ByteWriter): number {
  if (kind === 'float') return 4;
  if (kind === 'double') return 8;
  if (kind === 'string') return writer.textBytes(value as string).length;
  return kind === 'bytes' ? (value as Uint8Array).length : intBytes(value as Int);
}

function writeMessage(name: MessageName, message: Loose, sizes: ReadonlyMap<object, number>, writer: ByteWriter): void {
  for (const [number, field, values] of presentFields(name, message)) {
    const packed = isPacked(field);
    if (packed) {
      writer.uint(number * 8 + DELIMITED);
      writer.uint(sizes.get(values) as number);
    }
    for (const value of values) {
      if (!packed) writer.uint(number * 8 + WIRE[field[1]]);
      if (field[1] === 'message') {
        writer.uint(sizes.get(value as object) as number);
        writeMessage(field[3] as MessageName, value as Loose, sizes, writer);
      } else {
        writeScalar(field[1], value, writer);
      }
    }
  }
  for (const kept of message.unknown ?? []) writer.bytes(kept);
}

function writeScalar(kind: FieldKind, value: unknown, writer: ByteWriter): void {
  if (kind === 'float') writer.float(value as number);
  else if (kind === 'double') writer.double(value as number);
  else if (kind === 'int' || kind === 'uint') writer.int(value as Int);
  else {
    const bytes = kind === 'string' ? writer.textBytes(value as string) : (value as Uint8Array);
    writer.uint(bytes.length);
    writer.bytes(bytes);
  }
}
